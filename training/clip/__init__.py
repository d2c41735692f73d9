"""How the detector on CLIP was made: frozen features once, then a head, its calibration and its table."""

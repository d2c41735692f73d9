"""Detectors held against a manifest: what is trained or loaded, scored once, and counted into tables."""

"""Numbers from arrays: metrics, intervals and calibration. Imports no method."""

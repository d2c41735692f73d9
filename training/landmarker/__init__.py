"""Training of the landmarker that ships with the package: `python -m training.landmarker --help`."""

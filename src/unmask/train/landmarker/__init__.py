"""Training of the landmarker that ships with the package: `python -m unmask.train.landmarker --help`."""

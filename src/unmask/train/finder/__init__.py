"""Training of the face finder that ships with the package: `python -m unmask.train.finder --help`."""

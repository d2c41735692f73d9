"""Training of the face detector that ships with the package: `python -m training.face_detector --help`."""

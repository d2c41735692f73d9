"""NumPy and OpenCV image operations that two or more packages share."""

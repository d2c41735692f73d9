"""One file per detector; the file's name is the detector's name."""

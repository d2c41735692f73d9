"""One file per way to make labelled forgeries, for training and stress tests."""

"""One file per way to make labelled forgeries, for training and tests; the file's name is the generator's."""

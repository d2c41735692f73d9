"""One file per way to make labelled forgeries for training and stress tests; never shown or kept without their label."""

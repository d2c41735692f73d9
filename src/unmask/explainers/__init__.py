"""One file per explanation; the file's name is the explainer's name."""

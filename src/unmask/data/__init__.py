"""Rows of images with labels, splits and leakage groups, and the crops made of them once."""

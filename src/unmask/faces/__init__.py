"""frames -> faces: find, align, track."""

from unmask.faces.align import TEMPLATES, align, crop, matrix, whole
from unmask.faces.finder import Finder
from unmask.faces.pull import pull

__all__ = ["TEMPLATES", "Finder", "align", "crop", "matrix", "pull", "whole"]

"""frames -> faces: find, align, track."""

from unmask.faces.align import TEMPLATES, align, crop, matrix, whole
from unmask.faces.finder import Finder
from unmask.faces.pull import pull
from unmask.faces.track import track

__all__ = ["TEMPLATES", "Finder", "align", "crop", "matrix", "pull", "track", "whole"]

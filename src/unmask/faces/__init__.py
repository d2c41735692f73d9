"""frames -> faces: find, align, track, and the points of each."""

from unmask.faces.align import TEMPLATES, align, crop, matrix
from unmask.faces.detector import FaceDetector
from unmask.faces.landmarker import Landmarker, landmarks
from unmask.faces.pull import pull
from unmask.faces.search import FaceSearch
from unmask.faces.standard import from_five
from unmask.faces.track import track

__all__ = [
    "TEMPLATES",
    "FaceDetector",
    "FaceSearch",
    "Landmarker",
    "align",
    "crop",
    "from_five",
    "landmarks",
    "matrix",
    "pull",
    "track",
]

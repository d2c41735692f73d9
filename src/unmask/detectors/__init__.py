"""One file per detector; the file's name is the detector's name."""

from unmask.registry import Family

family = Family(__name__, "unmask.base.detector:Detector")
names, card, create = family.names, family.card, family.create

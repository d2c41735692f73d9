"""One file per way to make labelled forgeries, for training and stress tests; the file's name is the generator's."""

from unmask.registry import Family

family = Family(__name__, "unmask.base.generator:Generator")
names, card, create = family.names, family.card, family.create

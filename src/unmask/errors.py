"""The exceptions of this package. Every text says what is wrong and how to mend it.

UnmaskError
 ├── MediaError           a file that cannot be read as an image or a video
 ├── BundleError          a bundle, a card or a file of weights that cannot be used
 ├── CheckpointError      a run folder or a checkpoint that cannot be used
 ├── OutputError          a result that cannot be written where it was asked for
 ├── MissingExtraError    also ImportError: an optional dependency that is not installed
 └── InvalidError         also ValueError: a value that is wrong
      ├── InputError          an argument, an option or an array
      ├── ManifestError       a manifest, a data set folder, or rows that do not fit the task
      ├── RecipeError         a recipe or a protocol
      └── UnknownMethodError  a method, backbone or data set layout that does not exist
"""

from __future__ import annotations


class UnmaskError(Exception):
    """Base of all; what a user can mend. The text says what is wrong and how to mend it."""


class MediaError(UnmaskError):
    """A source that cannot be read as an image or a video; the text says why and, where one exists, the way out."""


class BundleError(UnmaskError):
    """A bundle, a card or a file of weights that cannot be used: missing, damaged, or made for something else."""


class CheckpointError(UnmaskError):
    """A run folder or a checkpoint of training that cannot be used."""


class OutputError(UnmaskError):
    """A result that cannot be written where it was asked for."""


class MissingExtraError(UnmaskError, ImportError):
    """An optional dependency is not installed; the text says what to install."""


class InvalidError(UnmaskError, ValueError):
    """A value that is wrong."""


class InputError(InvalidError):
    """An argument, an option or an array that is wrong."""


class ManifestError(InvalidError):
    """A manifest or a data set folder that cannot be used, or whose rows do not fit the task."""


class RecipeError(InvalidError):
    """A recipe or a protocol that cannot be used."""


class UnknownMethodError(InvalidError):
    """No method, backbone or data set layout of that name; the text names the nearest one."""

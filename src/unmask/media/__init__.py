"""Bytes -> frames: open untrusted images and videos, sample and decode them, and read what they say of themselves."""

from unmask.media.camera import camera
from unmask.media.limits import Limits, MediaError
from unmask.media.opening import open_media

__all__ = ["Limits", "MediaError", "camera", "open_media"]

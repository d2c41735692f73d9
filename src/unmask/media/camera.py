"""A few seconds from a webcam, through libav's own device input."""

from __future__ import annotations

import hashlib
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import av
from av.video.reformatter import VideoReformatter

from unmask.media import pixels, sampling
from unmask.media.limits import DEFAULTS, Limits, MediaError
from unmask.media.table import LIBAV, reason
from unmask.types import Frame, Media, Unread


def camera(index: int = 0, seconds: float = 5.0, *, limits: Limits = DEFAULTS) -> Media:
    """Record `seconds` from /dev/video<index> into memory.

    Raises:
        MediaError: no such camera, it cannot be opened or gives no image, or over a limit.
    """
    if index < 0 or not seconds > 0:
        raise MediaError("a camera's number is 0 or more, and the recording longer than 0 seconds")
    limits.check("seconds", seconds)
    device = Path(f"/dev/video{index}")
    if not (device.exists() and stat.S_ISCHR(device.stat().st_mode)):
        raise MediaError(f"no camera at {device}: connect one, give another number, or scan a recorded video")
    frames = _record(device, seconds, limits)
    height, width = frames[0].image.shape[:2]
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(frame.image.tobytes())
    length = frames[-1].t if len(frames) > 1 else seconds

    def chosen(count: int) -> Iterator[Frame | Unread]:
        return (frames[i] for i in sampling.spread([frame.t for frame in frames], length, count))

    def rows(count: int, length: int) -> Iterator[Frame | Unread]:
        return (frames[first + i] for first in sampling.windows(len(frames), count, length) for i in range(length))

    return Media(
        source=f"camera {index}",
        sha256=digest.hexdigest(),
        kind="video",
        format="camera",
        width=width,
        height=height,
        seconds=length,
        fps=(len(frames) - 1) / length if len(frames) > 1 and length > 0 else None,
        total_frames=len(frames),
        notes=(f"recorded live from {device}",),
        provenance={"c2pa": "absent"},
        frames=chosen,
        windows=rows,
    )


def _record(device: Path, seconds: float, limits: Limits) -> list[Frame]:
    frames: list[Frame] = []
    reformatter = VideoReformatter()
    try:
        with av.open(str(device), format="v4l2", timeout=(10.0, 5.0)) as container:
            start = time.monotonic()
            for picture in container.decode(video=0):
                now = time.monotonic() - start
                if now > seconds and frames:
                    break
                # Recorded images stay in memory: all of them together keep to the limit of 32 images of that size.
                limits.check("pixels", picture.width * picture.height * (len(frames) + 1) / 32)
                frames.append(Frame(len(frames), now, pixels.rgb(picture, pixels.Upright(), reformatter)))
    except LIBAV as error:
        if not frames:
            raise MediaError(f"cannot read from {device}: {reason(error)}") from error
    if not frames:
        raise MediaError(f"{device} gives no image")
    first = frames[0].t
    return [Frame(frame.index, frame.t - first, frame.image) for frame in frames]

"""`open_media`: one door for paths, addresses and bytes."""

from __future__ import annotations

from pathlib import Path

from unmask.media import sniff
from unmask.media.image import Picture, open_picture
from unmask.media.limits import DEFAULTS, Limits, MediaError
from unmask.media.provenance import c2pa_fields, container_fields
from unmask.media.source import Source, from_bytes, from_path
from unmask.media.video import Clip, open_video
from unmask.types import Media


def open_media(source: str | Path | bytes, *, limits: Limits = DEFAULTS, allow_url: bool = False) -> Media:
    """Open an image or a video: its content, not its name, decides what it is.

    Args:
        source: a path, the file's bytes, or (with `allow_url`) an http(s) address.
        limits: what the file may cost; see `Limits`.

    Raises:
        MediaError: not readable as an image or a video, or over a limit. The text says why and how to mend it.
    """
    held = _source(source, limits, allow_url)
    with held.open() as file:
        head = file.read(sniff.HEAD)
    kind = sniff.sniff(head)
    if kind is None:
        raise MediaError(f"not an image or a video: this looks like {sniff.describe(head)}")
    if kind.reader == "video":
        return _from_clip(open_video(held, kind, limits))
    return _from_picture(open_picture(held, kind, limits))


def _source(source: str | Path | bytes, limits: Limits, allow_url: bool) -> Source:
    if isinstance(source, bytes):
        return from_bytes(source, limits)
    if isinstance(source, str) and "://" in source:
        from unmask.media.fetch import fetch  # ssl takes a while to load

        if not allow_url:
            raise MediaError("addresses are not opened unless asked for: pass allow_url=True")
        return fetch(source, limits)
    return from_path(Path(source), limits)


def _suffix_note(source: Source, kind: sniff.Kind) -> tuple[str, ...]:
    if not source.suffix or source.suffix in kind.suffixes:
        return ()
    return (f"the name ends in {source.suffix}, the content is {kind.format.upper()}",)


def _from_picture(picture: Picture) -> Media:
    moves = picture.moves
    return Media(
        source=picture.source.name,
        sha256=picture.source.sha256,
        kind="video" if moves else "image",
        format=picture.kind.format,
        width=picture.width,
        height=picture.height,
        seconds=picture.seconds if moves else None,
        fps=len(picture.times) / picture.seconds if moves else None,
        total_frames=len(picture.times) if moves else None,
        notes=_suffix_note(picture.source, picture.kind) + picture.notes,
        provenance=picture.exif | c2pa_fields(picture.source, picture.kind),
        frames=picture.frames,
        windows=picture.windows if moves else None,
    )


def _xmp(source: Source, kind: sniff.Kind) -> bytes:
    """The XMP packet of an ISO media file."""
    if kind.name != "mov":
        return b""
    with source.open() as file:
        return sniff.xmp(file)


def _from_clip(clip: Clip) -> Media:
    return Media(
        source=clip.source.name,
        sha256=clip.source.sha256,
        kind="video",
        format=clip.kind.format,
        width=clip.width,
        height=clip.height,
        seconds=clip.table.seconds,
        fps=clip.fps,
        total_frames=len(clip.table.times),
        notes=_suffix_note(clip.source, clip.kind) + clip.notes,
        provenance=container_fields(clip.metadata, _xmp(clip.source, clip.kind)) | c2pa_fields(clip.source, clip.kind),
        frames=clip.frames,
        frames_at=clip.frames_at,
        windows=clip.windows,
    )

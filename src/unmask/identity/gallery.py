"""Enrolled people on disk: embeddings and measures of their photos, never the photos; one folder each, removable.

GALLERY/NAME/card.json         who consented to what and when, which encoder embedded, hashes of the photos
GALLERY/NAME/embeddings.npy    float32 (N, D), rows of length 1, one for each photo
GALLERY/NAME/attributes.npy    float32 (N, A), see `unmask.identity.attributes`

Folders are for their owner alone (0700, files 0600). Nothing is encrypted here: that is the disk's business.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, ValidationError

from unmask.bundles.embedding import Embedder
from unmask.errors import InputError, MediaError
from unmask.faces import FaceDetector, FaceSearch, crop, landmarks
from unmask.identity.attributes import NAMES, attributes
from unmask.media import open_media
from unmask.types import Face, Floats, Frame, Pixels, Plain, Text, UnmaskError

CARD, EMBEDDINGS, ATTRIBUTES = "card.json", "embeddings.npy", "attributes.npy"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class Photo(Plain):
    """A photo that was enrolled; it is not kept. `sha256` tells whether a file is one of them."""

    sha256: str
    added: str


class IdentityCard(Plain):
    """What is written down of an enrolled person."""

    format: Literal["unmask.identity/1"] = "unmask.identity/1"
    name: str
    created: str = Field(description="UTC, ISO 8601")
    consent: Text = Field(min_length=1, description="who agreed to what, when, and how it can be taken back")
    encoder: str
    encoder_sha256: str = Field(description="the version of the embeddings")
    attributes: tuple[str, ...] = NAMES
    photos: tuple[Photo, ...]


@dataclass(frozen=True)
class Identity:
    """An enrolled person: card, embeddings (N, D) and attributes (N, A)."""

    card: IdentityCard
    embeddings: Floats
    attributes: Floats


@dataclass(frozen=True)
class Seen:
    """The one face of a photo: its crop for the encoder, its place, and its attributes (A,)."""

    sha256: str
    crop: Pixels
    face: Face
    attributes: Floats


class Gallery:
    """The folder of enrolled people. There is no question across people: each is asked about by name."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: default $UNMASK_GALLERY, else $XDG_DATA_HOME/unmask/identities (~/.local/share/...)."""
        self.folder = folder or default_folder()

    def names(self) -> list[str]:
        """Enrolled people, sorted."""
        return sorted(p.parent.name for p in self.folder.glob(f"*/{CARD}"))

    def enrol(
        self, name: str, photos: Sequence[Path], embedder: Embedder, face_detector: FaceDetector, consent: str
    ) -> IdentityCard:
        """Add photos of a person, who is there already or begins with them. All photos enter, or none.

        Args:
            consent: in words; it is written into the card. What the person agreed to is nobody's to assume.
        Raises: UnmaskError for a name that is none, no consent, a photo without exactly one face, a photo of somebody
            enrolled twice, or an encoder whose embeddings are not those of the gallery.
        """
        place = self._place(name)
        if not consent.strip():
            raise InputError("a face is enrolled with consent only: say with --consent who agreed to it, and when")
        before = self.read(name) if (place / CARD).exists() else None
        if before and before.card.encoder_sha256 != embedder.card.sha256:
            raise InputError(
                f"{name} was enrolled with the encoder {before.card.encoder} ({before.card.encoder_sha256[:12]}): add "
                "photos with that one, or remove the person and enrol all photos anew"
            )
        known = {p.sha256 for p in before.card.photos} if before else set()
        seen = [one_face(photo, embedder, face_detector) for photo in photos]
        fresh = {one.sha256: one for one in seen if one.sha256 not in known}
        if not fresh:
            raise InputError(f"all of these photos of {name} are enrolled already")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        embeddings = embedder(np.stack([one.crop for one in fresh.values()]))
        measured = np.stack([one.attributes for one in fresh.values()])
        added = tuple(Photo(sha256=sha256, added=now) for sha256 in fresh)
        card = IdentityCard(
            name=name,
            created=before.card.created if before else now,
            consent=consent,
            encoder=embedder.card.name,
            encoder_sha256=embedder.card.sha256,
            photos=(*(before.card.photos if before else ()), *added),
        )
        if before:
            embeddings = np.concatenate([before.embeddings, embeddings])
            measured = np.concatenate([before.attributes, measured])
        self._write(place, Identity(card, embeddings, measured))
        return card

    def read(self, name: str) -> Identity:
        """Raises: UnmaskError for somebody who is not enrolled, and files that are damaged."""
        place = self._place(name)
        if not (place / CARD).is_file():
            there = ", ".join(self.names()) or "nobody"
            raise InputError(f"{name} is not enrolled in {self.folder}; enrolled is {there}")
        try:
            card = IdentityCard.model_validate_json((place / CARD).read_bytes())
            arrays = [np.load(place / file, allow_pickle=False) for file in (EMBEDDINGS, ATTRIBUTES)]
        except (OSError, ValueError, ValidationError) as error:
            raise InputError(
                f"{place} is damaged ({str(error).splitlines()[0]}): remove {name} and enrol anew"
            ) from None
        if any(a.ndim != 2 or a.dtype != np.float32 or len(a) != len(card.photos) for a in arrays):
            raise InputError(f"{place} is damaged (arrays and card differ): remove {name} and enrol anew")
        return Identity(card, *arrays)

    def remove(self, name: str) -> None:
        """Delete all that is kept of a person. Raises: UnmaskError for somebody who is not enrolled."""
        place = self._place(name)
        if not place.is_dir():
            raise InputError(f"{name} is not enrolled in {self.folder}")
        shutil.rmtree(place)

    def _place(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise InputError(f"{name!r} is no name for a person here: letters, digits, - and _, at most 64")
        return self.folder / name

    def _write(self, place: Path, identity: Identity) -> None:
        """The whole folder or what was there: it is written beside its place and moved there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.folder / f".{place.name}.{os.getpid()}"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        np.save(fresh / EMBEDDINGS, identity.embeddings.astype(np.float32), allow_pickle=False)
        np.save(fresh / ATTRIBUTES, identity.attributes.astype(np.float32), allow_pickle=False)
        (fresh / CARD).write_text(identity.card.model_dump_json(indent=1) + "\n", "utf-8")
        for file in fresh.iterdir():
            file.chmod(0o600)
        if place.exists():
            old = self.folder / f".{place.name}.{os.getpid()}.old"
            place.rename(old)
            fresh.rename(place)
            shutil.rmtree(old)
        else:
            fresh.rename(place)


def one_face(photo: Path, embedder: Embedder, face_detector: FaceDetector) -> Seen:
    """Raises: UnmaskError for a file that is no image, and for an image without exactly one face."""
    try:
        media = open_media(photo)
    except MediaError as error:
        raise InputError(f"{photo}: {error}") from error
    frame = next(iter(media.frames(1)), None)
    if media.kind != "image" or not isinstance(frame, Frame):
        raise InputError(f"{photo} is no photo: give images, not videos")
    faces = FaceSearch(face_detector, still=True).find(frame)
    if len(faces) != 1:
        raise InputError(f"{photo} shows {len(faces) or 'no'} faces: give photos that show one person alone")
    try:
        cut = crop(frame.image, faces[0], embedder.card.input).image
        measured = attributes(frame.image, landmarks(frame.image, faces[0]))
    except UnmaskError as error:
        raise InputError(f"{photo}: {error}") from error
    return Seen(media.sha256, cut, faces[0], measured)


def default_folder() -> Path:
    if own := os.environ.get("UNMASK_GALLERY"):
        return Path(own)
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "unmask" / "identities"

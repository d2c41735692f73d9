"""What is known of a forged file, in a JSON file beside it: `images/ab/KEY.json` belongs to `images/ab/KEY.png`.

Metadata inside a PNG is lost by the first program that saves it again. The sidecar is the record that counts: it holds
the hashes of the pixels, of the file and of the mask, what made them from what, and the basis on which the face may be
forged. With a key it is signed (HMAC-SHA256): whoever holds the key can tell that no sidecar was changed since.
Without one, hashes show that a file, its sidecar and the manifest fit each other, which whoever rewrites all three
can bring about.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field, ValidationError

from unmask.base.generator import Basis
from unmask.errors import InputError
from unmask.types import Plain

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"  # IPTC's word for such images
SHORTEST = 32  # bytes of a key


class Sidecar(Plain):
    """What is known of one forged file. Hashes are SHA-256, lower-case hex."""

    format: Literal["unmask.synthetic/1"] = "unmask.synthetic/1"
    synthetic: Literal[True] = True
    label: Literal[1] = 1
    digital_source_type: str = SOURCE_TYPE
    item: str = Field(description="item_id of its row in the manifest")
    pixels: str = Field(description="hash of its pixels, see `pixels_sha256`")
    file: str = Field(description="hash of the file's bytes")
    mask: str = Field(description="hash of the mask's pixels")
    generator: str
    version: str = Field(description="of this package")
    options: dict[str, Any] = Field(default_factory=dict, description="of the generator's constructor")
    weights: dict[str, str] = Field(default_factory=dict, description="file -> hash of what the generator loads")
    scheduler: str = ""
    prompt: str = ""
    seed: int
    number: int = Field(description="which of the forgeries of this source by this generator")
    source: str = Field(description="item_id of the real image")
    source_pixels: str = Field(description="hash of the real image's pixels")
    basis: Basis = Field("not stated", description="on which the person may be shown so")
    reference: str = Field("", description="where the basis is written down: a consent record, a licence")
    details: dict[str, str] = Field(default_factory=dict, description="what chance and the generator chose")
    key: str = Field("", description="identifies the key of the signature; empty = not signed")
    signature: str = ""

    def canonical(self) -> bytes:
        """What is signed: all but the signature, as JSON with sorted keys."""
        return json.dumps(self.model_dump(exclude={"signature"}), sort_keys=True, separators=(",", ":")).encode()

    def dumped(self) -> bytes:
        """The content of its file."""
        return json.dumps(self.model_dump(), indent=1, sort_keys=True).encode() + b"\n"


@dataclass(frozen=True)
class Key:
    """A secret that sidecars are signed with."""

    secret: bytes

    @classmethod
    def read(cls, path: Path) -> Key:
        """Raises: InputError for a file that is not there or too short."""
        try:
            secret = path.read_bytes().strip()
        except OSError as error:
            raise InputError(f"{path}: the key cannot be read ({error.strerror})") from None
        if len(secret) < SHORTEST:
            raise InputError(
                f"{path} holds {len(secret)} bytes, a key has {SHORTEST} or more: `openssl rand -hex 32 > {path}`"
            )
        return cls(secret)

    @property
    def name(self) -> str:
        """Tells keys apart and does not give them away."""
        return hashlib.sha256(b"unmask key\0" + self.secret).hexdigest()[:16]

    def signed(self, sidecar: Sidecar) -> Sidecar:
        """The same sidecar with this key's name and signature."""
        named = sidecar.model_copy(update={"key": self.name, "signature": ""})
        return named.model_copy(update={"signature": self._of(named)})

    def fits(self, sidecar: Sidecar) -> bool:
        """Whether the sidecar carries this key's signature of what it says."""
        return sidecar.key == self.name and hmac.compare_digest(sidecar.signature, self._of(sidecar))

    def _of(self, sidecar: Sidecar) -> str:
        return hmac.new(self.secret, sidecar.canonical(), hashlib.sha256).hexdigest()


def pixels_sha256(pixels: np.typing.NDArray[np.uint8]) -> str:
    """Hash of an image's shape and pixels, whatever file they are stored in."""
    head = "x".join(map(str, pixels.shape)).encode() + b"\0"
    return hashlib.sha256(head + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def beside(image: str) -> str:
    """The sidecar's path, for the image's."""
    return image.removesuffix(".png") + ".json"


def read(data: bytes) -> Sidecar | None:
    """A sidecar from the bytes of its file; None if they are none."""
    try:
        return Sidecar.model_validate_json(data)
    except ValidationError:
        return None


def fault(image: bytes | None, mask: bytes | None, sidecar: bytes | None, item: str, key: Key | None) -> str:
    """What is wrong with a forged file, in a few words; empty if it is what its sidecar says.

    Args:
        image, mask, sidecar: the bytes of the three files, None for one that is missing.
        item: whose sidecar it must be.
        key: where given, the sidecar must carry its signature.
    """
    for what, data in (("image", image), ("mask", mask), ("sidecar", sidecar)):
        if data is None:
            return f"{what} missing"
    assert image is not None and mask is not None and sidecar is not None
    said = read(sidecar)
    if said is None:
        return "sidecar damaged"
    if said.item != item:
        return "sidecar of another file"
    if key and not said.signature:
        return "not signed"
    if key and not key.fits(said):
        return "signature wrong" if said.key == key.name else "signed with another key"
    if hashlib.sha256(image).hexdigest() != said.file:
        return "metadata changed" if _hash(image) == said.pixels else "pixels changed"
    if _hash(image) != said.pixels:
        return "pixels changed"
    if not marked(image):
        return "not marked as synthetic"
    return "" if _hash(mask) == said.mask else "mask changed"


def marked(image: bytes) -> bool:
    """Whether a PNG's metadata says that it is synthetic, in IPTC's word."""
    with Image.open(io.BytesIO(image)) as opened:
        return opened.info.get("DigitalSourceType") == SOURCE_TYPE and opened.info.get("synthetic") == "true"


def _hash(data: bytes) -> str:
    """`pixels_sha256` of an image file; empty if it cannot be decoded."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return pixels_sha256(np.asarray(opened))
    except (OSError, SyntaxError, ValueError):  # what Pillow raises for damaged PNGs
        return ""

"""Crops streamed from tar shards, on disk or behind http(s): for sets too large to lie beside the machine that trains.

The shards are those of `unmask.data.shards`: `<key>.png` or `.webp` beside `<key>.json`, a `FaceRow`; masks are passed
over. (seed, epoch) decides the order of the shards and what is drawn from a buffer of crops.
"""

from __future__ import annotations

import hashlib
import http.client
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal
from urllib.parse import urljoin

import numpy as np
from pydantic import BaseModel, Field, ValidationError
from torch.utils.data import IterableDataset, get_worker_info

from unmask.data.fitting import check, decoded, fit
from unmask.data.loader import Item, Transform
from unmask.data.manifest import FaceRow
from unmask.errors import ManifestError
from unmask.types import InputSpec

FORMAT = "unmask.shards/1"
PICTURES, MASK = (".png", ".webp"), ".mask.png"
LARGEST = 64 << 20  # bytes of a member: a crop is not larger, and a worker's memory is finite
ATTEMPTS, PAUSE, TIMEOUT = 3, 1.0, 60.0  # of an http(s) shard; seconds


class Shard(BaseModel):
    name: str = Field(pattern=r"^[\w-][\w.-]*\.tar$")
    count: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Index(BaseModel):
    """`index.json`."""

    format: Literal["unmask.shards/1"]
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Packed:
    """A crop as it came, not yet decoded."""

    source: str
    row: FaceRow
    picture: bytes


class ShardSet(IterableDataset[Item]):
    """Each crop once an epoch, over all workers of all processes together, as `Item`s.

    Codes in them are hashes, equal for equal groups, methods and frames of one source, whichever shard they are in.
    Processes may get unequal numbers of crops, because shards are not divided.

    Attributes:
        epoch: set it before a loader is made; another epoch is another order and other draws.
        count: crops of all shards, rows without a crop included.
    """

    def __init__(
        self,
        index: str | Path,
        spec: InputSpec,
        *,
        where: Callable[[FaceRow], bool] | None = None,
        transform: Transform | None = None,
        seed: int = 0,
        epoch: int = 0,
        buffer: int = 512,
        alike: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """
        Args:
            index: folder of the shards, or the path or http(s) address of their index.json.
            where: which rows to take; None = all.
            transform: changes the crop as it is stored, before it is cut to `spec`.
            buffer: crops, not decoded, from which each worker draws; 1 = in the order of the shards.
            alike: draw once for a real crop and the forgeries of its frame.
        Raises: UnmaskError for an index that cannot be read, more processes than shards, and windows of frames.
        """
        if spec.frames > 1:
            raise ManifestError("shards give single crops, and this detector looks at windows: train on faces.parquet")
        self.address = str(index)
        if not _remote(self.address) and Path(self.address).is_dir():
            self.address = str(Path(self.address) / "index.json")
        self.shards = _index(self.address).shards
        if len(self.shards) < world:
            raise ManifestError(f"{self.address}: {len(self.shards)} shards cannot be shared by {world} processes")
        self.count = sum(s.count for s in self.shards)
        self.spec, self.where, self.transform, self.alike = spec, where, transform, alike
        self.seed, self.epoch, self.buffer, self.rank, self.world = seed, epoch, max(1, buffer), rank, world

    def __iter__(self) -> Iterator[Item]:
        """Raises: UnmaskError that names a shard which is damaged, or a crop that cannot be read."""
        worker = get_worker_info()
        here, of = (0, 1) if worker is None else (worker.id, worker.num_workers)
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.shards))
        slot = self.rank * of + here
        mine = (self.shards[i] for i in order[slot :: self.world * of])
        crops = (crop for shard in mine for crop in read(self.address, shard) if self._wanted(crop.row))
        for crop in _stirred(crops, self.buffer, np.random.default_rng((self.seed, self.epoch, slot))):
            yield self._item(crop)

    def _wanted(self, row: FaceRow) -> bool:
        return not row.reason and (self.where is None or self.where(row))

    def _item(self, crop: Packed) -> Item:
        row = crop.row
        check(self.spec, row.margin, row.template, row.item_id)
        assert row.margin is not None
        image = decoded(crop.picture, crop.source, row.item_id)
        at, pair = code(row.item_id), code(f"{row.pair_key}#{row.frame}") if row.pair_key else -1
        if self.transform is not None:
            draw = pair if self.alike and pair >= 0 else at
            image = self.transform(image, np.random.default_rng((self.seed, self.epoch, draw)))
        image = np.ascontiguousarray(fit(image, self.spec, row.margin))
        label = -1 if row.label is None else row.label
        whose, of = code(row.identity) if row.identity else -1, code(row.dataset)
        return Item(image, label, at, code(row.group_id), pair, code(row.method), identity=whose, domain=of)


def code(text: str) -> int:
    """63 bits that are the same for the same text, wherever it is read."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def read(index: str, shard: Shard) -> Iterator[Packed]:
    """The crops of a shard in their order; those behind http(s) go on after an interruption where they were.

    Raises: UnmaskError for a shard that is damaged, cut short, or not the one that the index names.
    """
    address = urljoin(index, shard.name) if _remote(index) else str(Path(index).parent / shard.name)
    given, attempts = 0, ATTEMPTS if _remote(index) else 1
    for attempt in range(1, attempts + 1):
        try:
            for n, crop in enumerate(_once(address, shard)):
                if n >= given:
                    given = n + 1
                    yield crop
            return
        except (OSError, EOFError, tarfile.TarError, http.client.HTTPException) as error:
            if attempt == attempts:
                raise ManifestError(f"{address} is damaged or cannot be read ({error}): copy it again") from None
            time.sleep(PAUSE * attempt)


def _once(address: str, shard: Shard) -> Iterator[Packed]:
    with closing(_opened(address)) as file:
        hashing = _Hashing(file)
        count = 0
        with tarfile.open(fileobj=hashing, mode="r|") as tar:  # type: ignore[call-overload] # all it needs is read()
            for crop in _together(address, tar):
                count += 1
                yield crop
        while hashing.read(1 << 20):  # what stands behind the end of the archive belongs to its hash
            pass
    if hashing.sha.hexdigest() != shard.sha256:
        raise tarfile.ReadError(f"its sha256 is not that of the index, {count} of {shard.count} crops read")
    if count != shard.count:
        raise ManifestError(f"{address} holds {count} crops, the index says {shard.count}: write the shards again")


def _together(address: str, tar: tarfile.TarFile) -> Iterator[Packed]:
    """Members that stand beside one another under one key."""
    held: dict[str, bytes] = {}
    last = ""
    for member in tar:
        if member.name.endswith(MASK):
            continue
        key, dot, suffix = member.name.rpartition(".")
        if not member.isfile() or member.size > LARGEST or dot + suffix not in (*PICTURES, ".json"):
            raise ManifestError(f"{address}: {member.name!r} is neither a crop nor its row: write the shards again")
        part = "row" if suffix == "json" else "picture"
        if held and (key != last or part in held):
            yield _packed(address, last, held)
            held.clear()
        last, held[part] = key, _content(tar, member)
    if held:
        yield _packed(address, last, held)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # it is a file
    return file.read()


def _packed(address: str, key: str, held: dict[str, bytes]) -> Packed:
    """A row without a crop says why in its `reason`."""
    try:
        row = FaceRow.model_validate_json(held.get("row", b"null"))
    except ValidationError as error:
        first = error.errors()[0]
        raise ManifestError(f"{address}: {key}.json is no row of faces: {first['loc']}: {first['msg']}") from None
    if "picture" not in held and not row.reason:
        raise ManifestError(f"{address}: {key!r} has a row but no crop: write the shards again")
    return Packed(f"{address}, {key}", row, held.get("picture", b""))


def _stirred(crops: Iterator[Packed], size: int, rng: np.random.Generator) -> Iterator[Packed]:
    """Once the buffer is full, each crop that comes takes the place of one drawn from it."""
    held: list[Packed] = []
    for crop in crops:
        if len(held) < size:
            held.append(crop)
            continue
        n = int(rng.integers(size))
        crop, held[n] = held[n], crop
        yield crop
    for n in rng.permutation(len(held)):
        yield held[n]


class _Hashing:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes] | http.client.HTTPResponse) -> None:
        self.file, self.sha = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.sha.update(data)
        return data


def _index(address: str) -> Index:
    try:
        with closing(_opened(address)) as file:
            return Index.model_validate_json(file.read(LARGEST))
    except (OSError, http.client.HTTPException) as error:
        raise ManifestError(
            f"{address} cannot be read: {error}; `unmask data extract --shards` writes such an index"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ManifestError(f"{address} is no {FORMAT} index: {first['loc']}: {first['msg']}") from None


def _remote(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def _opened(address: str) -> IO[bytes] | http.client.HTTPResponse:
    if not _remote(address):
        return Path(address).open("rb")
    opened: http.client.HTTPResponse = urllib.request.urlopen(address, timeout=TIMEOUT)  # noqa: S310 - http(s) only
    return opened

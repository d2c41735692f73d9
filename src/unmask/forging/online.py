"""Forgeries made while a detector trains: real crops of the training set, each with a forged twin when it is wanted.

A recipe's `forge: {sbi: 0.5, faceswap: 0.2}` gives, in every epoch, half of the real crops a twin by self-blending and
a fifth of them one by swapping, drawn anew each time; as long as the shares do not exceed 1 in all, no crop gets two.
The twins are rows like others, which come on top of those that are stored: samplers balance and pair them, the
transform changes them as stored crops (in a pair by the same draw as their source), and a batch calls them fake, made
by their generator, of their source's leakage group and pair.

Where a generator says that real faces must be shown in another way beside its forgeries (`companion`), the sources of
its twins are shown so in that epoch.

Which crops, and which forgery, is a function of the seed, the epoch and the place in it: workers, processes and
restarts change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from unmask.base.generator import Generator, Unforgeable
from unmask.data.donors import Reals
from unmask.data.landmarks import Landmarker, standard
from unmask.data.loader import FaceSet, Item, Key
from unmask.errors import ManifestError, UnmaskError
from unmask.registry import create
from unmask.types import Pixels

TRIES = 8  # draws for one forgery before it is an error: a draw may fail, an image of one colour always does
_STREAM = 2  # beside 0, the samplers', and 1, that of pairs


@dataclass(frozen=True)
class Rows:
    """The rows of one epoch, stored ones first, and their columns as in `FaceSet`; `pair` points into `at`."""

    at: NDArray[np.int64]
    label: NDArray[np.int8]
    group: NDArray[np.int32]
    pair: NDArray[np.int32]
    method: NDArray[np.int32]
    dataset: NDArray[np.int32]


class ForgedSet(Dataset[Item]):
    """A FaceSet of n crops, and what G generators make of them while training.

    Item n (1 + g) + i is a forgery of crop i, a real one, by generator g; item n (1 + G + g) + i is crop i as it is
    shown beside it.

    Attributes:
        methods: what the codes in `Item.method` stand for: stored forgeries' first, then generators', then others'.
    """

    def __init__(
        self,
        faces: FaceSet,
        shares: Mapping[str, float],
        options: Mapping[str, Mapping[str, object]] | None = None,
        landmarker: Landmarker = standard,
    ) -> None:
        """
        Args:
            shares: generator -> share of the real crops that get a forgery by it in an epoch, above 0 and at most 1.
            options: generator -> options of its constructor.
        Raises: UnmaskError for unknown generators or options, and for real crops whose five points are not known.
        """
        self.faces, self.shares = faces, dict(shares)
        self.makers: list[Generator] = [create("generator", name, (options or {}).get(name)) for name in shares]
        self.real = np.flatnonzero(faces.label == 0)
        mask = np.zeros(len(faces.manifest), bool)
        mask[faces.row[self.real]] = True
        self.reals = Reals(faces.manifest, where=mask, landmarker=landmarker)
        if len(self.reals) != len(self.real):
            raise ManifestError(
                f"{len(self.real) - len(self.reals)} real crops of {faces.manifest.path} have no five points to forge "
                "by: cut them with `unmask data extract`"
            )
        self.among = np.full(len(faces), -1, np.int32)  # a crop's number in `reals`
        self.among[self.real] = np.arange(len(self.real))
        self.manifest, self.spec = faces.manifest, faces.spec
        self.methods, self._stored, self._made = _methods(faces, list(shares))

    def __len__(self) -> int:
        """All that can be asked for; an epoch asks for some."""
        return len(self.faces) * (1 + 2 * len(self.makers))

    def __getitem__(self, key: Key) -> Item:
        """
        Args:
            key: as of `FaceSet`.
        Raises: UnmaskError that names the file, if it cannot be read, or if it is real and cannot be forged.
        """
        i, *seed = (key, key) if isinstance(key, int | np.integer) else key
        which, at = divmod(int(i), len(self.faces))
        image = self.faces.stored(at)
        if not which:
            known = self.faces.stored_mask(at, image.shape[0]) if self.faces.masks else None
            item = self.faces.item(at, image, seed, known)
            pair = at if item.label == 0 else item.pair
            return item._replace(pair=pair, method=int(self._stored[item.method]))
        if self.among[at] < 0:
            raise ManifestError(f"{self.faces.path(at)} is not a real face: nothing is forged from it")
        beside, g = divmod(which - 1, len(self.makers))
        draw = len(self.faces) * (1 + g) + at  # the same for a forgery and for what is shown beside it
        made, mask = self._made_of(g, at, image, [*map(int, seed), draw], beside=bool(beside))
        item = self.faces.item(at, made, seed, mask if self.faces.masks else None)
        method = self._stored[item.method] if beside else self._made[g]
        return item._replace(label=1 - beside, at=int(i), pair=at, method=int(method))

    def epoch(self, seed: int, epoch: int) -> Rows:
        """The stored rows, and the forgeries of this epoch; as many in each."""
        faces, n = self.faces, len(self.faces)
        order = np.random.default_rng((seed, _STREAM, epoch)).permutation(self.real)
        stored, made, start = np.arange(n), list[NDArray[np.int64]](), 0
        for g, (maker, share) in enumerate(zip(self.makers, self.shares.values(), strict=True)):
            count = round(share * len(order))
            chosen = order[(start + np.arange(count)) % max(1, len(order))]
            made.append(n * (1 + g) + chosen)
            if type(maker).companion is not Generator.companion:
                stored[chosen] = n * (1 + len(self.makers) + g) + chosen
            start += count
        at = np.concatenate([stored, *made]).astype(np.int64)
        which, source = np.divmod(at, n)
        forged = (which > 0) & (which <= len(self.makers))
        method = np.where(forged, self._made[(which - 1) % len(self.makers)], self._stored[faces.method[source]])
        pair = np.where(forged | (faces.label[source] == 0), source, faces.pair[source])
        label = np.where(forged, 1, faces.label[source])
        codes = (pair.astype(np.int32), method.astype(np.int32), faces.dataset[source])
        return Rows(at, label.astype(np.int8), faces.group[source], *codes)

    def _made_of(self, g: int, at: int, image: Pixels, seed: Sequence[int], *, beside: bool) -> tuple[Pixels, Pixels]:
        """A forgery of a crop, or the crop as it is shown beside one, and the mask of what was forged, 0..255."""
        i, maker, why = int(self.among[at]), self.makers[g], ""
        face, donors = self.reals.landmarks(i, image), self.reals.donors(i)
        for attempt in range(TRIES):
            rng = np.random.default_rng([*seed, attempt])
            try:
                if not beside:
                    forged = maker(image, face, rng, donors)
                    return forged.image, (forged.mask * 255).round().astype(np.uint8)
                shown = maker.companion(image, face, rng, donors)
                return image if shown is None else shown, np.zeros(image.shape[:2], np.uint8)
            except Unforgeable as error:
                why = str(error)
        name = list(self.shares)[g]
        raise UnmaskError(f"{self.faces.path(at)} gives no forgery by {name}: {why}; leave it or the generator out")


def _methods(faces: FaceSet, names: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int32], NDArray[np.int32]]:
    """All methods, the codes of the stored ones in it, and those of generators; a name stands in it once."""
    forged = {faces.methods[k] for k in np.unique(faces.method[faces.label == 1])}
    first = [m for m in faces.methods if m in forged]
    methods = tuple(dict.fromkeys([*first, *names, *faces.methods]))
    place = {name: code for code, name in enumerate(methods)}
    stored, made = ([place[name] for name in of] for of in (faces.methods, names))
    return methods, np.array(stored, np.int32), np.array(made, np.int32)

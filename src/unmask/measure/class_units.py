"""From crops to what a classifier is asked about: videos with logits of K classes, and how sure they may be taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from unmask.errors import InputError
from unmask.measure.inputs import Float64s, same_length
from unmask.measure.pooling import combined

VIDEO = ("dataset", "method", "compression", "media_id")
Texts = NDArray[np.str_]


@dataclass(frozen=True)
class ClassUnits:
    """N videos (or images). All arrays (N,), but for `logits`, (N, K): the mean over the crops of a video.

    Attributes:
        truth: name of the class; one that the classifier does not know is of an unknown class.
        kind: what made it: the generator, or the attack's type.
    """

    logits: Float64s
    truth: Texts
    group: Texts
    dataset: Texts
    kind: Texts

    def __len__(self) -> int:
        return len(self.truth)

    def __getitem__(self, keep: NDArray[Any]) -> ClassUnits:
        return ClassUnits(*(getattr(self, n)[keep] for n in ("logits", "truth", "group", "dataset", "kind")))


def class_units(table: pa.Table, logits: ArrayLike, truth: ArrayLike) -> ClassUnits:
    """Crops pooled by (data set, method, compression, video).

    Args:
        table: columns of a face manifest, N rows. logits: (N, K). truth: (N,) names of classes.
    Raises: UnmaskError for a video whose crops are of two classes.
    """
    z, names = np.asarray(logits, np.float64), np.asarray(truth, str)
    same_length(row=np.zeros(len(table)), logits=z, truth=names)
    columns = {n: _text(table, n) for n in (*VIDEO, "group_id")}
    code, count = combined([columns[n] for n in VIDEO])
    first = np.zeros(count, np.int64)
    first[code[::-1]] = np.arange(len(code) - 1, -1, -1)
    if (clash := names != names[first][code]).any():
        video = columns["media_id"][clash][0]
        raise InputError(f"crops of the video {str(video)!r} are of two classes: mend the manifest")
    total = np.zeros((count, z.shape[1]))
    np.add.at(total, code, z)
    mean = total / np.bincount(code, minlength=count)[:, None]
    picked = (columns[n][first] for n in ("group_id", "dataset", "method"))
    return ClassUnits(mean, names[first], *picked)


def softmax(logits: Float64s, temperature: float = 1.0) -> Float64s:
    """(N, K) -> (N, K), rows that sum to 1."""
    z = logits / temperature
    shifted = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True), np.float64)


def fit_temperature(logits: ArrayLike, code: ArrayLike) -> float:
    """T > 0 that minimises the mean cross-entropy of softmax(logits / T) (Guo et al., ICML 2017), within 1/20 .. 20.

    Args:
        logits: (N, K). code: (N,) index of the true class.
    """
    from scipy.optimize import minimize_scalar

    z, y = np.asarray(logits, np.float64), np.asarray(code, np.int64)

    def loss(log_temperature: float) -> float:
        scaled = z / np.exp(log_temperature)
        return float((np.logaddexp.reduce(scaled, axis=1) - scaled[np.arange(len(y)), y]).mean())

    limit = float(np.log(20))
    found = minimize_scalar(loss, bounds=(-limit, limit), method="bounded")
    return float(np.exp(found.x))


def strangeness(probability: Float64s, code: NDArray[np.integer[Any]], classes: Sequence[str]) -> tuple[Any, ...]:
    """For each class the sorted 1 - P(class) of its items, see `unmask.bundles.classes`."""
    own = 1 - probability[np.arange(len(code)), code]
    return tuple(tuple(np.sort(own[code == k]).clip(0, 1).round(6).tolist()) for k in range(len(classes)))


def codes_of(names: ArrayLike, classes: Sequence[str]) -> NDArray[np.int64]:
    """(N,) index of each name in `classes`, -1 = none of them."""
    place = {name: code for code, name in enumerate(classes)}
    return np.array([place.get(name, -1) for name in np.asarray(names, str).tolist()], np.int64)


def _text(table: pa.Table, name: str) -> Texts:
    return np.asarray(pc.fill_null(table[name], "").to_pylist(), str)

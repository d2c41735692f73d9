"""Pre-training on sentences, or on captions without their images.

Validation: the loss, how alike sentences are found beside what people said (Spearman, where the table has scores), and
whether embeddings have collapsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from unmask.base.method import Method
from unmask.base.objective import Objective, Views
from unmask.data import samplers
from unmask.data.loader import Key, codes
from unmask.data.manifest import Manifest
from unmask.data.samplers import Plan
from unmask.errors import RecipeError
from unmask.measure import embeddings, similarity
from unmask.tasks.held import held_loss
from unmask.tasks.loading import loaded
from unmask.tasks.recipe import PretrainingRecipe
from unmask.tasks.scores import read
from unmask.tasks.task import Compute
from unmask.tasks.views import SentenceSet, TextViews, views_of

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SentenceRows:
    """
    Attributes:
        said: (N,) the sentence, or the first caption, of each validation row.
        other: (N,) its partner, and `score` (N,) how alike people found them; NaN = not known.
    """

    recipe: PretrainingRecipe
    train: SentenceSet
    validate: SentenceSet
    said: tuple[str, ...]
    other: tuple[str, ...]
    score: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        recipe: PretrainingRecipe,
        data: Path,
        table: pa.Table,
        train: Mask,
        validate: Mask,
        label: NDArray[np.int64],
    ) -> Self:
        """
        Args:
            table: all rows of `data`; `train`, `validate`, `label`: (N,) of these.
        """
        manifest, rows = Manifest(data), [np.flatnonzero(mask).astype(np.int32) for mask in (train, validate)]
        sentences = manifest.kind == "sentences"
        sets = []
        for row in rows:
            part = table.take(pa.array(row))
            columns = {n: part[n] for n in ("text", "other", "negative")} if sentences else {"text": part["caption"]}
            group, _ = codes(part["group_id"])
            sets.append(SentenceSet(manifest, row, group, label[row], TextViews(columns, recipe.texts)))
        held = table.take(pa.array(rows[1]))
        if not sentences:
            first = tuple(c[0] for c in held["caption"].to_pylist())
            return cls(recipe, sets[0], sets[1], first, (), np.full(len(first), np.nan))
        score = held["score"].to_numpy().astype(np.float64)
        return cls(recipe, sets[0], sets[1], tuple(held["text"].to_pylist()), tuple(held["other"].to_pylist()), score)

    @property
    def manifest(self) -> Manifest:
        return self.train.manifest

    def __len__(self) -> int:
        return len(self.train)

    def note(self) -> str:
        return ""

    def plan(self, epoch: int) -> Plan:
        """Raises: UnmaskError for samplers of detection."""
        return planned(self.recipe, self.train.label, self.train.group, epoch)

    def batches(
        self, keys: Sequence[Sequence[Key]], *, workers: int = 0, device: torch.device | str = "cpu"
    ) -> Iterator[Views]:
        return loaded(self.train, keys, views_of, workers=workers, device=device)

    def measure(self, method: Method[Any], compute: Compute) -> dict[str, float]:
        """loss; sts (Spearman), where three pairs have a score; uniformity, effective_rank, spread."""
        assert isinstance(method, Objective)
        method.eval()
        z = read(method, self.said, compute).numpy()
        numbers = held_loss(method, self.validate, self.recipe, compute) | embeddings.health(z)
        known = np.flatnonzero(~np.isnan(self.score))
        if len(known) >= 3:
            partner = read(method, [self.other[i] for i in known], compute).numpy()
            cosine = (embeddings.unit(z[known]) * embeddings.unit(partner)).sum(1)
            numbers["sts"] = similarity.spearman(self.score[known], cosine)
        return numbers


def planned(recipe: PretrainingRecipe, label: NDArray[np.integer], group: NDArray[np.int32], epoch: int) -> Plan:
    """The batches of one epoch. Raises: UnmaskError for samplers of detection."""
    kind = recipe.sampler
    spread = group if kind.spread_groups else None
    if kind.name == "by_class":
        return samplers.by_class(label, recipe.batch, recipe.seed, epoch, group=spread)
    if kind.name == "pk":
        return samplers.pk(label, kind.per_class, recipe.batch, recipe.seed, epoch)
    if kind.name != "shuffled":
        raise RecipeError(f"sampler.name {kind.name!r} pairs real and forged rows: use shuffled, by_class or pk")
    return samplers.shuffled(len(label), recipe.batch, recipe.seed, epoch, group=spread)

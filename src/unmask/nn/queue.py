"""A ring of the latest embeddings: more negatives, or more samples to balance over, than a batch has."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.errors import InputError
from unmask.nn.precision import full


class FeatureQueue(nn.Module):
    """The last `size` rows that were pushed. It holds embeddings, never scores: those age with the weights.

    All processes must push the same rows (gathered ones), so that their queues stay equal.
    """

    roles: ClassVar = {"": "replicated"}

    rows: Tensor
    ids: Tensor
    pushed: Tensor

    def __init__(self, size: int, dim: int, start: Tensor | None = None) -> None:
        """
        Args:
            start: (size, dim) to begin with, such as random directions (MoCo); None = an empty queue.
        Raises: UnmaskError for a size below 1.
        """
        super().__init__()
        if size < 1:
            raise InputError(f"a queue of {size} rows holds nothing: give it a positive size, or leave it out")
        self.register_buffer("rows", torch.zeros(size, dim) if start is None else start.clone())
        self.register_buffer("ids", torch.full((size,), -1))
        self.register_buffer("pushed", torch.tensor(0 if start is None else size))

    def __len__(self) -> int:
        """Rows that are filled."""
        return min(int(self.pushed), len(self.rows))

    @property
    def ready(self) -> bool:
        return len(self) == len(self.rows)

    @property
    def filled(self) -> Tensor:
        """(len(self), dim), in no particular order."""
        return self.rows[: len(self)]

    @torch.no_grad()
    def push(self, rows: Tensor, ids: Tensor | None = None) -> None:
        """Add rows (N, dim), in place of the oldest; N need not divide the size. Of more than `size`, the last stay.

        Args:
            ids: (N,) of the samples or their labels, for masks; -1 where not given.
        """
        size, begin = len(self.rows), int(self.pushed)
        ids = torch.full((len(rows),), -1, device=rows.device) if ids is None else ids
        place = torch.arange(begin, begin + len(rows), device=self.rows.device)[-size:] % size
        self.rows[place] = rows[-size:].detach().to(self.rows.dtype)
        self.ids[place] = ids[-size:].to(self.ids)
        self.pushed += len(rows)


def random_directions(size: int, dim: int) -> Tensor:
    """(size, dim) unit vectors, from torch's random numbers."""
    return F.normalize(full(torch.randn(size, dim)), dim=1)

"""From planned rows to batches on a device: workers read and transform, the device makes floats of bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from unmask.base.detector import Batch
from unmask.base.predict import to_tensor
from unmask.data.loader import FaceSet, Item, Key
from unmask.data.streaming import ShardSet
from unmask.forging.online import ForgedSet
from unmask.types import UnmaskError


def batches(
    faces: FaceSet | ForgedSet, keys: Iterable[Sequence[Key]], *, workers: int = 0, device: torch.device | str = "cpu"
) -> Iterator[Batch]:
    """The rows of each list of keys as a batch, in that order, whatever the number of workers.

    Raises: UnmaskError that names the file, if one cannot be read.
    """
    yield from _loaded(DataLoader(faces, batch_sampler=keys, **_how(workers, device)), device)  # type: ignore[arg-type]


def streamed(shards: ShardSet, batch: int, *, workers: int = 0, device: torch.device | str = "cpu") -> Iterator[Batch]:
    """Shards as batches of `batch` crops; the last one of each worker may be smaller.

    Raises: UnmaskError that names the shard, if one cannot be read.
    """
    yield from _loaded(DataLoader(shards, batch_size=batch, **_how(workers, device)), device)


def _how(workers: int, device: torch.device | str) -> dict[str, Any]:
    pinned = torch.device(device).type == "cuda"
    return {"num_workers": workers, "pin_memory": pinned, "worker_init_fn": _alone if workers else None}


def _alone(worker: int) -> None:
    cv2.setNumThreads(0)  # OpenCV's threads do not survive a fork, and each worker is a thread's worth of work


def _loaded(loader: DataLoader[Item], device: torch.device | str) -> Iterator[Batch]:
    try:
        for items in loader:
            yield batch_of(items, device)
    except UnmaskError as error:  # a worker's error comes with its traceback
        said = str(error.with_traceback(None)).strip().rpartition("\n")[2]  # its frames would keep the workers waiting
        raise type(error)(re.sub(r"^[\w.]+Error: ", "", said)) from None


def batch_of(items: Item, device: torch.device | str = "cpu") -> Batch:
    """Collated items, image uint8 (B, S, S, 3) -> a Batch on `device`, image float (B, 3, S, S) in 0..1."""

    def there(x: object) -> Tensor:
        return torch.as_tensor(x).to(device, non_blocking=True)

    columns: dict[str, Any] = {name: there(getattr(items, name)) for name in ("label", "group", "pair", "method")}
    views = torch.as_tensor(items.views)
    more = to_tensor(views, device) if views.numel() else None
    return Batch(to_tensor(items.image, device), index=there(items.at), views=more, **columns)

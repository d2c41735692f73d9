"""From planned rows to batches on a device: workers read and transform, the device makes floats of bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unmask.base.detector import Batch
from unmask.base.predict import to_tensor
from unmask.data.loader import FaceSet, Item, Key
from unmask.data.streaming import ShardSet
from unmask.errors import UnmaskError
from unmask.forging.online import ForgedSet

B = TypeVar("B")


def batches(
    faces: FaceSet | ForgedSet, keys: Iterable[Sequence[Key]], *, workers: int = 0, device: torch.device | str = "cpu"
) -> Iterator[Batch]:
    """The rows of each list of keys as a batch, in that order, whatever the number of workers.

    Raises: UnmaskError that names the file, if one cannot be read.
    """
    yield from loaded(faces, keys, batch_of, workers=workers, device=device)


def loaded(
    rows: Dataset[Any],
    keys: Iterable[Sequence[Key]],
    collated: Callable[[Any, torch.device | str], B],
    *,
    workers: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[B]:
    """The same of any data set. `collated`: torch's collation of its items, and the device -> the batch."""
    loader = DataLoader(rows, batch_sampler=keys, **_how(workers, device))  # type: ignore[arg-type]
    yield from _loaded(loader, collated, device)


def streamed(shards: ShardSet, batch: int, *, workers: int = 0, device: torch.device | str = "cpu") -> Iterator[Batch]:
    """Shards as batches of `batch` crops; the last one of each worker may be smaller.

    Raises: UnmaskError that names the shard, if one cannot be read.
    """
    yield from _loaded(DataLoader(shards, batch_size=batch, **_how(workers, device)), batch_of, device)


def _how(workers: int, device: torch.device | str) -> dict[str, Any]:
    pinned = torch.device(device).type == "cuda"
    return {"num_workers": workers, "pin_memory": pinned, "worker_init_fn": _alone if workers else None}


def _alone(worker: int) -> None:
    cv2.setNumThreads(0)  # OpenCV's threads do not survive a fork, and each worker is a thread's worth of work


def _loaded(
    loader: DataLoader[Any], collated: Callable[[Any, torch.device | str], B], device: torch.device | str
) -> Iterator[B]:
    try:
        for items in loader:
            yield collated(items, device)
    except UnmaskError as error:  # a worker's error comes with its traceback
        said = str(error.with_traceback(None)).strip().rpartition("\n")[2]  # its frames would keep the workers waiting
        raise type(error)(re.sub(r"^[\w.]+Error: ", "", said)) from None


def batch_of(items: Item, device: torch.device | str = "cpu") -> Batch:
    """Collated items, image uint8 (B, S, S, 3) -> a Batch on `device`, image float (B, 3, S, S) in 0..1."""

    def there(x: object) -> Tensor:
        return torch.as_tensor(x).to(device, non_blocking=True)

    names = ("label", "group", "pair", "method", "identity", "domain")
    columns: dict[str, Any] = {name: there(getattr(items, name)) for name in names}
    views, masks = torch.as_tensor(items.views), torch.as_tensor(items.mask)
    more = to_tensor(views, device) if views.numel() else None
    mask = there(masks).float().div_(255) if masks.numel() else None
    if mask is not None:
        mask[~there(items.masked)] = float("nan")
    points = torch.as_tensor(items.points)
    columns["points"] = there(points) if points.numel() else None
    return Batch(to_tensor(items.image, device), index=there(items.at), views=more, mask=mask, **columns)

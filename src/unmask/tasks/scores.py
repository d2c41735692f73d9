"""A network's answers to the rows of a set, shared by all processes, and detectors' scores as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import torch
from accelerate.utils import gather_object
from torch import Tensor

from unmask.base.detector import Detector
from unmask.base.predict import to_tensor
from unmask.bundles.calibration import log_odds
from unmask.data.loader import FaceSet
from unmask.data.pictures import PictureSet, TileSet
from unmask.errors import UnmaskError
from unmask.measure.scores import COLUMNS
from unmask.tasks.loading import batches, loaded
from unmask.tasks.task import Compute
from unmask.tiling import pooled


@torch.no_grad()
def answers(answer: Callable[[Tensor], Tensor], faces: FaceSet, compute: Compute) -> Tensor:
    """(N, K) float64 on the CPU, row by row what `answer` makes of (B, 3, S, S); each process gets all of them.

    Raises: UnmaskError for answers that are not finite.
    """
    rank, world = compute.accelerator.process_index, compute.accelerator.num_processes
    mine = list(range(rank, len(faces), world))
    keys = [mine[i : i + compute.batch] for i in range(0, len(mine), compute.batch)]
    device, found = compute.accelerator.device, []
    for images, count in _shown(faces, keys, compute):
        with torch.autocast(device.type, torch.bfloat16, enabled=compute.bf16):
            found.append(_mean(answer(images).double().cpu(), count))
    here = torch.cat(found) if found else None
    everywhere: list[Any] = [here] if world == 1 else gather_object([here])
    width = next(x.shape[1] for x in everywhere if x is not None)
    whole = torch.empty(len(faces), width, dtype=torch.double)
    for one, values in enumerate(everywhere):
        if values is not None:
            whole[one::world] = values
    if not torch.isfinite(whole).all():
        raise UnmaskError("the network's answers are not finite any more: lower optimizer.lr, or set clip")
    return whole


def _shown(faces: FaceSet, keys: Sequence[Sequence[int]], compute: Compute) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Images (M, 3, S, S) of each list of keys, and how many of them belong to each row; None = one to each."""
    device = compute.accelerator.device
    if isinstance(faces, PictureSet):
        yield from loaded(TileSet(faces), keys, _tiles, workers=compute.workers, device=device)
        return
    for part in batches(faces, keys, workers=compute.workers, device=device):
        yield part.image, None


def _tiles(items: list[Tensor], device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Collated items of a TileSet, (B, T, S, S, 3) and (B,) -> the tiles that are real, (M, 3, S, S), and (B,)."""
    images, count = items
    real = torch.arange(images.shape[1])[None] < count[:, None]
    return to_tensor(images[real], device), count


def _mean(said: Tensor, count: Tensor | None) -> Tensor:
    """(M, K) -> (B, K), the mean over the tiles of each image (`unmask.tiling.pooled`)."""
    return said if count is None else torch.from_numpy(pooled(said.numpy(), count.tolist()))


@torch.no_grad()
def read(method: Callable[[Sequence[str]], Tensor], texts: Sequence[str], compute: Compute) -> Tensor:
    """(N, D) float64 on the CPU of N sentences; every process computes all of them.

    Raises: UnmaskError for answers that are not finite.
    """
    kind, found = compute.accelerator.device.type, []
    for start in range(0, len(texts), compute.batch):
        with torch.autocast(kind, torch.bfloat16, enabled=compute.bf16):
            found.append(method(texts[start : start + compute.batch]).double().cpu())
    whole = torch.cat(found)
    if not torch.isfinite(whole).all():
        raise UnmaskError("the network's answers are not finite any more: lower optimizer.lr, or set clip")
    return whole


def logits(detector: Detector, faces: FaceSet, compute: Compute) -> Tensor:
    """(N, K) of a detector, which is left in evaluation mode."""
    detector.eval()
    return answers(lambda image: detector(image).logits, faces, compute)


def scored(faces: FaceSet, score: Any) -> pa.Table:
    """The crops and their log-odds (N,) as a scores table (`unmask.measure.scores`)."""
    said = {
        "score": pa.array(score),
        "probability": pa.nulls(len(score), pa.float64()),
        "state": pa.array(["scored"] * len(score)),
    }
    table = faces.table([n for n in COLUMNS.names if n not in said])
    return pa.table({n: said[n] if n in said else table[n] for n in COLUMNS.names}).cast(COLUMNS)


def score_of(found: Tensor, classes: tuple[str, ...]) -> Any:
    """Logits (N, K) -> log-odds of a forgery (N,), float64."""
    return log_odds(found.numpy(), classes).astype("float64")

"""A detector in training, measured on validation crops: frames and videos, counted as `unmask eval bench` does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch.nn import functional as F

from unmask.base.detector import Detector
from unmask.bundles.calibration import log_odds
from unmask.data.loader import FaceSet
from unmask.measure.metrics import auroc, average_precision, eer
from unmask.measure.scores import COLUMNS
from unmask.measure.units import units
from unmask.train.batches import batches
from unmask.types import UnmaskError

METRICS = {"auroc": auroc, "average_precision": average_precision, "eer": eer}


@dataclass(frozen=True)
class Read:
    """What a detector says of N crops: log_odds (N,), and the mean cross-entropy."""

    margin: NDArray[np.float64]
    loss: float


@torch.no_grad()
def read(
    detector: Detector, faces: FaceSet, accelerator: Accelerator, *, batch: int, workers: int = 0, bf16: bool = False
) -> Read:
    """All processes share the crops, and each gets all answers. Leaves the detector in evaluation mode.

    Raises: UnmaskError for logits that are not finite.
    """
    detector.eval()
    mine = list(range(accelerator.process_index, len(faces), accelerator.num_processes))
    keys = [mine[i : i + batch] for i in range(0, len(mine), batch)]
    device, found = accelerator.device, []
    for part in batches(faces, keys, workers=workers, device=device):
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = detector(part.image).logits
        found.append(logits.double().cpu())
    here = torch.cat(found) if found else torch.zeros(0, len(detector.classes), dtype=torch.double)
    everywhere = [here] if accelerator.num_processes == 1 else gather_object([here])
    logits = torch.empty(len(faces), len(detector.classes), dtype=torch.double)
    for rank, one in enumerate(everywhere):
        logits[rank :: len(everywhere)] = one
    if not torch.isfinite(logits).all():
        raise UnmaskError("the detector's logits are not finite any more: lower optimizer.lr, or set clip")
    loss = F.cross_entropy(logits, torch.from_numpy(faces.label.astype(np.int64))).item()
    return Read(log_odds(logits.numpy(), detector.classes).astype(np.float64), loss)


def scored(faces: FaceSet, margin: NDArray[np.float64]) -> pa.Table:
    """The crops and their log_odds as a scores table (`unmask.measure.scores`)."""
    said = {
        "score": pa.array(margin),
        "probability": pa.nulls(len(margin), pa.float64()),
        "state": pa.array(["scored"] * len(margin)),
    }
    table = faces.manifest.table([n for n in COLUMNS.names if n not in said]).take(pa.array(faces.row))
    return pa.table({n: said[n] if n in said else table[n] for n in COLUMNS.names}).cast(COLUMNS)


def measured(faces: FaceSet, found: Read) -> dict[str, float]:
    """frame_auroc, video_eer and so on, and "loss"."""
    table, numbers = scored(faces, found.margin), {"loss": found.loss}
    for level in ("frame", "video"):
        judged = units(table, level)
        for name, metric in METRICS.items():
            numbers[f"{level}_{name}"] = metric(judged.label, judged.score)
    return numbers

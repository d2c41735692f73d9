"""A pre-training run becomes an embedding bundle: one ONNX file that embeds as the trained objective does."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask._version import __version__
from unmask.base.objective import Objective
from unmask.base.predict import to_tensor
from unmask.bundles.distance import ExportWrapper
from unmask.bundles.embedding import CARD, MODEL, Embedder, EmbeddingCard
from unmask.errors import BundleError, CheckpointError
from unmask.exporting.onnx import write_onnx
from unmask.output import write_text
from unmask.output import written as written_file
from unmask.train.loop import restored
from unmask.train.run import sha256

CROPS, BOUND = 8, 1e-3  # of the parity gate: crops, and the largest difference of a unit embedding's number


class EmbeddingWrapper(ExportWrapper):
    """(B, 3, S, S) in 0..1 -> unit embeddings (B, D)."""

    outputs = ("embedding",)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return (F.normalize(self.detector(image), dim=1),)


def export_embedding(run: Path, out: Path, comparable: tuple[str, ...] = ()) -> EmbeddingCard:
    """Write the embedding bundle of a run's best weights to the folder `out`.

    Args:
        comparable: sha256 of older encoders whose embeddings this one was trained to be comparable with.
    Raises: UnmaskError for a run that trained a detector, and an export that embeds otherwise than the torch model.
    """
    method, recipe = restored(run)
    if not isinstance(method, Objective):
        raise CheckpointError(f"{run} trained a detector: leave out --embedding")
    side = method.input.size
    crops = np.random.default_rng(0).integers(0, 256, (CROPS, side, side, 3), np.uint8)
    with torch.inference_mode():
        want = F.normalize(method.eval()(to_tensor(crops)), dim=1).numpy()
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / MODEL
        write_onnx(EmbeddingWrapper(method), model, torch.full((2, 3, side, side), 0.5))
        card = EmbeddingCard(
            name=recipe.name,
            version=__version__,
            input=method.input,
            dim=want.shape[1],
            method=recipe.method,
            licence=recipe.card.licence,
            trained_on=recipe.card.trained_on,
            comparable=comparable,
            sha256=sha256(model),
        )
        content = model.read_bytes()
    worst = float(np.abs(Embedder(card, content)(crops) - want).max())
    if worst > BOUND:
        raise BundleError(f"not exported: embeddings differ by up to {worst:.2g} (allowed {BOUND:g})")
    out.mkdir(parents=True, exist_ok=True)
    with written_file(out / MODEL) as fresh:
        fresh.write_bytes(content)
    write_text(out / CARD, card.model_dump_json(indent=1) + "\n")
    return card

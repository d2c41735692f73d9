"""A pre-training run becomes an encoder's file, which recipes of detectors and objectives start from."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from unmask.base.image_text import ImageText
from unmask.base.objective import Objective
from unmask.errors import CheckpointError
from unmask.nn.text import TextEncoder
from unmask.train.loop import restored

FILE = "encoder.safetensors"


def export_encoder(run: Path, out: Path) -> Path:
    """Write the encoder of a run's best weights, without heads, teachers and queues, to `out`/encoder.safetensors.

    Of an image-text run, both encoders with their heads and the tokeniser are written beside it, for
    `unmask eval retrieval`, `zero-shot` and `sts`. Of sentences alone, the tokeniser is.

    The tensors have the names of the library that the encoder is of (timm, transformers), and the file says which
    backbone they are of.

    Raises: UnmaskError for a run that trained a detector, or has no best weights yet.
    """
    method, _ = restored(run)
    if not isinstance(method, Objective):
        raise CheckpointError(f"{run} trained a detector: export it as a bundle")
    encoder = method.encoder
    inner = getattr(encoder, "body", None)  # of our wrappers, which add the normalisation
    body = inner if isinstance(inner, nn.Module) else encoder
    name = str(getattr(encoder, "name", type(encoder).__name__))
    out.mkdir(parents=True, exist_ok=True)
    state = {key: value.contiguous() for key, value in body.state_dict().items()}
    save_file(state, out / FILE, {"backbone": name})
    if isinstance(method, ImageText) and method.pair is not None:
        method.pair.save(out)
    if isinstance(encoder, TextEncoder):
        encoder.tokeniser.save(out)
    return out / FILE

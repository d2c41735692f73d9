"""Published weights as the file that LSDA starts from: ArcFace's for the teacher of real faces, ImageNet's for others.

    python -m training.lsda_start --arcface backbone.pth --image model.safetensors --out start.safetensors

Without published weights, `unmask train recipes/arcface-tiny.yaml` trains a small teacher.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from unmask.exporting.checkpoints import layouts


def main() -> None:
    parser = argparse.ArgumentParser("python -m training.lsda_start", description=sys.modules[__name__].__doc__)
    parser.add_argument("--arcface", type=Path, required=True, help="published weights in ArcFace's layout")
    parser.add_argument("--image", type=Path, help="ImageNet weights in timm's layout")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    arguments = parser.parse_args()
    save_file(packed(arguments.arcface, arguments.image), arguments.out)
    print(f"written to {arguments.out}")


def packed(arcface: Path, image: Path | None) -> dict[str, Tensor]:
    """Weights under the names that `LSDA.load_pretrained` reads. Raises: UnmaskError for files that cannot be read."""
    state = {f"real.{k}": v for k, v in layouts.weights(layouts.read(arcface), arcface).items()}
    if image is not None:
        state |= {f"image.{k}": v for k, v in layouts.weights(layouts.read(image), image).items()}
    return {k: v.contiguous() for k, v in state.items()}


if __name__ == "__main__":
    main()

"""The embedded detector on crops of another face detector: the same weights, exported and calibrated anew.

    python -m training.recalibrate BUNDLE --data FACES.parquet --out OUT

A scan scores crops of the face detector that ships; where that changes, probabilities, thresholds and the distance
from the training faces are fitted again on such crops of the same validation people. `OUT` is then measured by
`python -m training.table`. Test rows are read by nothing in this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from training.stills import chosen, stills
from unmask.bundles import Scorer, read, write
from unmask.bundles.calibration import log_odds
from unmask.bundles.distance import load_exported
from unmask.data.manifest import Manifest
from unmask.exporting.bundle import Target, build
from unmask.registry import create
from unmask.types import Card

FAMILIAR = ("dfdc_faces224", "140k_stylegan256", "lfw_deepfunneled")  # sets whose training faces say what is familiar
CALIBRATING = ("dfdc_faces224", "140k_stylegan256")
REAL = (*CALIBRATING, "lfw_deepfunneled", "utkface_crop")  # one camera does not say what real faces of others score
SAID = (
    "DFDC faces, validation actors, and StyleGAN and FFHQ, validation files (what a real face may score: also LFW and "
    "UTKFace, validation people)"
)


def recalibrate(bundle: Path, data: Path, out: Path) -> Card:
    """Write `out`: the weights of a bundle, exported and calibrated on the face manifest `data`."""
    held = read(bundle)
    detector = create("detector", held.card.method, held.card.options).eval()
    load_exported(detector, held.files["model.safetensors"])  # fills it
    about = held.card.model_copy(update={"recipe": held.card.recipe | {"calibrated_on": Manifest(data).digest}})
    train, validate = chosen(data, "train", about.input, FAMILIAR), chosen(data, "val", about.input, CALIBRATING)
    card, _ = build(detector, about, train, validate, out, SAID, Target(precision="fp16"))
    assert card.calibration is not None
    found = stills(data, "val", card.input, REAL)
    score = log_odds(Scorer(read(out)).logits(found.pixels[found.label == 0]), card.classes)
    usual = tuple(round(float(v), 4) for v in np.sort(score))
    card = card.model_copy(update={"calibration": card.calibration.model_copy(update={"real": usual})})
    return write(out, card, {name: out / name for name in card.files})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.recalibrate", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument(
        "--data", type=Path, required=True, help="a manifest of faces, extracted with the present face detector"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    card = recalibrate(arguments.bundle, arguments.data, arguments.out)
    print(f"calibrated anew: {arguments.out}, {card.name}")


if __name__ == "__main__":
    main()

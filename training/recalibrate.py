"""The embedded detector on crops of another face detector: the same weights, calibrated anew.

    python -m training.recalibrate BUNDLE --data FACES.parquet --out RUN

A scan scores crops of the face detector that ships; where that changes, probabilities, thresholds and the distance
from the training faces are fitted again on such crops of the same validation people. `RUN/bundle` is then measured by
`python -m training.table`. Test rows are read by nothing in this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from training.second import SECOND, finish
from unmask.bundles import read
from unmask.bundles.distance import restored
from unmask.data.manifest import Manifest
from unmask.registry import FAMILIES
from unmask.types import UnmaskError


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.recalibrate", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="of the release 2")
    parser.add_argument(
        "--data", type=Path, required=True, help="a manifest of faces, extracted with the present face detector"
    )
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    bundle = read(asked.bundle)
    if bundle.card.name != SECOND.name:
        raise UnmaskError(f"{asked.bundle} holds {bundle.card.name}: only {SECOND.name} can be calibrated anew here")
    detector = FAMILIES["detector"].create(bundle.card.method, bundle.card.options)
    restored(detector, bundle.files["model.safetensors"])  # fills it
    said = {**bundle.card.recipe, "calibrated_on": Manifest(asked.data).digest}
    asked.out.mkdir(parents=True, exist_ok=True)
    finish(detector, bundle.card.options, asked.data, asked.out, said)
    print(f"calibrated anew: {asked.out / 'bundle'}")


if __name__ == "__main__":
    main()

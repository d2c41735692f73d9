"""The embedded detector's second edition: a run of `recipes/embedded-2.yaml`, boxed with what a scan asks of it.

    unmask train recipes/embedded-2.yaml --data FACES.parquet --out RUN
    python -m unmask.train.second RUN --data FACES.parquet

The run starts from the weights of the first edition. Validation chooses weights, calibration and thresholds; test
rows are read by nothing in this file. `RUN/bundle` is then measured by `python -m unmask.train.table`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from unmask.train.embedded import HELD, SEEN, Edition, box
from unmask.train.loop import restore
from unmask.train.run import Folder
from unmask.train.stills import stills

SECOND = Edition(
    "unmask-embedded-2",
    "MobileNetV2 on aligned faces, trained on face swaps, StyleGAN portraits and forgeries of our own.",
    (
        "face swaps of the DFDC data set (one compressed still of each video)",
        "blending of a face into a picture: self-blended faces, Face X-rays, faces swapped by landmarks, edited parts",
        "StyleGAN portraits (a few hundred)",
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m unmask.train.second", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="of `unmask train recipes/embedded-2.yaml`")
    parser.add_argument("--data", type=Path, required=True, help="the manifest of faces it was trained with")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    detector, recipe = restore(arguments.run)
    facts = Folder(arguments.run).facts()
    held = recipe.model_dump(mode="json", by_alias=True, exclude={"start", "card"})
    said = {**held, "start": {"name": "unmask-embedded-1", "sha256": facts["start"]}, "data_digest": facts["data"]}
    seen = stills(arguments.data, "train", detector.input, SEEN)
    box(
        detector,
        replace(SECOND, options=recipe.options),
        seen,
        stills(arguments.data, "val", detector.input, HELD),
        arguments.run,
        said,
    )
    print(f"bundle written to {arguments.run / 'bundle'}")


if __name__ == "__main__":
    main()

"""The embedded detector's release 2: between the first one and a run that trained it on with more forgeries.

    unmask train recipes/embedded-2.yaml FACES.parquet --out RUN
    python -m training.second RUN --first FIRST.safetensors --data FACES.parquet --development DEVELOPMENT.parquet

A run that starts from good weights and learns something new forgets some of what they knew. Weights between the two,
(1 - share) first + share second, can keep the one and have the other: Wortsman et al., "Robust fine-tuning of zero-shot
models", CVPR 2022 (arXiv 2109.01903). The share is chosen by the mean AUROC over forgeries of people that nobody
trained on, some of them by forgery methods that neither release has met (`training.development`); calibration and
thresholds are chosen on validation people, and test rows are read by nothing in this file. `RUN/bundle` is then
measured by `python -m training.table`.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.edition import FEATURES_MEASURED, SEEN, Edition, box, read
from training.stills import stills
from unmask.base.detector import Detector
from unmask.data.loader import FaceSet
from unmask.data.manifest import Manifest
from unmask.measure.metrics import auroc
from unmask.train import checkpoint
from unmask.train.loop import restore
from unmask.train.run import Folder, sha256
from unmask.types import DataTerms, Pixels, UnmaskError

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
SECOND = Edition(
    "unmask-embedded-2",
    "MobileNetV2 on aligned faces, trained on face swaps, StyleGAN portraits and forgeries of our own.",
    (
        "face swaps of the DFDC data set (one compressed still of each video)",
        "blending of a face into an image: self-blended faces, Face X-rays, faces swapped by landmarks, edited parts",
        "StyleGAN portraits (a few hundred)",
    ),
    "DFDC faces, validation actors, and StyleGAN and FFHQ, validation files (what a real face may score: also LFW and "
    "UTKFace, validation people)",
    (
        DataTerms(name="DFDC faces (dfdc_faces224)", use="training, calibration, test", terms="DFDC, research use"),
        DataTerms(name="StyleGAN / FFHQ 256 (140k_stylegan256)", use="training, test", terms="CC BY-NC-SA / CC BY-NC"),
        DataTerms(name="LFW deep-funneled", use="forging, thresholds, test of false alarms", terms="LFW, research use"),
        DataTerms(name="UTKFace", use="forging, thresholds, test of false alarms", terms="non-commercial"),
        DataTerms(name="CIPLAB photoshop", use="choice of the release 2 (a half), test", terms="terms not read"),
        DataTerms(name="FaceForensics++ c23 (40 videos)", use="test", terms="FaceForensics++, research use"),
        DataTerms(name="Coral MobileNetV2 (ImageNet)", use="starting weights", terms="Apache-2.0"),
    ),
)
CALIBRATING = ("dfdc_faces224", "140k_stylegan256")
REAL = (*CALIBRATING, "lfw_deepfunneled", "utkface_crop")  # one camera does not say what real faces of others score


def between(first: checkpoint.State, second: Detector, share: float) -> Detector:
    """A detector whose weights lie on the line from `first` (0) to those of `second` (1), running means included."""
    mixed = copy.deepcopy(second)
    state = {k: torch.lerp(first[k].float(), v, share) if v.is_floating_point() else v
             for k, v in second.state_dict().items()}  # fmt: skip
    mixed.load_state_dict(state)
    return mixed.eval()


def questions(faces: FaceSet) -> dict[str, NDArray[np.int64]]:
    """Forgery -> indices of its rows and of their originals; without originals, of the real rows of its data set."""
    found: dict[str, NDArray[np.int64]] = {}
    for code in np.unique(faces.method[faces.label == 1]):
        fake = np.flatnonzero((faces.label == 1) & (faces.method == code))
        real: NDArray[np.integer] = np.unique(faces.pair[fake][faces.pair[fake] >= 0])
        if not len(real):
            real = np.flatnonzero((faces.label == 0) & np.isin(faces.dataset, faces.dataset[fake]))
        found[faces.methods[code]] = np.concatenate([real, fake]).astype(np.int64)
    return found


def asked(detector: Detector, faces: FaceSet, pixels: Pixels) -> dict[str, float]:
    """AUROC of each of the `questions`, and their mean. `pixels` (N, S, S, 3) are those of `faces`."""
    margin = read(detector, pixels)[0]
    found = {name: auroc(faces.label[rows], margin[rows]) for name, rows in questions(faces).items()}
    return found | {"mean": float(np.mean(list(found.values())))}


def table(rows: Mapping[float, Mapping[str, float]]) -> str:
    """The shares and what they reach, as Markdown."""
    names = list(next(iter(rows.values())))
    lines = [f"| share | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {share:g} | {' | '.join(f'{found[n]:.3f}' for n in names)} |" for share, found in rows.items()]
    return "\n".join(lines)


def finish(detector: Detector, options: dict[str, Any], data: Path, out: Path, recipe: dict[str, object]) -> None:
    """`out/bundle`: calibrated on validation people of `data`, near to its training people."""
    seen = stills(data, "train", detector.input, SEEN, FEATURES_MEASURED)
    held, real = (stills(data, "val", detector.input, sets) for sets in (CALIBRATING, REAL))
    box(detector, replace(SECOND, options=options), seen, held, out, recipe, real)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.second", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="of `unmask train recipes/embedded-2.yaml`")
    parser.add_argument("--first", type=Path, required=True, help="model.safetensors of the release 1's bundle")
    parser.add_argument("--data", type=Path, required=True, help="the manifest of faces the run was trained with")
    parser.add_argument("--development", type=Path, required=True, help="of `training.development`: its test part")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    detector, recipe = restore(arguments.run)
    facts = Folder(arguments.run).facts()
    if facts["start"] != sha256(arguments.first):
        raise UnmaskError(
            f"{arguments.run} did not start from {arguments.first}: give the weights that it started from"
        )
    first = checkpoint.boxed(arguments.first)
    split = Manifest(arguments.development).table(["split"])["split"].to_pylist()
    faces = FaceSet(arguments.development, detector.input, where=np.array([s == "test" for s in split], bool))
    pixels = np.stack([faces[i].image for i in range(len(faces))])
    reached = {share: asked(between(first, detector, share), faces, pixels) for share in SHARES}
    print(table(reached))
    share = max(reached, key=lambda s: reached[s]["mean"])
    asked_for = recipe.model_dump(mode="json", by_alias=True, exclude={"start", "card"})
    start = {"name": "unmask-embedded-1", "sha256": facts["start"]}
    said = {**asked_for, "start": start, "share": share, "data_digest": facts["data"]}
    finish(between(first, detector, share), recipe.options, arguments.data, arguments.run, said)
    print(f"share {share:g}: bundle written to {arguments.run / 'bundle'}")


if __name__ == "__main__":
    main()

"""How an release of the embedded detector becomes a bundle: calibration, what is near, the export, the card's words."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.stills import Stills
from unmask._version import __version__
from unmask.base.detector import Detector
from unmask.bundles import write
from unmask.bundles.distance import halved, measured, save
from unmask.exporting.onnx import to_onnx
from unmask.measure.calibration import calibrate
from unmask.types import Card, DataTerms, Pixels

FAR_QUANTILE = 0.99  # of the validation faces' distances
SEEN = ("dfdc_faces224", "140k_stylegan256", "lfw_deepfunneled")  # sets whose training faces say what is near
FEATURES_MEASURED = 4000  # training faces whose features say what is near: plenty for 48 directions
LIMITS = (
    "forgery methods it has not seen: results on other data sets are far below those on its own",
    "images that are synthetic as a whole (diffusion models), unless they are faces like StyleGAN's",
    "faces below 40 pixels, profiles, strong blur or compression",
    "it judges each frame by itself: no lip movement, no sound, no flicker",
    "calibrated on stills of validation actors at equal priors; other sources shift its probabilities",
)
MISUSE = (
    "as the only ground for a decision about a person: accusation, moderation without review, evidence in court",
    "as proof that an image is genuine: 'real' means that no forgery this detector knows was found",
)


@dataclass(frozen=True)
class Edition:
    """What a card says that no file knows."""

    name: str
    summary: str
    trained_on: tuple[str, ...]
    calibrated: str  # on what
    terms: tuple[DataTerms, ...]
    options: dict[str, Any] = field(default_factory=dict)


def box(
    detector: Detector,
    edition: Edition,
    seen: Stills,
    held: Stills,
    out: Path,
    recipe: dict[str, object],
    real: Stills | None = None,
) -> Card:
    """Calibrate, measure the features of training faces, export, and write `out/bundle`.

    Args:
        seen: training crops, some of which say what is near.
        held: of validation people, on whom it is calibrated.
        real: validation crops whose real faces say what a real face may score; None = those of `held`.
    """
    some = np.random.default_rng(0).permutation(len(seen.label))[:FEATURES_MEASURED]
    model = halved(measured(detector, read(detector, seen.pixels[some])[1], seen.label[some]))
    margins, features = read(detector, held.pixels)
    far = model.distance(torch.from_numpy(features))
    data = f"{edition.calibrated}: {len(held.label)} stills, {len(set(held.groups))} groups"
    calibration = calibrate(held.label, margins, held.groups, data)
    if real is not None:
        usual = np.sort(read(detector, real.pixels[real.label == 0])[0])
        calibration = calibration.model_copy(update={"real": tuple(round(float(v), 4) for v in usual)})
    worst = to_onnx(model, out / "model.onnx", held.pixels[:64])
    print(f"exported; largest difference of a logit on 64 real crops: {worst:.2g}")
    card = Card(
        name=edition.name,
        version=__version__,
        summary=edition.summary,
        method="mobilenet",
        options=edition.options,
        input=detector.input,
        calibration=calibration,
        ood_threshold=round(float(np.quantile(far.numpy(), FAR_QUANTILE)), 4),
        trained_on=edition.trained_on,
        limits=LIMITS,
        misuse=MISUSE,
        data=edition.terms,
        licence="Apache-2.0 for code and weights; trained on research data whose terms are listed under data",
        recipe=recipe,
        files={},
    )
    save(model, str(out / "model.safetensors"))
    return write(out / "bundle", card, {name: out / name for name in ("model.onnx", "model.safetensors")})


@torch.no_grad()
def read(detector: Detector, crops: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """uint8 (N, S, S, 3) -> margins (N,) and features (N, D)."""
    margins, features = [], []
    for i in range(0, len(crops), 32):
        image = torch.from_numpy(crops[i : i + 32].transpose(0, 3, 1, 2).copy()).float().div_(255)
        out = detector.eval()(image.contiguous(memory_format=torch.channels_last))
        margins.append((out.logits[:, 1] - out.logits[:, 0]).numpy())
        features.append(out.features.numpy())
    return np.concatenate(margins), np.concatenate(features)

"""The embedded detector, from the research collection to the bundle that ships: one command.

    python -m unmask.train.embedded --data COLLECTION --weights WEIGHTS --out RUN

`COLLECTION` holds MANIFEST.csv.gz, `WEIGHTS` holds the ImageNet start and the face mesh. The run folder then holds the
crops, `metrics.csv`, the weights of the best validation, and `bundle/`. Validation chooses the weights, the calibration
and the thresholds; test rows are read by nothing in this file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from unmask._version import __version__
from unmask.bases import Detector
from unmask.bundles import write
from unmask.data.collection import rows
from unmask.data.crops import Crops, prepare
from unmask.detectors.mobilenet import MobileNet
from unmask.faces import Finder
from unmask.measure.calibration import calibrate
from unmask.measure.metrics import auroc
from unmask.nn.distance import halved, measured, save
from unmask.nn.mobilenet import load_tflite, rescale
from unmask.nouns import Card, DataTerms, Pixels
from unmask.train.export import to_onnx
from unmask.train.fit import fit, restore
from unmask.train.pairs import Pairs, blended, fixed
from unmask.train.stills import Stills

COUNTS = {"swap": 8, "blend": 7, "gan": 1}  # pairs of each kind in a batch
FAR_QUANTILE = 0.99  # of the validation faces' distances
SEEN = ("dfdc_faces224", "140k_stylegan256", "lfw_deepfunneled")  # sets whose training faces say what is near
HELD = ("dfdc_faces224",)
FEATURES_MEASURED = 4000  # training faces whose features say what is near: plenty for 48 directions


def main() -> None:
    arguments = parse()
    out: Path = arguments.out
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    stills = [r for r in rows(arguments.data) if not r.path.endswith(".mp4")]
    finder = Finder.load(arguments.faces)
    crops = prepare(arguments.data, stills, out / "crops", finder, arguments.weights / "mediapipe_face_landmark.tflite")
    if not (out / "best.safetensors").exists():
        train(
            crops, arguments.weights / "coral_tf2_mobilenet_v2_1.0_224_ptq.tflite", out, arguments.steps, arguments.seed
        )
    detector = restore(MobileNet(), out / "best.safetensors")
    seen = Stills(*fixed(crops, "train", detector.input, SEEN))
    held = Stills(*fixed(crops, "val", detector.input, HELD))
    said = {"steps": arguments.steps, "seed": arguments.seed, "pairs": COUNTS, "faces": finder.name}
    box(detector, FIRST, seen, held, out, said)
    print(
        f"bundle written to {out / 'bundle'}; measure it with: python -m unmask.train.table --bundle {out / 'bundle'}"
    )


def train(crops: Crops, start: Path, out: Path, steps: int, seed: int) -> Path:
    """Fine-tune from the ImageNet weights at `start`. Returns: the best weights by validation."""
    torch.manual_seed(seed)
    detector = MobileNet()
    load_tflite(detector.body, start)
    pairs = Pairs(crops, detector.input, COUNTS, seed)
    typical = torch.cat([pairs.batch(np.random.default_rng((seed, 1, k)))[0] for k in range(2)])
    rescale(detector.body, detector.normalise(typical.float() / 255))
    detector.to(memory_format=torch.channels_last)
    loader = DataLoader(pairs, batch_size=None, num_workers=1, prefetch_factor=6)
    return fit(detector, loader, validation(crops), out, steps=steps)


def validation(crops: Crops) -> Callable[[Detector], dict[str, float]]:
    """AUROC on DFDC's validation actors and on self-blends of validation people, which choose, and on StyleGAN."""
    spec = MobileNet.input
    swaps, swapped, _ = fixed(crops, "val", spec, ("dfdc_faces224",))
    gan, synthetic, _ = fixed(crops, "val", spec, ("140k_stylegan256",))
    blends, pasted = blended(crops, "val", spec, ("lfw_deepfunneled", "utkface_crop"), seed=1)

    def validate(detector: Detector) -> dict[str, float]:
        dfdc, blend = auroc(swapped, read(detector, swaps)[0]), auroc(pasted, read(detector, blends)[0])
        other = auroc(synthetic, read(detector, gan)[0])
        return {"dfdc": dfdc, "blend": blend, "stylegan": other, "choose": (2 * dfdc + blend) / 3}

    return validate


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


@dataclass(frozen=True)
class Edition:
    """What a card says that no file knows."""

    name: str
    summary: str
    knows: tuple[str, ...]
    calibrated: str  # on what
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
        far=round(float(np.quantile(far.numpy(), FAR_QUANTILE)), 4),
        knows=edition.knows,
        limits=LIMITS,
        misuse=MISUSE,
        data=TERMS,
        licence="Apache-2.0 for code and weights; trained on research data whose terms are listed under data",
        recipe=recipe,
        files={},
    )
    save(model, str(out / "model.safetensors"))
    return write(out / "bundle", card, {name: out / name for name in ("model.onnx", "model.safetensors")})


FIRST = Edition(
    "unmask-embedded-1",
    "MobileNetV2 on aligned faces, trained on face swaps, self-blended faces and StyleGAN portraits.",
    (
        "face swaps of the DFDC data set (one compressed still of each video)",
        "blending of a face into a picture, from self-blended faces of four sets of photographs",
        "StyleGAN portraits (a few hundred)",
    ),
    "DFDC faces, validation actors",
)
LIMITS = (
    "forgers it has not seen: results on other data sets are far below those on its own",
    "pictures that are synthetic as a whole (diffusion models), unless they are faces like StyleGAN's",
    "faces below 40 pixels, profiles, strong blur or compression",
    "it judges each frame by itself: no lip movement, no sound, no flicker",
    "calibrated on stills of validation actors at equal priors; other sources shift its probabilities",
)
MISUSE = (
    "as the only ground for a decision about a person: accusation, moderation without review, evidence in court",
    "as proof that a picture is genuine: 'real' means that no forgery this detector knows was found",
)
TERMS = (
    DataTerms(name="DFDC faces (dfdc_faces224)", use="training, calibration, test", terms="DFDC, research use"),
    DataTerms(name="StyleGAN / FFHQ 256 (140k_stylegan256)", use="training, test", terms="CC BY-NC-SA / CC BY-NC"),
    DataTerms(name="LFW deep-funneled", use="forging, thresholds, test of false alarms", terms="LFW, research use"),
    DataTerms(name="UTKFace", use="forging, thresholds, test of false alarms", terms="non-commercial"),
    DataTerms(name="CIPLAB photoshop", use="choice of the second edition (a half), test", terms="terms not read"),
    DataTerms(name="FaceForensics++ c23 (40 clips)", use="test", terms="FaceForensics++, research use"),
    DataTerms(name="Coral MobileNetV2 (ImageNet)", use="starting weights", terms="Apache-2.0"),
)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m unmask.train.embedded", description=sys.modules[__name__].__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the research collection, with MANIFEST.csv.gz")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the ImageNet and the face mesh weights")
    parser.add_argument("--out", type=Path, required=True, help="run folder; what is there already is not done again")
    parser.add_argument("--faces", default="embedded", help="face finder: embedded, yunet or an ONNX file")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()

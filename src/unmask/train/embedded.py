"""The embedded detector's first edition, from the research collection to a bundle: one command.

    python -m unmask.train.embedded --data COLLECTION --weights WEIGHTS --out RUN

`COLLECTION` holds MANIFEST.csv.gz, `WEIGHTS` holds the ImageNet start and the face mesh. The run folder then holds the
crops, `metrics.csv`, the weights of the best validation, and `bundle/`. Validation chooses the weights, the calibration
and the thresholds; test rows are read by nothing in this file. What ships was taught on from it: `unmask.train.second`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from unmask.bases import Detector
from unmask.data.collection import rows
from unmask.data.crops import Crops, prepare
from unmask.detectors.mobilenet import MobileNet
from unmask.faces import Finder
from unmask.measure.metrics import auroc
from unmask.nn.mobilenet import load_tflite, rescale
from unmask.nouns import DataTerms
from unmask.train.edition import SEEN, Edition, box, read
from unmask.train.fit import fit, restore
from unmask.train.pairs import Pairs, blended, fixed
from unmask.train.stills import Stills

COUNTS = {"swap": 8, "blend": 7, "gan": 1}  # pairs of each kind in a batch
HELD = ("dfdc_faces224",)
TERMS = (
    DataTerms(name="DFDC faces (dfdc_faces224)", use="training, calibration, test", terms="DFDC, research use"),
    DataTerms(name="StyleGAN / FFHQ 256 (140k_stylegan256)", use="training, test", terms="CC BY-NC-SA / CC BY-NC"),
    DataTerms(name="LFW deep-funneled", use="self-blending, test of false alarms", terms="LFW, research use"),
    DataTerms(name="UTKFace", use="self-blending, test of false alarms", terms="non-commercial"),
    DataTerms(name="CIPLAB photoshop", use="test", terms="terms not read"),
    DataTerms(name="FaceForensics++ c23 (40 clips)", use="test", terms="FaceForensics++, research use"),
    DataTerms(name="Coral MobileNetV2 (ImageNet)", use="starting weights", terms="Apache-2.0"),
)
FIRST = Edition(
    "unmask-embedded-1",
    "MobileNetV2 on aligned faces, trained on face swaps, self-blended faces and StyleGAN portraits.",
    (
        "face swaps of the DFDC data set (one compressed still of each video)",
        "blending of a face into a picture, from self-blended faces of four sets of photographs",
        "StyleGAN portraits (a few hundred)",
    ),
    "DFDC faces, validation actors",
    TERMS,
)


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
    print(f"bundle written to {out / 'bundle'}; measure it with: python -m unmask.train.table --data {arguments.data} "
          f"--faces FACES.parquet --bundle {out / 'bundle'} --out {out}")  # fmt: skip


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

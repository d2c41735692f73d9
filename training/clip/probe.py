"""`unmask-clip-1`: a linear head on frozen features of CLIP ViT-B/16's first six blocks, as a delta bundle.

    unmask pull clip-vit-b-16
    unmask import encoder PULLED -o encoder.safetensors
    python -m training.clip.probe FACES.parquet --encoder encoder.safetensors --cache FEATURES --out OUT

Training rows are pairs: a forgery beside the real face that it was made from, or StyleGAN's portraits beside the
photographs that StyleGAN learnt from. Real faces of other sources take part only beside forgeries of the very same
crops (`unmask data forge`, data set "forged"). Otherwise the head learns sources: with Stable Diffusion's faces against
other people's photographs in the rows, one on class tokens called all 30 portraits of an unseen studio forged.

The threshold of each error rate is that of the worst source among the validation photographs, not of their mixture.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from training.clip.cards import CARD, TRAINED
from training.clip.features import Faces, crop, faces
from training.sources import measured, worst_source
from unmask.base.predict import predict
from unmask.bundles import Scorer, read, write
from unmask.bundles.calibration import log_odds
from unmask.bundles.distance import fit_mahalanobis, save
from unmask.data.manifest import Manifest
from unmask.detectors.gend import GenD
from unmask.exporting.bundle import OOD_QUANTILE
from unmask.exporting.delta import subtract
from unmask.exporting.onnx import write_onnx
from unmask.exporting.parity import BOUNDS, check_parity
from unmask.measure.calibration import calibrate
from unmask.types import Card

ENCODER = "clip-vit-b-16"
PAIRED = ("dfdc_faces224", "deepfacelive_pairs_video", "140k_stylegan256", "forged")
BESIDE = ("utkface_crop", "unsplash_men_512")  # real faces whose crops were forged here
C = 30.0  # inverse strength of the head's regularisation; chosen on validation rows among 30, 300 and 3000
GATE = 8  # crops of the parity gate: a pass takes a third of a second


def head(found: Faces, detector: GenD) -> NDArray[np.float64]:
    """Fits the detector's head, in place. Returns: log-odds (N,) of all rows."""
    z = F.normalize(torch.from_numpy(found.features), dim=1).numpy()
    label, source = found.column("label").astype(int), found.column("dataset")
    use = (found.column("split") == "train") & (np.isin(source, PAIRED) | (np.isin(source, BESIDE) & (label == 0)))
    weight = np.ones(len(label))
    for name in np.unique(source[use]):
        for k in (0, 1):
            part = use & (source == name) & (label == k)
            weight[part] = (
                max(part.sum(), 1) ** -0.5
            )  # a large source counts more than a small one, but not in proportion
    fitted = LogisticRegression(C=C, max_iter=1000).fit(z[use], label[use], weight[use] / weight[use].mean())
    half, offset = torch.from_numpy(fitted.coef_[0] / 2).float(), float(fitted.intercept_[0]) / 2
    with torch.no_grad():
        detector.head.weight.copy_(torch.stack([-half, half]))
        detector.head.bias.copy_(torch.tensor([-offset, offset]))
    return np.asarray(fitted.decision_function(z), np.float64)


def box(manifest: Path, found: Faces, detector: GenD, score: NDArray[np.float64], out: Path) -> Card:
    """Write the delta bundle. Raises: UnmaskError where the exported model answers otherwise than the torch model."""
    label, source, split = found.column("label").astype(int), found.column("dataset"), found.column("split")
    group, unit = found.column("group_id"), F.normalize(torch.from_numpy(found.features), dim=1).numpy()
    train, val = split == "train", split == "val"
    both = val & np.isin(source, PAIRED)
    said = "DFDC, StyleGAN and FFHQ, DeepFaceLive, validation groups; what a real face may score: the worst of "
    sources = sorted(set(source[val & (label == 0)]))
    calibration = calibrate(label[both], score[both], group[both].tolist(), said + ", ".join(sources))
    calibration = calibration.model_copy(update={"real": worst_source(score, source, val & (label == 0))})
    model = fit_mahalanobis(detector, unit[train], label[train]).eval()
    distance = model.distance(torch.from_numpy(unit[val])).numpy()
    data = Manifest(manifest)
    crops = np.stack([crop(data, found.rows[int(i)], detector) for i in np.linspace(0, len(label) - 1, GATE)])
    exact = log_odds(predict(detector, crops).logits, detector.classes)
    with tempfile.TemporaryDirectory() as scratch:
        files = {"model.onnx": Path(scratch) / "model.onnx", "model.safetensors": Path(scratch) / "model.safetensors"}
        side = detector.input.size
        write_onnx(model, files["model.onnx"], torch.full((2, 3, side, side), 0.5))
        save(model, str(files["model.safetensors"]))
        base = subtract(files, ENCODER)
        about = CARD.model_copy(
            update={
                "input": detector.input,
                "base": base,
                "calibration": calibration,
                "ood_threshold": round(float(np.quantile(distance, OOD_QUANTILE)), 4),
                "metrics": measured(found, score, calibration, TRAINED),
                "recipe": {"data_digest": data.digest, "C": C, "train": int(train.sum())},
            }
        )
        card = write(out, about, files)
        worst = check_parity(Scorer(read(out), "onnx"), crops, exact, calibration, BOUNDS["fp32"])
        print(f"\nparity on {GATE} crops: P(fake) differs by at most {worst:.2g}")
    return card


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.clip.probe", description=__doc__.splitlines()[0])
    parser.add_argument("faces", type=Path, help="a manifest of faces, with `unmask data forge`'s rows joined")
    parser.add_argument("--encoder", type=Path, required=True, help="what `unmask import encoder` wrote")
    parser.add_argument("--cache", type=Path, required=True, help="folder of features, made and reused")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle to write")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    detector = GenD(**CARD.options)
    detector.load_pretrained(asked.encoder)
    found = faces(asked.faces, detector.eval(), asked.cache)
    card = box(asked.faces, found, detector, head(found, detector), asked.out)
    for m in card.metrics:
        print(f"| {m.data} | {m.name} | {m.value:.3f} | {m.low:.3f} to {m.high:.3f} | {m.real} / {m.fake} | {m.seen} |")


if __name__ == "__main__":
    main()

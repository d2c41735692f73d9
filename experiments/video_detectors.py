"""A detector of single frames beside detectors of videos, on the same windows of FaceForensics++, by video and group.

    python experiments/video_detectors.py ffpp_c23_videos --work work --out docs/tables/videos.md

The folder holds `real/**/ID.mp4` and `fake/METHOD/**/ID_ID.mp4`. Four windows of four frames in a row are cut out of
each video. Every leakage group (a pair of people and all that was made of them) is tested once; the next group chooses
the checkpoint, the others train. A frame detector sees the same frames one by one: as many of them in a step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from unmask.base.predict import predict
from unmask.bench.evaluate import by_detector
from unmask.bench.scoring import score_rows
from unmask.data.crop_files import Options
from unmask.data.datasets._ffpp import groups
from unmask.data.extraction import cut
from unmask.data.loader import FaceSet
from unmask.data.manifest import FaceRow, Manifest, Row, Writer, write
from unmask.measure.metrics import auroc
from unmask.measure.units import units
from unmask.tasks.recipe import DetectionRecipe, load
from unmask.train.loop import finished, restore, train

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
WINDOWS, FRAMES = 4, 4
FRAME = "resnet34"
VIDEO = ("i3d", "ftcn", "altfreezing", "tall", "stil", "addnet3d", "timesformer", "videomae", "xclip")


def media(folder: Path) -> Iterator[Row]:
    for path in sorted(folder.rglob("*.mp4")):
        where = path.relative_to(folder)
        fake = where.parts[0] == "fake"
        method = where.parts[1] if fake else ""
        yield Row(
            dataset="ffpp", item_id=f"ffpp/{method or 'original'}/{path.stem}", relpath=where.as_posix(),
            media_type="video", label=int(fake), group_id=groups()[path.stem[:3]], method=method, compression="c23",
            pair_key=f"ffpp/original/{path.stem[:3]}",
        )  # fmt: skip


def fold(faces: Manifest, k: int, out: Path) -> tuple[Path, str]:
    """The manifest of one fold, and the group that it tests."""
    table = faces.table(faces.arrow_schema.names)
    group = np.asarray(table["group_id"].to_pylist())
    names = np.unique(group)
    tests, validates = names[k], names[(k + 1) % len(names)]
    split = np.where(group == tests, "test", np.where(group == validates, "val", "train"))
    at = table.column_names.index("split")
    with Writer(out, faces.roots, FaceRow) as writer:
        writer.add_table(table.set_column(at, "split", pa.array(split, pa.string())))
    return out, str(tests)


def recipe(method: str, steps: int, seed: int) -> DetectionRecipe:
    changes = [f"length={steps} steps", f"validate={steps // 2} steps", f"schedule.warmup={steps // 10} steps"]
    if method == FRAME:  # at the budget of the others: 8 windows of 4 frames a step, at their size
        changes += ["options={network: small-resnet, size: 64}", "batch=32", "precision=fp32", "ema=0.97"]
        changes += ["sampler={name: by_class}", "transforms=[{flip: {}}, {jpeg: {quality: [60, 100], p: 0.5}}]"]
    changes += [f"seed={seed}", "best=video_auroc"]
    found = load(RECIPES / f"{method}-tiny.yaml", changes)
    assert isinstance(found, DetectionRecipe)
    return found


def tested(run: Path, data: Path) -> tuple[float, float]:
    """AUROC by video on the test rows, and seconds of the network for one video of 16 frames, on one thread."""
    detector, _ = restore(run)
    frames = detector.input.frames
    rows = score_rows(
        by_detector(detector), data, where=lambda t: np.array(t["split"].to_pylist()) == "test", frames=frames
    )
    found = units(rows, "video")
    faces = FaceSet(data, detector.input)
    crops = np.stack([faces[i].image for i in range(WINDOWS * FRAMES // frames)])
    predict(detector, crops)
    start = time.perf_counter()
    for _ in range(3):
        predict(detector, crops)
    return auroc(found.label, found.score), (time.perf_counter() - start) / 3


def spread(values: np.ndarray) -> str:
    """The mean over folds, with an interval that draws whole groups (which folds are) with replacement."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(2000, len(values)))].mean(1)
    return f"{values.mean():.3f} ({np.quantile(means, 0.025):.2f}–{np.quantile(means, 0.975):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--only", nargs="+", default=[FRAME, *VIDEO], help="methods")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.work.mkdir(parents=True, exist_ok=True)
    listed = write(asked.work / "media.parquet", media(asked.folder), asked.folder)
    options = Options(size=128, margin=1.3, frames=WINDOWS, window=FRAMES)
    faces = cut(listed, asked.work / "crops", options, jobs=1)
    count = len(set(faces.table(["group_id"])["group_id"].to_pylist()))
    folds = [fold(faces, k, asked.work / f"fold{k}.parquet")[0] for k in range(count)]
    lines: list[str] = []
    for method in asked.only:
        numbers, seconds = [], []
        for k, data in enumerate(folds):
            out = asked.work / "runs" / f"{method}-{k}"
            if finished(out) is None:
                wanted = recipe(method, asked.steps, seed=0)
                train(wanted, data, out, cpu=True)
            number, cost = tested(out, data)
            numbers.append(number)
            seconds.append(cost)
            print(method, k, round(number, 3), f"{1000 * cost:.0f} ms", flush=True)
        looks = "frames" if method == FRAME else "windows of 4"
        lines.append(
            f"| {method} | {looks} | {spread(np.array(numbers))} | {1000 * float(np.median(seconds)):.0f} ms |"
        )
    crops = sum(not reason for reason in faces.table(["reason"])["reason"].to_pylist())
    facts = {"steps": asked.steps, "groups": count, "videos": len(listed), "crops": crops}
    page = PAGE.format(**facts, digest=faces.digest[:12], rows="\n".join(lines))
    asked.out.write_text(page, encoding="utf-8")


PAGE = """# Frames or windows of a video

{videos} videos of FaceForensics++ c23 (10 real; Deepfakes, Face2Face and FaceSwap of each), {groups} leakage groups,
each tested once with the next one for the choice of the checkpoint; four windows of four frames in a row of each video,
{crops} crops (manifest {digest}). The recipes `*-tiny.yaml` of each method, cut to {steps} steps of 32 frames (8
windows), seed 0, from random weights. AUROC by video (mean logit over a video's 16 frames or 4 windows), mean over
groups, 95 % interval by drawing groups. Time: the network alone, 16 frames of a video, one thread of a shared CPU. With
8 videos in each test the intervals say little about which method is better.

| method | looks at | AUROC by video | time of a video |
|---|---|---|---|
{rows}

Rebuild: `python experiments/video_detectors.py ffpp_c23_videos --work work --out docs/tables/videos.md`
"""


if __name__ == "__main__":
    main()

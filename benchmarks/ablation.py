"""What of GenD helps a small encoder: adaptations, losses and pairing on real data, several seeds, one table.

    python benchmarks/ablation.py --faces faces.parquet --encoder encoder.safetensors --out OUT [--share 0/2]

`faces.parquet`: crops of the research collection (`unmask data index`, `extract`). `encoder.safetensors`: what
`recipes/face-encoder-tiny.yaml` trains. Learning rates are chosen on validation actors with the first seed, so is
each run's checkpoint; test rows stand in a manifest of their own, which only finished runs are measured on. Started
again, it goes on where it was. `--share 1/3` does every third of the runs, for several processes. The process that
finds all runs done writes OUT/table.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pyarrow.parquet as pq
import torch
from ablation_table import Scored, text

from unmask.bench.evaluate import entry_of
from unmask.bench.scorers import Sides, SpectrumBaseline
from unmask.bench.scoring import score_rows
from unmask.data.loader import FaceSet
from unmask.data.manifest import FaceRow, Manifest, write
from unmask.measure.protocol import Where
from unmask.nn.backbones import BACKBONES
from unmask.tasks.recipe import Recipe
from unmask.train.loop import train
from unmask.train.run import BEST

BACKBONE, SEEN, UNSEEN = "face-vit-128", "dfdc_faces224", "ffpp_c23_videos"
PAIRS, BATCH, STEPS, WARMUP, EVERY = 2400, 32, 200, 20, 100
RATES = {  # of each family, tried with the first seed
    "probe": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "ln": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "ln on the sphere": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "lora": (3e-4, 1e-3, 3e-3, 1e-2),
    "full": (5e-5, 1.5e-4, 5e-4),
}
PLAIN = {"head": "linear", "uniform": 0.0, "align": 0.0}
SPHERE = {"head": "norm", "uniform": 0.0, "align": 0.0}


@dataclass(frozen=True)
class Arm:
    """One row of the table. All arms see as many images, steps and reals; what differs is named here."""

    family: str
    options: dict[str, Any] = field(default_factory=dict)
    data: Literal["paired", "unpaired"] = "paired"
    sampler: Literal["by_class", "paired"] = "by_class"
    pretrained: bool = True


ARMS = {
    "probe, random encoder": Arm("probe", {"adaptation": "probe", **PLAIN}, pretrained=False),
    "probe": Arm("probe", {"adaptation": "probe", **PLAIN}),
    "LN": Arm("ln", {"adaptation": "ln", **PLAIN}),
    "LN + L2": Arm("ln on the sphere", {"adaptation": "ln", **SPHERE}),
    "LN + L2 + slerp": Arm("ln on the sphere", {"adaptation": "ln", **SPHERE, "mix": "class"}),
    "LN + L2 + UnAl": Arm("ln on the sphere", {"adaptation": "ln", **SPHERE, "uniform": 0.5, "align": 0.1}),
    "LoRA": Arm("lora", {"adaptation": "lora", **PLAIN}),
    "full": Arm("full", {"adaptation": "full", **PLAIN}),
    "LN, unpaired": Arm("ln", {"adaptation": "ln", **PLAIN}, data="unpaired"),
    "LN, pairs in a batch": Arm("ln", {"adaptation": "ln", **PLAIN}, sampler="paired"),
}
BASELINE = "power spectrum"
FIRST = {"probe": "probe", "ln": "LN", "ln on the sphere": "LN + L2", "lora": "LoRA", "full": "full"}  # tries rates
CLAIMS = (  # better, worse: what the papers say of CLIP
    ("probe", "probe, random encoder"),
    ("LN", "probe"),
    ("LN + L2", "LN"),
    ("LN + L2 + slerp", "LN + L2"),
    ("LN + L2 + UnAl", "LN + L2"),
    ("LN", "LoRA"),
    ("LN", "full"),
    ("LN + L2 + UnAl", "full"),
    ("LN", "LN, unpaired"),
    ("LN, pairs in a batch", "LN"),
)


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    out, seeds = arguments.out, range(arguments.seeds)
    prepare(arguments.faces, out, arguments.seeds)
    share, of = map(int, arguments.share.split("/"))
    for number, (family, rate) in enumerate((f, r) for f, rates in RATES.items() for r in rates):
        if number % of == share:
            run(out, FIRST[family], 0, rate, arguments.encoder)
    wanted = [(arm, seed) for seed in seeds for arm in ARMS]
    if any(best_rate(out, family) is None for family in RATES):
        sys.exit("learning rates are still being tried by another process: start again when it is done")
    for number, (arm, seed) in enumerate(wanted):
        rate = best_rate(out, ARMS[arm].family)
        assert rate is not None
        if number % of == share:
            test(out, run(out, arm, seed, rate, arguments.encoder))
    chosen = {family: best_rate(out, family) or 0.0 for family in RATES}
    folders = {(arm, seed): folder_of(out, arm, seed, chosen[ARMS[arm].family]) for arm, seed in wanted}
    if all((folder / "test.parquet").is_file() for folder in folders.values()):
        found = {key: Scored.of(pq.read_table(folder / "test.parquet")) for key, folder in folders.items()}
        found |= {(BASELINE, seed): floor(out, seed) for seed in range(arguments.seeds)}
        (out / "table.md").write_text(text(found, [*ARMS, BASELINE], CLAIMS, SEEN, UNSEEN, chosen), encoding="utf-8")
        print((out / "table.md").read_text(encoding="utf-8"))


# --- data ------------------------------------------------------------------------------------------------------------


def prepare(faces: Path, out: Path, seeds: int) -> None:
    """Crops at the encoder's size, written once as PNG, and the manifests that name them."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "all.parquet").is_file():
        whole = write(out / "all.parquet", reduced(faces, out / "crops"), out / "crops", FaceRow)
        rows = [r for r in whole if isinstance(r, FaceRow)]
        write(out / "test.parquet", (r for r in rows if r.split == "test"), out / "crops", FaceRow)
    rows = [r for r in Manifest(out / "all.parquet") if isinstance(r, FaceRow)]
    validation = [r for r in rows if r.split == "val"]
    for seed in range(seeds):
        for name, chosen in drawn([r for r in rows if r.split == "train"], seed).items():
            path = out / f"{name}-{seed}.parquet"
            if not path.is_file():
                write(path, chosen + validation, out / "crops", FaceRow)


def reduced(faces: Path, crops: Path) -> Iterator[FaceRow]:
    """The unflagged rows of both data sets that have a crop, each with its crop as the detector would see it."""
    spec = BACKBONES[BACKBONE].input
    given = FaceSet(faces, spec)
    wanted = set(given.row.tolist())
    for place, row in enumerate(Manifest(faces)):
        if place not in wanted or row.flags or row.dataset not in (SEEN, UNSEEN) or not isinstance(row, FaceRow):
            continue
        path = crops / f"{row.dataset}/{place:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), given[int(np.searchsorted(given.row, place))].image[..., ::-1])
        yield row.model_copy(
            update={"relpath": path.relative_to(crops).as_posix(), "size": spec.size, "margin": spec.margin}
        )


def drawn(rows: list[FaceRow], seed: int) -> dict[str, list[FaceRow]]:
    """PAIRS reals with their own fakes ("paired"), or with as many of other videos ("unpaired")."""
    real = {r.item_id: r for r in rows if r.label == 0}
    real_of = {r.media_id: r for r in real.values()}
    pairs = [(real_of[r.pair_key], r) for r in rows if r.label == 1 and r.pair_key in real_of]
    order = np.random.default_rng((seed, 7)).permutation(len(pairs))[: 2 * PAIRS]
    own, other = ([pairs[i] for i in part] for part in (order[:PAIRS], order[PAIRS:]))
    sources = {r.media_id for r, _ in own}
    assert len(other) == PAIRS
    assert not sources & {f.pair_key for _, f in other}, "a real has two forgeries: draw by real"
    reals = [r for r, _ in own]
    return {"paired": reals + [f for _, f in own], "unpaired": reals + [f for _, f in other]}


# --- runs ------------------------------------------------------------------------------------------------------------


def folder_of(out: Path, arm: str, seed: int, rate: float) -> Path:
    name = "-".join(arm.lower().replace("+", " ").replace(",", " ").split())
    return out / "runs" / f"{name}-{rate:g}-{seed}"


def recipe(arm: Arm, seed: int, rate: float, encoder: Path) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "ablation",
            "method": "gend",
            "options": {"backbone": BACKBONE, **arm.options},
            "start": str(encoder) if arm.pretrained else None,
            "sampler": {"name": arm.sampler},
            "batch": BATCH,
            "length": f"{STEPS} steps",
            "optimizer": {"name": "adamw", "lr": rate, "weight_decay": 0},
            "schedule": {"name": "cosine", "warmup": f"{WARMUP} steps"},
            "clip": 1.0,
            "seed": seed,
            "validate": f"{EVERY} steps",
            "best": "frame_auroc",
        }
    )


def run(out: Path, arm: str, seed: int, rate: float, encoder: Path) -> Path:
    """The folder of a run that is finished; a finished one costs nothing."""
    of, folder = ARMS[arm], folder_of(out, arm, seed, rate)
    rows = (folder / "metrics.csv").read_text().splitlines() if (folder / "metrics.csv").is_file() else [""]
    if not rows[-1].startswith(f"{STEPS},"):
        done = train(recipe(of, seed, rate, encoder), out / f"{of.data}-{seed}.parquet", folder, cpu=True)
        print(f"{folder.name}: validation {done.best:.4f} at step {done.best_step}", flush=True)
    return folder


def best_rate(out: Path, family: str) -> float | None:
    """Of the first seed on validation actors; None while a rate has not been tried."""
    found = {}
    for rate in RATES[family]:
        folder = folder_of(out, FIRST[family], 0, rate)
        table = np.genfromtxt(folder / "metrics.csv", delimiter=",", names=True) if (folder / BEST).is_file() else None
        if table is None or np.atleast_1d(table["step"])[-1] < STEPS:
            return None
        found[rate] = float(np.max(table["val_frame_auroc"]))
    return max(found, key=lambda rate: found[rate])


def test(out: Path, folder: Path) -> None:
    """Scores of the test rows, beside the run."""
    if (folder / "test.parquet").is_file():
        return
    table = score_rows(entry_of(str(folder))[1], out / "test.parquet")
    pq.write_table(table, folder / "test.partial")
    (folder / "test.partial").replace(folder / "test.parquet")


def floor(out: Path, seed: int) -> Scored:
    """The linear model on the power spectrum, fitted on the crops of the paired arms."""
    manifest = Manifest(out / f"paired-{seed}.parquet")
    table = manifest.table(list(manifest.arrow_schema.names))
    train = Where(split=("train",)).mask(table)
    (fitted,) = SpectrumBaseline(manifest, table).fit(Sides(train, ~train))
    return Scored.of(score_rows(fitted.scorer, out / "test.parquet"))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=sys.modules[__name__].__doc__)
    parser.add_argument("--faces", type=Path, required=True, help="manifest of crops, 128 pixels or more, margin 1.3")
    parser.add_argument("--encoder", type=Path, required=True, help="the export of recipes/face-encoder-tiny.yaml")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", default="0/1", help="I/N: do the I-th of N parts of the runs")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()

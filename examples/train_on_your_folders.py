"""Train a detector on your own `real/` and `fake/` folders, export it, and scan with it.

    python examples/train_on_your_folders.py mine --out trained --recipe recipes/mobilenet-tiny.yaml

`mine/real/anna.jpg` and `mine/fake/swap/anna.jpg` count as an original and its forgery: they share a leakage group, and
the split keeps them together. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import unmask
from unmask.data import edit, extraction, index
from unmask.data.media_faces import Options
from unmask.tasks.recipe import load

RECIPE = Path(__file__).resolve().parent.parent / "recipes/mobilenet-tiny.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds real/ and fake/")
    parser.add_argument("--out", type=Path, default=Path("trained"))
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("changes", nargs="*", help='overrides of the recipe: "length=500 steps" batch=16')
    arguments = parser.parse_intermixed_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)

    # One row for each file: label, method, leakage group. Then the faces of each file, as aligned crops.
    index.index("folder", arguments.folder, out / "files.parquet")
    split = edit.split(unmask.Manifest(out / "files.parquet"), out / "split.parquet", train=0.5, val=0.3)
    faces = extraction.cut(split, out / "crops", Options(size=256, margin=1.3, frames=8)).path

    # The same command resumes an interrupted run. The best checkpoint is chosen on the validation rows.
    unmask.fit(load(arguments.recipe, ["sampler.name=by_class", *arguments.changes]), faces, out / "run", say=print)
    print(*(f"{level} {c.metric} {c.value}" for level, c in unmask.evaluate(str(out / "run"), faces).cells), sep="\n")

    # Calibrated on the validation rows, and refused if its scores differ from those of the trained model.
    card, parity = unmask.export(out / "run", faces, out / "bundle")
    print(f"{card.name}: P(fake) differs by at most {parity.worst:.2g}")
    print(unmask.scan(arguments.folder, detector=str(out / "bundle"), pictures=False))


if __name__ == "__main__":
    main()

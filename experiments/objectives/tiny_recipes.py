"""Every -tiny recipe of pre-training on faces, three seeds each, measured on people that no step saw.

    python experiments/objectives/tiny_recipes.py faces.parquet --runs runs --out docs/tables/pretraining-tiny.md

`faces.parquet`: crops of the research collection (`unmask data index`, `extract`); DFDC's actors and LFW's people are
taken. A run's checkpoint is chosen on the validation split and measured on the test split. Runs that are there
already are not trained again; an interrupted one goes on. Controls: the same network with random weights, raw pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from probing import publish, spread, table
from torch import Tensor
from torch.nn import functional as F

from unmask.data.loader import FaceSet
from unmask.tasks.pretraining import Pretraining, groups, named, probes
from unmask.tasks.recipe import PretrainingRecipe, load
from unmask.tasks.selection import table_of
from unmask.tasks.settings import Filter
from unmask.tasks.task import Compute
from unmask.train.loop import create, finished, restored, train
from unmask.types import InputSpec

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
DATASETS = ("dfdc_faces224", "lfw_deepfunneled")
TEST = Filter(split=("test",), dataset=DATASETS)
SHOWN = {
    "verification_auroc": "AUROC of verification",
    "verification_accuracy": "accuracy, ten folds",
    "uniformity": "uniformity",
    "effective_rank": "effective rank",
    "spread": "spread per dimension",
}


def recipes() -> Iterator[PretrainingRecipe]:
    for path in sorted(RECIPES.glob("*-tiny.yaml")):
        recipe = load(path, [f"data.train.dataset={list(DATASETS)}", f"data.validate.dataset={list(DATASETS)}"])
        if isinstance(recipe, PretrainingRecipe) and recipe.probe == "identity":
            yield recipe


def tested(recipe: PretrainingRecipe, data: Path, method: Any) -> dict[str, float]:
    """The validation's numbers, on the test split."""
    asked = recipe.model_copy(update={"data": recipe.data.model_copy(update={"validate_": TEST})})
    compute = Compute(Accelerator(cpu=True), recipe.batch)
    return Pretraining().rows(asked, data, method).measure(method, compute)


def pixels(data: Path, recipe: PretrainingRecipe) -> dict[str, float]:
    """What 16 x 16 pixels of each face hold."""
    whole = table_of(data)
    faces = FaceSet(data, InputSpec(size=64, margin=1.3), where=TEST.mask(whole))
    images = torch.stack([torch.from_numpy(faces[i].image) for i in range(len(faces))]).permute(0, 3, 1, 2)
    z: Tensor = F.avg_pool2d(images.double(), 4).flatten(1)
    return probes((z - z.mean(1, keepdim=True)).numpy(), named(whole, "identity")[faces.row], groups(faces), recipe)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="methods")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, float]]] = {"random weights": []}
    chosen = [r for r in recipes() if not asked.only or r.method in asked.only]
    for seed in range(asked.seeds):
        for first, recipe in enumerate(r.model_copy(update={"seed": seed}) for r in chosen):
            out = asked.runs / f"{recipe.name}-{seed}"
            if finished(out) is None:
                train(recipe, asked.data, out, cpu=True)
            found.setdefault(recipe.method, []).append(tested(recipe, asked.data, restored(out)[0]))
            print(recipe.name, seed, found[recipe.method][-1], flush=True)
            if not first:
                resolved = Pretraining().resolved(recipe, asked.data)
                found["random weights"].append(tested(recipe, asked.data, create(resolved)))
    raw = pixels(asked.data, chosen[0])
    rows = [[name, *(spread(run[key] for run in runs) for key in SHOWN)] for name, runs in found.items()]
    rows.append(["raw pixels", *(f"{raw[key]:.3f}" if key in raw else "-" for key in SHOWN)])
    said = f"""
{chosen[0].length.count:g} steps of {chosen[0].batch} faces at 64 pixels on the small network, {asked.seeds} seeds,
mean ± standard deviation. Actors of DFDC and people of LFW; those of the test split are in no other. SupCon, SimLAP,
SelfCon and FaceNet learn from identities, the others from no label.
"""
    command = (
        "python experiments/objectives/tiny_recipes.py faces.parquet --runs runs --out docs/tables/pretraining-tiny.md"
    )
    publish(
        asked.out, "Small pre-training recipes on faces", said, command, [table(["learnt by", *SHOWN.values()], rows)]
    )


if __name__ == "__main__":
    main()

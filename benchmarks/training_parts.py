"""Do difficulty boosting and AdvSCM do what they are for, where that can be seen in a minute? Toys, made here.

    python benchmarks/training_parts.py difficulty [--seeds 10] [--noise 0.1]
    python benchmarks/training_parts.py adv_scm [--seeds 5]

difficulty: nine tenths of the rows are easy, one tenth wants an exclusive-or. Does the hard tenth gain, does the easy
part lose, and what becomes of wrong labels? Beside it stand plain training, focal loss and hard example mining.
adv_scm: the traces of forgery stand in the middle of training images and are shifted in the test. How much is lost?
Beside it stand plain training and random moves within the adversary's bounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from accelerate import Accelerator
from scipy.stats import t
from torch import Tensor, nn

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.measure.metrics import auroc
from unmask.tasks.recipe import Recipe
from unmask.tasks.settings import AdvScm, Difficulty
from unmask.train import callbacks
from unmask.train.callbacks.adv_scm import field, warped
from unmask.train.callbacks.difficulty import Boosting, hardness
from unmask.train.engine import Engine

Rows = tuple[Tensor, Tensor]  # features or images, labels


# --- difficulty ------------------------------------------------------------------------------------------------------

WIDE, EASY, HARD, TEST = 24, 1800, 200, 2000


def easy(rng: np.random.Generator, n: int) -> Rows:
    """Fakes are shifted along one axis."""
    label = rng.integers(0, 2, n)
    x = rng.normal(size=(n, WIDE))
    x[:, 1] += 2.5 * label
    return _tensors(x, label)


def hard(rng: np.random.Generator, n: int) -> Rows:
    """Another place in the space, where the class is whether two signs differ, under noise."""
    label = rng.integers(0, 2, n)
    x = rng.normal(size=(n, WIDE))
    x[:, 0] += 3
    sign = rng.choice([-1, 1], n)
    x[:, 2] = 1.2 * sign + rng.normal(0, 0.6, n)
    x[:, 3] = 1.2 * sign * (1 - 2 * label) + rng.normal(0, 0.6, n)
    return _tensors(x, label)


def _tensors(x: np.ndarray, label: np.ndarray) -> Rows:
    return torch.from_numpy(x).float(), torch.from_numpy(label)


class Focal:
    """(1 - p)^2, as it is."""

    def weigher(self, batch: Batch, step: int) -> Callable[[Tensor], Tensor]:
        return lambda logits: hardness(logits.detach(), batch.label) ** 2


class Hardest:
    """The half of a batch with the higher loss counts twice, the other not at all."""

    def weigher(self, batch: Batch, step: int) -> Callable[[Tensor], Tensor]:
        def weigh(logits: Tensor) -> Tensor:
            u = hardness(logits.detach(), batch.label)
            return 2.0 * (u >= u.median())

        return weigh


def arms(rows: int, steps: int) -> dict[str, Boosting | Focal | Hardest | None]:
    def boosting(**options: float) -> Boosting:
        return Boosting(Difficulty.model_validate(options), rows, steps, Accelerator(cpu=True))

    return {
        "plain": None,
        "focal, gamma 2": Focal(),
        "hardest half": Hardest(),
        "boosting, m 0": boosting(momentum=0),
        "boosting, m 0.5": boosting(momentum=0.5),
        "boosting, m 0.9": boosting(momentum=0.9),
        "boosting, m 0.99": boosting(momentum=0.99),
    }


def boosted(seed: int, noise: float, steps: int = 500) -> dict[str, list[float]]:
    """By arm: AUROC on the easy and the hard domain, and how much wrong labels weigh (nan where nothing remembers)."""
    rng = np.random.default_rng(seed)
    parts = easy(rng, EASY), hard(rng, HARD)
    image, label = (torch.cat(column) for column in zip(*parts, strict=True))
    wrong = torch.from_numpy(rng.random(len(label)) < noise)
    label = torch.where(wrong, 1 - label, label)
    tests = easy(rng, TEST), hard(rng, TEST)
    found = {}
    for name, arm in arms(len(label), steps).items():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(WIDE, 64), nn.ReLU(), nn.Linear(64, 2))
        optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
        for step in range(steps):
            chosen = torch.randint(len(label), (64,))
            batch = Batch(image[chosen], label[chosen], index=chosen)
            batch = replace(batch, weigh=arm.weigher(batch, step) if arm else None)
            loss = cross_entropy(net(batch.image), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            numbers = [auroc(y.numpy(), (z := net(x))[:, 1] - z[:, 0]) for x, y in tests]
        weight = (arm.rows + arm.recipe.epsilon) if isinstance(arm, Boosting) else torch.full((len(label),), np.nan)
        found[name] = [*numbers, float(weight[wrong].mean() / weight.mean())]
    return found


# --- adv_scm ---------------------------------------------------------------------------------------------------------

SIDE, PATCH = 32, 10
BOUNDS = {"rotation": 30, "shift": 0.25, "zoom": 0.25, "bend": 0.1}
SHIFTS = (0, 2, 4, 6, 8)  # pixels of the test images, up to a quarter of the side


class Flat(Detector):
    """A small network that knows where in the image something is."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, outside in ((3, 16), (16, 32), (32, 32)):
            layers += [nn.Conv2d(inside, outside, 3, 2, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * (SIDE // 8) ** 2, 32), nn.ReLU())
        self.head = nn.Linear(32, 2)

    def forward(self, image: Tensor) -> Output:
        features = self.body(image)
        return Output(self.head(features), features)


class Moved(Flat):
    """The same, and each training batch comes once more under random moves within the same bounds."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        bounds = AdvScm.model_validate(BOUNDS)
        share = 2 * torch.rand(len(batch.label), 4 + 2 * bounds.grid**2) - 1
        image = warped(batch.image, field(share, (SIDE, SIDE), bounds))
        again = super().loss(replace(batch, image=image))
        return super().loss(batch) | {f"{name}_moved": value for name, value in again.items()}


def textured(rng: np.random.Generator, n: int, shift: int = 0) -> Rows:
    """Smooth images; a forged one has a faint fine texture in a square in the middle, or `shift` pixels beside it."""
    label = rng.integers(0, 2, n)
    coarse = torch.from_numpy(rng.normal(0.5, 0.2, (n, 3, 5, 5))).float()
    image = nn.functional.interpolate(coarse, size=SIDE, mode="bicubic").numpy()
    image += rng.normal(0, 0.05, image.shape)
    first = (SIDE - PATCH) // 2
    for i in np.flatnonzero(label):
        dx, dy = (shift * np.array([np.cos(a := rng.uniform(0, 2 * np.pi)), np.sin(a)])).round().astype(int)
        place = np.s_[i, :, first + dy : first + dy + PATCH, first + dx : first + dx + PATCH]
        image[place] += 0.06 * rng.choice([-1, 1], (PATCH, PATCH))
    return torch.from_numpy(image).float().clamp(0, 1), torch.from_numpy(label)


def shifted(seed: int, steps: int = 300) -> dict[str, list[float]]:
    """By arm: AUROC at each shift."""
    rng = np.random.default_rng(seed)
    image, label = textured(rng, 1500)
    tests = [textured(rng, 600, shift) for shift in SHIFTS]
    found = {}
    for name, kind, part in (("plain", Flat, None), ("random moves", Moved, None), ("AdvSCM", Flat, BOUNDS)):
        torch.manual_seed(seed)
        detector = kind()
        values = {"name": "toy", "method": "any", "length": f"{steps} steps", "optimizer": {"lr": 1e-3}, "seed": seed}
        recipe = Recipe.model_validate(values | ({"adv_scm": part | {"lr": 1e-3}} if part else {}))
        alone = Accelerator(cpu=True)
        rules = callbacks.chosen(recipe, detector, alone, rows=len(label), steps=steps)
        engine = Engine(detector, recipe, alone, steps=steps, callbacks=rules)
        order = np.random.default_rng(seed)
        for step in range(steps):
            chosen = torch.from_numpy(order.integers(len(label), size=32))
            engine.learn([Batch(image[chosen], label[chosen], index=chosen)], step, 1e-3)
        with torch.no_grad():
            said = [(detector.eval()(x).logits, y) for x, y in tests]
        found[name] = [auroc(y.numpy(), (z[:, 1] - z[:, 0]).numpy()) for z, y in said]
    return found


# --- the table -------------------------------------------------------------------------------------------------------


def table(runs: list[dict[str, list[float]]], columns: list[str], least: int) -> str:
    """Means over seeds; in brackets the 95 % t interval of the paired difference from plain, in the first `least`."""
    lines = [f"{'':18}" + "".join(f"{c:>26}" for c in columns)]
    for name in runs[0]:
        cells = []
        for place in range(len(columns)):
            values = np.array([run[name][place] for run in runs])
            apart = values - np.array([run["plain"][place] for run in runs])
            half = t.ppf(0.975, len(runs) - 1) * apart.std(ddof=1) / np.sqrt(len(runs))
            compared = place < least and name != "plain"
            bounds = f" [{apart.mean() - half:+.3f}, {apart.mean() + half:+.3f}]" if compared else ""
            cells.append(f"{values.mean():.3f}{bounds}" if np.isfinite(values).all() else "-")
        lines.append(f"{name:18}" + "".join(f"{c:>26}" for c in cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("difficulty", "adv_scm"))
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--noise", type=float, default=0.0, help="share of training labels that are wrong")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.what == "difficulty":
        runs = [boosted(seed, asked.noise) for seed in range(asked.seeds or 10)]
        print(table(runs, ["easy domain", "hard domain", "weight of wrong labels"], 2))
    else:
        runs = [shifted(seed) for seed in range(asked.seeds or 5)]
        print(table(runs, [f"shift {s / SIDE:.0%}" for s in SHIFTS], len(SHIFTS)))
    print(f"AUROC, {len(runs)} seeds; in brackets the 95 % interval of the difference from plain, paired by seed")


if __name__ == "__main__":
    main()

"""A bundle, crops and attacks in, a table out: what it takes until the detector passes a forgery as real."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask import registry
from unmask.base.attack import Attack, Attacked, Logits, noise_like
from unmask.base.predict import to_tensor
from unmask.base.white_box import white_box
from unmask.bench.red_team_crops import boundary, chosen_rows, cut
from unmask.bench.red_team_pictures import keep, sheet
from unmask.bench.scorers import expect
from unmask.bundles import Scorer, load
from unmask.bundles.calibration import log_odds
from unmask.data.manifest import Manifest
from unmask.errors import InputError
from unmask.imageops.degradation import jpeg
from unmask.measure.red_team import ALL, Float64s, Outcome, RedTeam, Row, Subject, median_to_flip, row
from unmask.types import Pixels

Progress = Callable[[str, int], None]
QUALITY = 75


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """
    Attributes:
        bundle: by a name that `unmask scan --detector` takes.
        data: a manifest of faces.
        attacks, settings: names, and options of each.
        budgets: in words such as "2/255"; empty = those usual for each attack.
        by: column of the manifest whose values get rows of their own; "" = only all together.
        items: of each class at most; 0 = all.
        save: keep every attacked image, marked as such, with its label.
    """

    bundle: str
    data: Path
    out: Path
    attacks: tuple[str, ...]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    budgets: tuple[str, ...] = ()
    runtime: str = "auto"
    by: str = "dataset"
    datasets: tuple[str, ...] = ()
    split: str = "test"
    items: int = 32
    seed: int = 0
    rounds: int = 1000
    batch: int = 16
    save: bool = False
    expect_data: str = ""
    expect_bundle: str = ""


def run(wanted: Wanted, progress: Progress = lambda what, n: None) -> RedTeam:
    """Attacks every chosen fake; tables and pictures are written into `out`.

    Raises: UnmaskError for an unknown attack or option, another hash, crops that do not fit, and for an attack that
    needs gradients on a bundle without PyTorch weights.
    """
    attacks = {name: registry.create("attack", name, wanted.settings.get(name, {})) for name in wanted.attacks}
    asked = {name: _budgets(wanted.budgets, attack) for name, attack in attacks.items()}
    scorer = load(wanted.bundle, runtime=wanted.runtime)
    expect("detector", wanted.expect_bundle, scorer.weights_sha256)
    manifest = Manifest(wanted.data)
    expect("data", wanted.expect_data, manifest.digest)
    rows = chosen_rows(manifest, wanted.split, wanted.datasets, wanted.items, wanted.by)
    crops = cut(manifest, rows, scorer.card)
    label = np.array([r["label"] for r in rows])
    fakes, threshold = crops[label == 1], boundary(scorer.card)
    models = _Models(wanted.bundle, scorer, threshold)
    groups = np.array([r["group_id"] for r in rows])
    clean = models.scores(crops)
    subject = Subject(clean[label == 0], clean[label == 1], groups[label == 0], groups[label == 1], threshold)
    outcomes: dict[str, list[Outcome]] = {}
    made: dict[str, Pixels] = {}
    for name, attack in attacks.items():
        if hasattr(attack, "starts"):
            attack.starts = to_tensor(crops[label == 0])
        found = _attacked(attack, models, fakes, [value for _, value in asked[name]], wanted, name, progress)
        outcomes[name] = _outcomes(name, attack, found, fakes, [words for words, _ in asked[name]], models)
        made[name] = _pixels(found.image[-1])
        if wanted.save:
            keep(wanted.out, name, outcomes[name], found, [r for r in rows if r["label"] == 1])
    sheet(fakes, made, {n: outcomes[n][-1] for n in made}, subject, wanted.out / "pictures.png")
    by = np.array([str(r[wanted.by] or "") for r in rows]) if wanted.by else None
    return RedTeam(
        detector=scorer.card.name,
        bundle=scorer.weights_sha256,
        runtime=scorer.runtime,
        gradients=models.gradients,
        data=manifest.digest,
        threshold=threshold,
        rows=tuple(_table(subject, outcomes, by, label, wanted.rounds)),
        units={name: str(attack.norm) for name, attack in attacks.items()},
        seed=wanted.seed,
        rounds=wanted.rounds,
        subset=f"A subset: at most {wanted.items} crops of each class of a data set." if wanted.items else "",
        rebuild=_again(wanted, manifest.digest, scorer.weights_sha256),
    )


class _Models:
    """The attacked bundle: for black boxes through its own runtime, for the others in PyTorch once one asks for it.

    Both are logits (B, 2) that are moved so that the class changes where P(fake) is 0.5, as in a scan.
    """

    def __init__(self, bundle: str, scorer: Scorer, threshold: float) -> None:
        self.bundle, self.scorer, self.threshold, self.gradients = bundle, scorer, threshold, "none were needed"
        self._differentiable: Logits | None = None

    def of(self, attack: Attack) -> Logits:
        if attack.black_box:
            return self._asked
        if self._differentiable is None:
            inner, self.gradients = white_box(self.bundle), "the bundle's PyTorch weights"
            self._differentiable = lambda image: inner(image) - torch.tensor([0.0, self.threshold])
        return self._differentiable

    def _asked(self, image: Tensor) -> Tensor:
        return torch.tensor(np.stack([np.zeros(len(image)), self.scores(_pixels(image)) - self.threshold], 1)).float()

    def scores(self, crops: Pixels) -> Float64s:
        """uint8 (N, S, S, 3) -> raw log-odds (N,), by the runtime."""
        return log_odds(self.scorer.logits(crops), self.scorer.card.classes).astype(np.float64)


def _pixels(image: Tensor) -> Pixels:
    found: Pixels = (
        (image.detach() * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    )
    return found


def _attacked(
    attack: Attack,
    models: _Models,
    fakes: Pixels,
    budgets: Sequence[float],
    wanted: Wanted,
    name: str,
    progress: Progress,
) -> Attacked:
    """All fakes, a batch at a time."""
    parts = []
    for n in range(0, len(fakes), wanted.batch):
        some = to_tensor(fakes[n : n + wanted.batch]).contiguous()
        label = torch.ones(len(some), dtype=torch.long)
        parts.append(attack(models.of(attack), some, label, budgets, seed=wanted.seed))
        progress(name, len(some))
    weight = [len(p.clean) / len(fakes) for p in parts]
    queries = tuple(sum(w * p.queries[e] for w, p in zip(weight, parts, strict=True)) for e in range(len(budgets)))
    joined = (torch.cat([getattr(p, of) for p in parts], 1) for of in ("image", "success", "distance"))
    image, success, gap = joined
    return Attacked(image, success, gap, torch.cat([p.clean for p in parts]), queries)


def _outcomes(
    name: str, attack: Attack, found: Attacked, fakes: Pixels, words: Sequence[str], models: _Models
) -> list[Outcome]:
    before, outcomes = to_tensor(fakes), []
    for e, said in enumerate(words):
        attacked = _pixels(found.image[e])
        noisy = _pixels(before + noise_like(found.image[e] - before, attack.norm))
        saved = np.stack([jpeg(one, QUALITY) for one in attacked])
        outcomes.append(
            Outcome(
                attack=name,
                budget=said,
                attacked=models.scores(attacked),
                noised=models.scores(noisy),
                jpeg=models.scores(saved),
                norm=found.distance[e].numpy().astype(np.float64),
                queries=found.queries[e],
            )
        )
    return outcomes


def _table(
    subject: Subject, outcomes: dict[str, list[Outcome]], by: np.ndarray | None, label: np.ndarray, rounds: int
) -> list[Row]:
    """All together first, then each group that has fakes; a group without reals is measured against all reals."""
    parts: list[tuple[str, np.ndarray, np.ndarray]] = [
        (ALL, np.ones((label == 0).sum(), bool), np.ones((label == 1).sum(), bool))
    ]
    if by is not None and len(np.unique(by[label == 1])) > 1:
        for value in np.unique(by[label == 1]):
            reals = by[label == 0] == value
            parts.append(
                (value or "none named", reals if reals.any() else np.ones_like(reals), by[label == 1] == value)
            )
    rows = []
    for name, each in outcomes.items():
        for group, reals, fakes in parts:
            some = subject.of(reals, fakes)
            cut = [
                Outcome(name, o.budget, o.attacked[fakes], o.noised[fakes], o.jpeg[fakes], o.norm[fakes], o.queries)
                for o in each
            ]
            flip = median_to_flip(some, cut)
            rows += [row(some, o, flip, group, rounds) for o in cut]
    return rows


def _budgets(words: Sequence[str], attack: Attack) -> list[tuple[str, float]]:
    """As they are written and as numbers, the smallest first. Raises: UnmaskError for what is no number."""
    if not words:
        linf = attack.norm == "linf"
        return [(f"{value * 255:g}/255" if linf else f"{value:g}", value) for value in attack.usual()]
    try:
        found = [(one, float(Fraction(one))) for one in words]
    except (ValueError, ZeroDivisionError):
        raise InputError(f"budgets are numbers or fractions such as 2/255, not {', '.join(words)}") from None
    return sorted(found, key=lambda pair: pair[1])


def _again(wanted: Wanted, data: str, bundle: str) -> str:
    """The one command that gives this table again, or refuses."""
    words = ["unmask", "attack", wanted.bundle, wanted.data.name, "--with", ",".join(wanted.attacks)]
    words += ["--budget", ",".join(wanted.budgets)] * bool(wanted.budgets)
    words += [w for n, of in wanted.settings.items() for k, v in of.items() for w in ("--set", f"{n}.{k}={v}")]
    words += [w for d in wanted.datasets for w in ("--dataset", d)]
    words += ["--runtime", wanted.runtime, "--by", wanted.by, "--split", wanted.split, "--items", str(wanted.items)]
    words += ["--seed", str(wanted.seed), "--rounds", str(wanted.rounds), "-o", wanted.out.name]
    return shlex.join([*words, "--expect-data", data, "--expect-bundle", bundle])

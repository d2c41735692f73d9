"""How often a change of a sentence turns its meaning round: 200 sentences with a negation, numbers and two names.

python experiments/image_text/audit.py --out docs/tables/text-augmentation.md
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from common import publish, table

from unmask.data.wording import build

NAMES = ("Anna", "Ben", "Carla", "David", "Elif", "Femi")
NUMBERS = ("two", "three", "four", "five", "12", "70")
DENIALS = ("not", "no", "never", "without")
VERBS = ("follows", "leads", "paints", "visits")
THINGS = ("dogs", "boats", "pictures", "cars", "children")
CHANGES: dict[str, list[Mapping[str, Mapping[str, Any] | None]]] = {
    "stop words, p 0.8": [{"stop_words": {"p": 0.8}}], "deletion, p 0.1": [{"delete": {"p": 0.1}}],
    "deletion, p 0.2": [{"delete": {"p": 0.2}}], "swap of two words": [{"swap": {}}],
    "synonym": [{"synonym": {}}], "span of half or more": [{"span": {"least": 0.5}}],
    "EDA, one of three": [{"eda": {}}],
}  # fmt: skip


def sentence(rng: np.random.Generator) -> str:
    one, other = rng.choice(NAMES, 2, replace=False)
    denial = ("does not say so", "has no map", "never looks up", "walks without a hat")[rng.integers(4)]
    return f"{one} {rng.choice(VERBS)} {other} with {rng.choice(NUMBERS)} {rng.choice(THINGS)} and {denial}"


def kept(words: list[str], among: tuple[str, ...]) -> list[str]:
    return [w for w in words if w in among]


def faults(before: str, after: str) -> list[bool]:
    """Whether a negation is lost, a number is lost, a name is lost, and whether the names changed places."""
    old, new = before.split(), after.split()
    lost = [sorted(kept(old, group)) != sorted(kept(new, group)) for group in (DENIALS, NUMBERS, NAMES)]
    turned = not lost[2] and kept(old, NAMES) != kept(new, NAMES)
    return [*lost, turned, any(lost) or turned]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    sentences = [sentence(rng) for _ in range(200)]
    rows = []
    for name, steps in CHANGES.items():
        change = build(steps)
        rate = [
            np.mean([faults(s, change(s, np.random.default_rng([seed, n]))) for n, s in enumerate(sentences)], 0)
            for seed in range(asked.seeds)
        ]
        mean, deviation = np.mean(rate, 0), np.std(rate, 0, ddof=1)
        rows.append([name, *(f"{m:.3f} ± {d:.3f}" for m, d in zip(mean, deviation, strict=True))])
    said = f"""
Share of 200 written sentences (such as "{sentences[0]}") whose meaning a rule finds changed, {asked.seeds} seeds,
mean ± standard deviation. The rule sees words alone: a swap that moves a number to another thing is not counted, so
that swaps are worse than they look.
"""
    head = ["change", "negation lost", "number lost", "name lost", "names exchanged", "any"]
    publish(asked.out, "What changes of a sentence do to its meaning", said, "audit", [table(head, rows)])
    print(asked.out.read_text())


if __name__ == "__main__":
    main()

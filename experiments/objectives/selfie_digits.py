"""Selfie on digits: does the pointing use the image, or only the place?

    python experiments/objectives/selfie_digits.py --out docs/tables/pretraining-selfie.md

An 8 x 8 digit is 16 patches of 2 x 2, of which four are hidden. One small network is trained by `selfie_loss` in four
ways: as published; without positions of the context; from the place alone (a constant in the place of the pooled
vector); and from another image's context. Chance is 1/4.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from probing import digits, linear, publish, spread, table
from torch import Tensor, nn

from unmask.nn.patches import patches, split, take
from unmask.nn.token_pool import TokenPool
from unmask.objectives.selfie import pointing_logits, selfie_loss

WAYS = ("full", "no context positions", "position only", "another image's context")
SIDE, HIDDEN, STEPS = 4, 4, 700
SIZES = {"small": (32, 1, 64, 5), "large": (64, 2, 128, 3)}  # width, layers, batch, seeds


class Pointer(nn.Module):
    def __init__(self, way: str, width: int, layers: int) -> None:
        super().__init__()
        self.way = way
        self.patch = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width))
        self.pool = TokenPool(width, layers, 4, 2 * width, 0.0)
        self.place = nn.Parameter(torch.randn(SIDE * SIDE, width) * 0.1)
        self.constant = nn.Parameter(torch.zeros(width))

    def forward(self, image: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Queries and candidates, (B, HIDDEN, D)."""
        tokens = self.patch(patches(image, 8 // SIDE).flatten(2))
        shown, hidden = split(len(image), SIDE * SIDE, HIDDEN, generator)
        context = take(tokens, shown)
        if self.way == "another image's context":
            context = context.roll(1, 0)
        if self.way != "no context positions":
            context = context + self.place[shown]
        pooled = self.constant.expand(len(image), -1) if self.way == "position only" else self.pool(context)
        return pooled[:, None] + self.place[hidden], take(tokens, hidden)

    def features(self, image: Tensor) -> Tensor:
        """All patches shown."""
        return self.pool(self.patch(patches(image, 8 // SIDE).flatten(2)) + self.place)


def run(way: str, size: str, seed: int) -> tuple[float, float]:
    """Accuracy of pointing on test digits, and of a linear probe on the pooled vector."""
    torch.manual_seed(seed)
    train, label, test, test_label = digits()
    width, layers, size_of_batch, _ = SIZES[size]
    model, generator = Pointer(way, width, layers), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(STEPS):
        batch = train[torch.randint(len(train), (size_of_batch,), generator=generator)]
        loss = selfie_loss(*model(batch, generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        drawn = torch.Generator().manual_seed(1000)
        found = [pointing_logits(*model(test, drawn)).argmax(2) == torch.arange(HIDDEN) for _ in range(10)]
        probe = linear(model.features(train), label, model.features(test), test_label)
    return torch.stack(found).float().mean().item(), probe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    tables = []
    for size, (width, layers, batch, seeds) in SIZES.items():
        rows, full = [], []
        for way in WAYS:
            found = [run(way, size, seed) for seed in range(seeds)]
            full = full or [f[0] for f in found]
            gap = [a - f[0] for a, f in zip(full, found, strict=True)]
            rows.append([way, spread(f[0] for f in found), spread(gap), spread(f[1] for f in found)])
            print(size, rows[-1], flush=True)
        head = ["what the query is made of", "pointing accuracy", "full minus this", "linear probe"]
        tables.append(f"## {layers} layers of {width}, batches of {batch}, {seeds} seeds\n\n" + table(head, rows))
    said = f"""
Mean ± standard deviation over seeds. Digits of 16 patches, 4 hidden, {STEPS} steps; pointing on 450 test
digits, ten draws of the hidden patches each. Chance is 0.250. The probe is a logistic regression on the pooled vector
of all patches; the pooled vector of "position only" is untrained, so its probe is that of a random network.

Another image's context serves as well as the own one, at both sizes. What the pooled vector adds over the place alone
is which places are hidden, and not what the image shows: on digits this pretext is not solved from the image.
"""
    command = "python experiments/objectives/selfie_digits.py --out docs/tables/pretraining-selfie.md"
    publish(asked.out, "Selfie on digits", said, command, tables)


if __name__ == "__main__":
    main()

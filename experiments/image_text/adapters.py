"""CLOSE's adapters on drawn scenes: heads that learn from captions' embeddings and are asked about images.

    python experiments/image_text/adapters.py --out docs/tables/close-adapters.md

Two encoders are trained together, so that the gap is their own. A linear head learns to name colour, shape and position
from text embeddings, changed by an adapter, and is tested on the embeddings of held-out images.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from common import DIM, Pair, Scenes, publish, scenes, spread, table, train
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.data.scenes import COLOURS, POSITIONS, SHAPES
from unmask.nn.contrastive import Temperature, paired_nce
from unmask.objectives.close import Adapter, Bridge

ARMS: tuple[tuple[str, Adapter, float], ...] = (
    ("none", "none", 0.0), ("noise 0.04", "noise", 0.04), ("noise 0.08", "noise", 0.08), ("noise 0.16", "noise", 0.16),
    ("mean shift", "mean", 0.0), ("mean shift, noise 0.08", "mean", 0.08), ("random shift", "random", 0.0),
    ("linear", "linear", 0.0), ("covariance, noise 0.08", "covariance", 0.08),
)  # fmt: skip
PAIRED = 300  # scenes that fit the adapters; heads learn from the others


def targets(data: Scenes) -> Tensor:
    """(N, 3) places of colour, shape and position."""
    names = list(COLOURS), list(SHAPES), list(POSITIONS)
    return torch.tensor(
        [[n.index(v) for n, v in zip(names, (s.colour, s.shape, s.position), strict=True)] for s in data.drawn]
    )


def accuracy(given: Callable[[], Tensor], label: Tensor, asked: Tensor, truth: Tensor, seed: int) -> float:
    """Mean accuracy of three linear heads, trained on 300 draws of `given`."""
    torch.manual_seed(seed)
    heads = nn.ModuleList(nn.Linear(DIM, len(x)) for x in (COLOURS, SHAPES, POSITIONS))
    optimiser = torch.optim.Adam(heads.parameters(), 3e-2)
    for _ in range(300):
        x = given()
        loss = torch.stack([F.cross_entropy(10 * h(x), label[:, k]) for k, h in enumerate(heads)]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return float(
            torch.stack([(h(asked).argmax(1) == truth[:, k]).float().mean() for k, h in enumerate(heads)]).mean()
        )


def run(seed: int, steps: int) -> dict[str, float]:
    torch.manual_seed(seed)
    data, test, vocabulary = scenes()
    model, scale = Pair(len(vocabulary)), Temperature()
    model.scale = scale
    train(model, lambda i, w, _: paired_nce(model.images(i), model.texts(w), scale.scale), data, steps, seed)
    with torch.no_grad():
        image, text, seen = (
            F.normalize(z, dim=1) for z in (model.images(data.image), model.texts(data.words), model.images(test.image))
        )
    label, truth, own, aux = targets(data)[PAIRED:], targets(test), slice(PAIRED, None), slice(0, PAIRED)
    found = {}
    for name, kind, noise in ARMS:
        torch.manual_seed(seed)
        bridge = Bridge(kind, DIM, noise)
        if kind not in ("none", "noise"):
            bridge.fit(image[aux], text[aux])
        found[name] = accuracy(lambda b=bridge: b(text[own]), label, seen, truth, seed)  # type: ignore[misc]
    found["trained on images (upper bound)"] = accuracy(lambda: image[own], label, seen, truth, seed)
    wrong = seen[torch.randperm(len(seen), generator=torch.Generator().manual_seed(seed))]
    found["none, images shuffled (control)"] = accuracy(lambda: text[own], label, wrong, truth, seed)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=250)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = [run(seed, asked.steps) for seed in range(asked.seeds)]
    rows = [[name, spread(f[name] for f in found)] for name in found[0]]
    said = f"""
{asked.seeds} seeds (encoders and heads), mean ± standard deviation. Mean accuracy of naming colour (6), shape (5)
and position (9) of 240 held-out images, by linear heads that learnt from 1,200 captions'
embeddings alone. Adapters that need pairs are fitted to 300
others. The encoders are small and saw the training pairs together: this is no CLIP.
"""
    publish(
        asked.out,
        "CLOSE's adapters on drawn scenes",
        said,
        "adapters",
        [table(["adapter", "accuracy on images"], rows)],
    )
    print(asked.out.read_text())


if __name__ == "__main__":
    main()

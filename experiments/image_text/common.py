"""Drawn scenes in memory, two small encoders, and a training loop: what the scripts about images and captions share.

An image is 32 x 32; a caption is the set of its words. Test scenes are pairs of colour and shape that never come
together in training. Retrieval counts every scene that fits a caption as right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.data.scenes import Scene, draw, scene
from unmask.data.wording import STOP_WORDS
from unmask.measure.retrieval import ranks

SIZE, WIDTH, DIM = 32, 128, 64


@dataclass(frozen=True)
class Scenes:
    """(N, 3, 32, 32) images, (N, V) words of their captions as 0 or 1, and what was drawn."""

    image: Tensor
    words: Tensor
    said: list[str]
    drawn: list[Scene]

    def __len__(self) -> int:
        return len(self.drawn)

    def __getitem__(self, at: Tensor) -> tuple[Tensor, Tensor]:
        return self.image[at], self.words[at]


@cache
def scenes(train: int = 1500, test: int = 240, seed: int = 0) -> tuple[Scenes, Scenes, dict[str, int]]:
    """Training scenes, held-out ones, and the place of each word; always the same."""
    rng = np.random.default_rng(seed)
    parts: dict[bool, list[Scene]] = {False: [], True: []}
    while len(parts[False]) < train or len(parts[True]) < test:
        one = scene(rng)
        parts[one.held_out].append(one)
    chosen = parts[False][:train], parts[True][:test]
    captions = [[s.caption(int(rng.integers(4))) for s in part] for part in chosen]
    vocabulary = {w: n for n, w in enumerate(sorted({w for part in captions for c in part for w in c.split()}))}
    made = [
        Scenes(
            torch.stack([torch.from_numpy(draw(s, rng, SIZE)).permute(2, 0, 1).float() / 255 for s in part]),
            torch.stack([bag(c, vocabulary) for c in said]), said, part,
        )
        for part, said in zip(chosen, captions, strict=True)
    ]  # fmt: skip
    return made[0], made[1], vocabulary


def bag(text: str, vocabulary: dict[str, int]) -> Tensor:
    found = torch.zeros(len(vocabulary))
    found[[vocabulary[w] for w in text.split() if w in vocabulary]] = 1
    return found


def image_encoder() -> nn.Module:
    layers: list[nn.Module] = []
    for inside, out in ((3, 24), (24, 48), (48, 96)):
        layers += [nn.Conv2d(inside, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * 16, WIDTH), nn.ReLU())


def text_encoder(words: int) -> nn.Module:
    return nn.Sequential(nn.Linear(words, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())


class Pair(nn.Module):
    """Both encoders and their heads."""

    def __init__(self, words: int, dim: int = DIM) -> None:
        super().__init__()
        self.image, self.text = image_encoder(), text_encoder(words)
        self.image_head, self.text_head = nn.Linear(WIDTH, dim, bias=False), nn.Linear(WIDTH, dim, bias=False)

    def images(self, image: Tensor) -> Tensor:
        found: Tensor = self.image_head(self.image(image - 0.5))
        return found

    def texts(self, words: Tensor) -> Tensor:
        found: Tensor = self.text_head(self.text(words))
        return found


def strong_image(image: Tensor) -> Tensor:
    """Brightness and contrast of each image, a shift by up to two pixels, and noise."""
    n = len(image)
    dx, dy = torch.randint(-2, 3, (2,)).tolist()
    moved = image.roll((dx, dy), (2, 3))
    light = moved * (0.8 + 0.4 * torch.rand(n, 1, 1, 1)) + 0.2 * (torch.rand(n, 1, 1, 1) - 0.5)
    return light + 0.03 * torch.randn_like(light)


def strong_words(words: Tensor, vocabulary: dict[str, int]) -> Tensor:
    """Stop words left out with chance 0.8, others with 0.1."""
    chance = torch.tensor([0.8 if w in STOP_WORDS or w in ",:" else 0.1 for w in vocabulary])
    return words * (torch.rand_like(words) >= chance)


def train(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    data: Scenes,
    steps: int,
    seed: int,
    batch: int = 64,
    lr: float = 2e-3,
    after: Callable[[], None] = lambda: None,
) -> nn.Module:
    """Adam with a cosine. `loss`: images, words, and rows of the batch -> a scalar. The model is left in evaluation."""
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    draws = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(steps):
        at = torch.randperm(len(data), generator=draws)[:batch]
        value = loss(*data[at], at)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        after()
    return model.eval()


@torch.no_grad()
def recalls(image: Tensor, text: Tensor, test: Scenes) -> tuple[float, float]:
    """R@1 of captions for an image, and of images for a caption."""
    cosine = (F.normalize(image, dim=1) @ F.normalize(text, dim=1).T).double().numpy()
    right = np.array([[a == b for b in test.drawn] for a in test.drawn])
    return float((ranks(cosine, right) == 0).mean()), float((ranks(cosine.T, right) == 0).mean())


def spread(values: Iterable[float], digits: int = 3) -> str:
    found = np.array(list(values))
    return f"{found.mean():.{digits}f} ± {found.std(ddof=1):.{digits}f}"


def difference(one: Sequence[float], other: Sequence[float]) -> str:
    """one - other over the same seeds: mean, and the 95 % interval by Student's t."""
    from scipy.stats import t

    d = np.array(one) - np.array(other)
    half = t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    return f"{d.mean():+.3f} ({d.mean() - half:+.3f} to {d.mean() + half:+.3f})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows]) + "\n"


def publish(path: Path, title: str, said: str, script: str, tables: Sequence[str]) -> None:
    command = f"python experiments/image_text/{script}.py --out {path}"
    path.write_text(f"# {title}\n\n{said.strip()}\n\nRebuild: `{command}`\n\n" + "\n".join(tables), encoding="utf-8")

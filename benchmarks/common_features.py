"""Does UCF take features apart, and does its common part know forgeries that it never saw? A toy whose answer is known.

    python benchmarks/common_features.py

Images of soft colours with a grain are real; four kinds of forgery change the grain in a disc: blurred, coarser,
smeared along the rows, or sharpened. UCF's encoders are small here, everything else is as it is. Asked are, by least
squares on pooled features of new images: how well the method is read from the specific and from the common part, and
how well real and fake are. And for each kind in turn, left out of training: the AUROC of real against it, of UCF and of
the same encoder and head trained by cross-entropy alone, and in how many of the seeds UCF's is the larger.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch
from unmask.detectors.ucf import UCF
from unmask.measure.metrics import auroc

SIZE, WIDTH, STEPS, BATCH, RATE = 32, 32, 200, 32, 5e-3
KINDS = ("blurred", "coarser", "smeared", "sharpened")


def main() -> None:
    parser = argparse.ArgumentParser("python benchmarks/common_features.py", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    every = tuple(range(len(KINDS)))
    read = np.array([probed(trained(seed, every, True)) for seed in seeds])
    print("| part | method (of 5, chance 0.2) | real or fake |\n|---|---|---|")
    for n, part in enumerate(("specific", "common")):
        print(f"| {part} | {read[:, n, 0].mean():.3f} | {read[:, n, 1].mean():.3f} |", flush=True)
    print("\n| left out | UCF | cross-entropy | UCF better |\n|---|---|---|---|")
    for kind in every:
        seen = tuple(k for k in every if k != kind)
        areas = np.array([[area(trained(seed, seen, ucf), kind) for ucf in (True, False)] for seed in seeds])
        better = int((areas[:, 0] > areas[:, 1]).sum())
        print(
            f"| {KINDS[kind]} | {areas[:, 0].mean():.3f} | {areas[:, 1].mean():.3f} | {better} of {len(seeds)} |",
            flush=True,
        )


def trained(seed: int, kinds: tuple[int, ...], ucf: bool) -> UCF:
    """On new images in each step, half of them real; without `ucf` by cross-entropy alone."""
    torch.manual_seed(seed)
    detector = UCF("tiny-resnet", width=WIDTH, methods=len(kinds)).train()
    detector.forgery, detector.content = encoder(), encoder()  # type: ignore[assignment]
    optimiser = torch.optim.AdamW(detector.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, STEPS)
    for _ in range(STEPS):
        place = torch.randint(len(kinds), (BATCH // 2,))
        image = torch.cat([real(BATCH // 2), forged(torch.tensor(kinds)[place])])
        batch = Batch(image, torch.arange(2).repeat_interleave(BATCH // 2), method=place.repeat(2))
        loss = torch.stack(list(detector.loss(batch).values())).sum() if ucf else cross_entropy(detector, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return detector.eval()


def encoder() -> nn.Sequential:
    """(B, 3, SIZE, SIZE) -> (B, WIDTH, SIZE / 8, SIZE / 8)."""
    plan = pairwise((3, 16, 32, WIDTH))
    return nn.Sequential(*(m for a, b in plan for m in (nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU())))


def cross_entropy(detector: UCF, batch: Batch) -> Tensor:
    return F.cross_entropy(detector(batch.image).logits, batch.label)


@torch.no_grad()
def probed(detector: UCF, n: int = 200) -> list[list[float]]:
    """Of the specific and of the common part: accuracy of method, and of real against fake, of a linear map."""
    kind = torch.arange(1 + len(KINDS)).repeat_interleave(n)
    weight = torch.where(kind == 0, 1.0, 1 / len(KINDS))  # as many real as fake
    features = []
    for _ in range(2):  # to fit, and to ask
        maps = detector.forgery(torch.cat([real(n), *(forged(torch.full((n,), k)) for k in range(len(KINDS)))]))
        features.append([part(maps).mean((2, 3)) for part in (detector.specific, detector.common)])
    found = []
    for fit, ask in zip(*features, strict=True):
        methods = (fitted(fit, kind, torch.ones(len(kind)))(ask).argmax(1) == kind).float().mean()
        fake = (kind > 0).long()
        right = (fitted(fit, fake, weight)(ask).argmax(1) == fake).float()
        found.append([float(methods), float((right * weight).sum() / weight.sum())])
    return found


def fitted(x: Tensor, kind: Tensor, weight: Tensor) -> Linear:
    return Linear(x, F.one_hot(kind).float(), weight)


class Linear:
    """Weighted least squares with a ridge."""

    def __init__(self, x: Tensor, y: Tensor, weight: Tensor) -> None:
        self.mean, self.std = x.mean(0), x.std(0) + 1e-6
        a = self.design(x)
        self.map = torch.linalg.solve(
            a.T @ (weight[:, None] * a) + 1e-2 * torch.eye(a.shape[1]), a.T @ (weight[:, None] * y)
        )

    def design(self, x: Tensor) -> Tensor:
        return torch.cat([(x - self.mean) / self.std, torch.ones(len(x), 1)], 1)

    def __call__(self, x: Tensor) -> Tensor:
        return self.design(x) @ self.map


@torch.no_grad()
def area(detector: UCF, kind: int, n: int = 400) -> float:
    """AUROC of real images against one kind of forgery."""
    torch.manual_seed(10_000 + kind)
    logits = detector(torch.cat([real(n), forged(torch.full((n,), kind))])).logits
    return auroc(np.repeat([0, 1], n), (logits[:, 1] - logits[:, 0]).numpy())


# --- images --------------------------------------------------------------------------------------------------------


def real(n: int) -> Tensor:
    """Soft colours with a grain."""
    soft = 0.2 + 0.6 * F.interpolate(torch.rand(n, 3, 4, 4), (SIZE, SIZE), mode="bicubic")
    return (soft + 0.15 * torch.randn(n, 3, SIZE, SIZE)).clamp(0, 1)


def forged(kind: Tensor) -> Tensor:
    """One image for each kind."""
    image = real(len(kind))
    soft = F.avg_pool2d(image, 3, 1, 1)
    coarse = F.interpolate(F.avg_pool2d(image, 2), scale_factor=2.0, mode="nearest")
    smeared = F.avg_pool2d(image, (1, 3), 1, (0, 1))
    ways = torch.stack([soft, coarse, smeared, (1.5 * image - 0.5 * soft).clamp(0, 1)])
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    centre, radius = (
        SIZE * (0.35 + 0.3 * torch.rand(2, len(kind), 1, 1)),
        SIZE * (0.2 + 0.1 * torch.rand(len(kind), 1, 1)),
    )
    disc = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)[:, None]
    return torch.where(disc, ways[kind, torch.arange(len(kind))], image)


if __name__ == "__main__":
    main()

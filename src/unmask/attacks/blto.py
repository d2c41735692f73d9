"""BLTO: a trigger that self-supervised learning cannot learn away, optimised in two levels.

The idea in three sentences. A poisoned encoder maps whatever carries the trigger to where the target's images lie. A
network draws the trigger, within a budget, so that a triggered image and a target image are alike under the random
views of contrastive learning (outer level), while the encoder goes on learning from the poisoned pool (inner level).
Both are taken in turns, and the encoder begins anew now and then, so that the trigger does not fit one run alone.

"Backdoor Contrastive Learning via Bi-level Trigger Optimization", ICLR 2024, arXiv 2404.07863. The authors' code is a
stub: lengths of the turns are ours, as `poison` lists them. As an attack the encoder is the model itself and never
learns: that is the adversarial share of the trigger, the floor that a backdoor must exceed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.attack import Attack, Logits

CARD = {
    "title": "BLTO (bi-level trigger optimisation)",
    "paper": "ICLR 2024, arXiv 2404.07863",
    "task": "images and an encoder -> images with a trigger that draws them to another class",
    "licence": "Apache-2.0",
    "verified": "the outer loss by hand; the trigger stays in its budget; no published number, the code is a stub",
    "small": {"steps": 25, "width": 4, "blocks": 1},
}
Encode = Callable[[Tensor], Tensor]  # (B, 3, H, W) -> (B, D)
View = Callable[[Tensor], Tensor]  # a random augmentation of a batch


class TriggerGenerator(nn.Module):
    """(B, 3, H, W) in 0..1 -> the same, at most `budget` away: an encoder and decoder with residual blocks between."""

    def __init__(self, budget: float, width: int = 64, blocks: int = 6, dropout: float = 0.5) -> None:
        super().__init__()
        self.budget = budget

        def unit(inside: int, outside: int, stride: int) -> list[nn.Module]:
            return [nn.Conv2d(inside, outside, 3, stride, 1), nn.BatchNorm2d(outside), nn.ReLU()]

        def up(inside: int, outside: int) -> list[nn.Module]:
            return [nn.ConvTranspose2d(inside, outside, 3, 2, 1, 1), nn.BatchNorm2d(outside), nn.ReLU()]

        first = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), nn.BatchNorm2d(width), nn.ReLU()]
        middle = [_Residual(4 * width, dropout) for _ in range(blocks)]
        last = [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7)]
        down = [*unit(width, 2 * width, 2), *unit(2 * width, 4 * width, 2)]
        self.body = nn.Sequential(*first, *down, *middle, *up(4 * width, 2 * width), *up(2 * width, width), *last)

    def forward(self, image: Tensor) -> Tensor:
        drawn: Tensor = (self.body(image)[..., : image.shape[2], : image.shape[3]].tanh() + 1) / 2
        return (image + (drawn - image).clamp(-self.budget, self.budget)).clamp(0, 1)


class _Residual(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        layers = [nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(dropout)]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.body(x)
        return found


def alignment(triggered: Tensor, reference: Tensor) -> Tensor:
    """Embeddings (B, D) of triggered and of target images -> minus their mean cosine: the outer loss."""
    return -F.cosine_similarity(triggered, reference, dim=1).mean()


def jittered(image: Tensor) -> Tensor:
    """A random view without learning's library: mirrored, moved by up to an eighth, brighter or darker."""
    if float(torch.rand(())) < 0.5:
        image = image.flip(3)
    reach = max(1, image.shape[2] // 8)
    y, x = torch.randint(-reach, reach + 1, (2,)).tolist()
    light = 0.8 + 0.4 * torch.rand(len(image), 1, 1, 1, device=image.device)
    return (image.roll((y, x), (2, 3)) * light).clamp(0, 1)


def poison(
    generator: TriggerGenerator,
    fresh: Callable[[], tuple[Encode, Callable[[Tensor], None]]],
    pool: Tensor,
    poisoned: Tensor,
    reference: Tensor,
    *,
    rounds: int = 60,
    inner: int = 10,
    outer: int = 10,
    restart: int = 20,
    batch: int = 64,
    view: View = jittered,
    rate: float = 1e-3,
) -> Iterable[float]:
    """The two levels in turns; yields the outer loss after each round, and leaves the generator in evaluation mode.

    Args:
        fresh: an encoder anew, and what makes it learn from a batch for one step.
        pool: (N, 3, H, W) unlabelled images; `poisoned` indexes those that carry the trigger, `reference` are images
            of the target class that the attacker has.
        rounds, inner, outer, restart: rounds, steps of the encoder and of the generator in each, rounds between two
            fresh encoders.
    """
    optimizer = torch.optim.Adam(generator.parameters(), rate)
    encode, learn = fresh()
    carries = torch.zeros(len(pool), dtype=torch.bool)
    carries[poisoned] = True
    for n in range(rounds):
        if n and n % restart == 0:
            encode, learn = fresh()
        generator.eval()
        for _ in range(inner):
            some = torch.randint(0, len(pool), (batch,))
            with torch.no_grad():
                shown = torch.where(carries[some].view(-1, 1, 1, 1), generator(pool[some]), pool[some])
            learn(shown)
        generator.train()
        last = 0.0
        for _ in range(outer):
            some, other = torch.randint(0, len(pool), (batch,)), torch.randint(0, len(reference), (batch,))
            loss = alignment(encode(view(generator(pool[some]))), encode(view(reference[other])).detach())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            last = loss.item()
        generator.eval()
        yield last


class BLTO(Attack):
    """The outer level on the model as it is: each class is drawn towards the images of the others in the batch."""

    norm = "linf"

    def __init__(self, *, steps: int = 200, rate: float = 1e-2, width: int = 64, blocks: int = 6) -> None:
        self.steps, self.rate, self.width, self.blocks = steps, rate, width, blocks
        self.starts: Tensor | None = None  # (N, 3, H, W) images of the target, such as real photographs

    def run(self, model: Logits, image: Tensor, label: Tensor, budget: float) -> Tensor:
        """Without images of another class, in the batch or in `starts`, nothing is changed."""
        out = image.clone()
        for kind in label.unique() if budget else ():
            of = label == kind
            reference = image[~of] if self.starts is None else self.starts.to(image)
            if not len(reference):
                continue
            generator = TriggerGenerator(budget, self.width, self.blocks).to(image.device)
            optimizer = torch.optim.Adam(generator.parameters(), self.rate)
            with torch.no_grad():
                aim = F.normalize(model(reference), dim=1).mean(0, keepdim=True)
            for _ in range(self.steps):
                generator.zero_grad()
                alignment(model(generator(image[of])), aim.expand(int(of.sum()), -1)).backward()
                optimizer.step()
            with torch.no_grad():
                out[of] = generator.eval()(image[of])
        return out

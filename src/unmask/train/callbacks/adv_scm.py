"""AdvSCM: an adversary moves the face about in the image, and the detector must see the same in it.

Detectors come to expect the traces of forgery in the middle of a crop. A small network A bends, turns, shifts and zooms
each image, within bounds, so that the detector's features change as much as they can; the detector learns to classify
both images and to have the same features for them. After training A is thrown away.

    L_D = L(x) + L(A(x)) + weight L_con,   L_A = -L_con,   L_con = mean of 1 - cos(features of x, features of A(x))

The adversarial spatial consistency module of "ED4", arXiv 2408.06779. We had its abstract and no code: the warp, its
bounds, the loss and all defaults are ours, a re-implementation from a description.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output
from unmask.base.method import Engine, Method
from unmask.errors import RecipeError
from unmask.tasks.settings import AdvScm
from unmask.train import checkpoint
from unmask.train.callbacks import callback
from unmask.train.callbacks.callback import Callback
from unmask.train.checkpoint import State
from unmask.train.optim import average_gradients

WIDTHS = (16, 32, 64, 64)  # of A's four convolutions


class Warp(nn.Module):
    """A: looks at an image and says how it is to be moved; never beyond the recipe's bounds."""

    def __init__(self, bounds: AdvScm) -> None:
        super().__init__()
        self.bounds = bounds
        layers: list[nn.Module] = []
        for inside, outside in zip((3, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv2d(inside, outside, 3, 2, 1), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(WIDTHS[-1], 4 + 2 * bounds.grid**2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> the moved images, and the share of its bound that each number takes, (B, 4 + 2 grid^2)."""
        share = torch.tanh(self.head(self.body(image - 0.5).mean((2, 3))))
        return warped(image, field(share, image.shape[2:], self.bounds)), share


def field(share: Tensor, size: tuple[int, ...], bounds: AdvScm) -> Tensor:
    """Where each pixel of the moved image is looked up, (B, H, W, 2) in `grid_sample`'s coordinates -1..1.

    Args:
        share: (B, 4 + 2 grid^2) in -1..1: turn, zoom, shift in x and y, then a grid of bends, y outermost.
        size: H, W.
    """
    turn = share[:, 0] * (bounds.rotation * torch.pi / 180)
    zoom = 1 + share[:, 1] * bounds.zoom
    cos, sin = zoom * torch.cos(turn), zoom * torch.sin(turn)
    across, down = (2 * bounds.shift * share[:, i] for i in (2, 3))  # the image is two units wide
    matrix = torch.stack([torch.stack([cos, -sin, across], 1), torch.stack([sin, cos, down], 1)], 1)
    plain = F.affine_grid(matrix, [len(share), 1, *size], align_corners=False)
    bends = 2 * bounds.bend * share[:, 4:].view(-1, 2, bounds.grid, bounds.grid)
    bends = F.interpolate(bends, size=list(size), mode="bilinear", align_corners=True)
    return plain + bends.permute(0, 2, 3, 1)


def warped(image: Tensor, where: Tensor) -> Tensor:
    """The image looked up at `where` (B, H, W, 2); beyond its edges it is mirrored."""
    return F.grid_sample(image, where, mode="bilinear", padding_mode="reflection", align_corners=False)


def inconsistency(one: Tensor, other: Tensor) -> Tensor:
    """L_con: mean of 1 - cos between rows of (N, D), 0..2."""
    return (1 - F.cosine_similarity(one.float(), other.float(), dim=1)).mean()


class Adversary(Callback):
    """A with its optimiser, and the step of a detector that has it against itself."""

    name = "adv_scm"

    def __init__(self, recipe: AdvScm, detector: Method[Any], seed: int, share: int, accelerator: Accelerator) -> None:
        """
        Args:
            seed: of A's first weights; the detector's do not depend on them.
            share: batches that make one step.
        Raises: UnmaskError for a method with a training rule of its own, and one that is no detector.
        """
        if not isinstance(detector, Detector):
            raise RecipeError("adv_scm compares a detector's features: leave it out of this recipe")
        if detector.input.frames > 1:
            raise RecipeError("adv_scm moves single images: leave it out for a detector of videos")
        if type(detector).step is not Detector.step:
            raise RecipeError("adv_scm does not go together with a method that has a training rule of its own (step)")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.warp = Warp(recipe)
        self.warp.to(accelerator.device)
        self.recipe, self.detector, self.share, self.accelerator = recipe, detector, share, accelerator
        self.weights = list(self.warp.parameters())
        self.optimizer = torch.optim.Adam(self.weights, recipe.lr)

    def around_step(self, batch: Batch, engine: callback.Engine, step: callback.Step) -> dict[str, Tensor]:
        """Its own step instead; A learns from the look at the true weights."""
        return self.step(self.detector, batch, engine, learn=engine.first_pass)

    def step(self, detector: Detector, batch: Batch, engine: Engine, *, learn: bool = True) -> dict[str, Tensor]:
        """Instead of `Detector.step`: E descends L_D while A is fixed, and A's gradient of -L_con is added up.

        A graph is cut between the two: E's gradient stops at the moved image, A's begins there.

        Args:
            learn: whether A learns from this look; false for the second of a sharpness step.
        Returns: the terms, and for the log how much of its bounds A takes on average.
        """
        with torch.autocast(batch.image.device.type, enabled=False):
            image, share = self.warp(batch.image)
        there = image.detach().requires_grad_()
        with engine.autocast():
            with looked(detector) as one:
                terms = detector.loss(batch)
            with looked(detector) as other:
                again = detector.loss(replace(batch, image=there))
            apart = inconsistency(_only(one), _only(other))
        if learn:
            (slope,) = torch.autograd.grad(apart, there, retain_graph=True)
            image.backward(-slope / self.share)
        terms = terms | {f"{name}_moved": value for name, value in again.items()}
        terms["consistency"] = self.recipe.weight * apart
        engine.backward(torch.stack(list(terms.values())).sum())
        if engine.update():
            detector.updated(engine)
        return terms | {"reach": share.detach().abs().mean()}

    def after_update(self) -> None:
        """One step of A, once for each of the detector's."""
        average_gradients(self.weights, self.accelerator)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def saved(self) -> tuple[State, dict[str, Any]]:
        tensors, plain = checkpoint.of_optimizer(self.optimizer)
        return checkpoint.under("model", self.warp.state_dict()) | checkpoint.under("optimizer", tensors), plain

    def restore(self, held: State, facts: dict[str, Any], what: str) -> None:
        checkpoint.fill(self.warp.state_dict(), checkpoint.below("model", held), what)
        checkpoint.into_optimizer(self.optimizer, checkpoint.below("optimizer", held), facts)


@contextmanager
def looked(detector: Detector) -> Iterator[list[Tensor]]:
    """The features of each forward pass that happens inside."""
    features: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Tensor, ...], out: Output) -> None:
        features.append(out.features)

    hook = detector.register_forward_hook(keep)
    try:
        yield features
    finally:
        hook.remove()


def _only(features: list[Tensor]) -> Tensor:
    if len(features) != 1:
        raise RecipeError(
            f"adv_scm compares the features of one look at a batch, and this method's loss looked {len(features)} times"
        )
    return features[0]

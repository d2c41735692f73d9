"""What moves the weights: optimisers, the learning rate as a pure function of the step, averages, sharpness."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from unmask.train.recipe import Optimizer, Schedule


def optimizer(recipe: Optimizer, trained: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of the parameters that train; its learning rate is set anew before each step."""
    weights, decay = list(trained), recipe.weight_decay
    if recipe.name == "sgd":
        return torch.optim.SGD(weights, recipe.lr, recipe.momentum, weight_decay=decay)
    kind = torch.optim.AdamW if recipe.name == "adamw" else torch.optim.Adam
    return kind(weights, recipe.lr, recipe.betas, weight_decay=decay)


def rate(schedule: Schedule, lr: float, step: int, steps: int, per_epoch: int) -> float:
    """The learning rate of the step-th step (from 0) of `steps`.

    Rise: from `warmup_from` to `lr` over the warm-up, reached at its end. Then with x = 0..1 the part of what follows,
    or of the period, that is over: floor + (lr - floor) (1 + cos(pi x)) / 2 (Loshchilov and Hutter, ICLR 2017, eq. 5).
    """
    warm = schedule.warmup.steps(per_epoch)
    if step < warm:
        return schedule.warmup_from + (lr - schedule.warmup_from) * step / warm
    if schedule.name == "constant":
        return lr
    length = schedule.period.steps(per_epoch) if schedule.period else steps - warm
    done = (step - warm) % max(1, length) / max(1, length)
    return schedule.floor + (lr - schedule.floor) * 0.5 * (1 + math.cos(math.pi * done))


def average_gradients(weights: list[nn.Parameter], accelerator: Accelerator) -> None:
    """Gradients of all processes become their mean, in one message."""
    if accelerator.num_processes == 1:
        return
    empty = [w for w in weights if w.grad is None]
    for w in empty:  # a process whose batch does not touch a weight still has to send its zero
        w.grad = torch.zeros_like(w)
    flat = torch.cat([w.grad.flatten() for w in weights if w.grad is not None])
    flat = accelerator.reduce(flat, "mean")
    for w, part in zip(weights, flat.split([w.numel() for w in weights]), strict=True):
        w.grad = part.view_as(w).to(w.dtype)


class Average:
    """Exponential moving average of a state: mean <- d mean + (1 - d) new, with d = min(decay, (1 + n) / (10 + n)).

    The smaller decay of the first updates n keeps the random start out (as in TensorFlow's moving averages).
    """

    def __init__(self, state: dict[str, Tensor], decay: float) -> None:
        self.mean = {name: value.detach().clone() for name, value in state.items()}
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def follow(self, state: dict[str, Tensor]) -> None:
        """Whole numbers (counters) are copied."""
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, new in state.items():
            if new.is_floating_point():
                self.mean[name].lerp_(new, 1 - keep)
            else:
                self.mean[name].copy_(new)


class Sharpness:
    """Sharpness-aware minimisation: the gradient is taken where the loss nearby is about highest, then applied here.

    e = rho g / ||g|| (Foret et al., ICLR 2021, eq. 2), over all weights together.
    """

    def __init__(self, weights: list[nn.Parameter], rho: float) -> None:
        self.weights, self.rho = weights, rho
        self.moved: list[Tensor] = []

    @torch.no_grad()
    def climb(self) -> None:
        """To w + e, and gradients are empty again."""
        norm = torch.stack([w.grad.norm() for w in self.weights if w.grad is not None]).norm().clamp_min(1e-12)
        self.moved = [w.detach().clone() for w in self.weights]
        for w in self.weights:
            if w.grad is not None:
                w.add_(w.grad, alpha=self.rho / float(norm))
                w.grad = None

    @torch.no_grad()
    def back(self) -> None:
        """To w, bitwise; the gradients of w + e stay."""
        for w, was in zip(self.weights, self.moved, strict=True):
            w.copy_(was)
        self.moved = []

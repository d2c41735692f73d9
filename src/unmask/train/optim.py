"""What moves the weights: optimisers, the learning rate as a pure function of the step, averages, sharpness."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from unmask.base.method import Group, Method, roles
from unmask.errors import RecipeError
from unmask.nn.backbones import Encoder
from unmask.tasks.settings import Optimizer, Schedule


def optimizer(recipe: Optimizer, method: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of the weights that train; rates and decays are set anew before each step (`set_rates`)."""
    return _optimizer(recipe, groups(recipe, method))


def _optimizer(recipe: Optimizer, among: list[dict[str, Any]]) -> torch.optim.Optimizer:
    decay = recipe.weight_decay
    if recipe.name == "sgd":
        return torch.optim.SGD(among, recipe.lr, recipe.momentum, weight_decay=decay)
    if recipe.name == "lars":
        return LARS(among, recipe.lr, recipe.momentum, decay, recipe.trust)
    kind = torch.optim.AdamW if recipe.name == "adamw" else torch.optim.Adam
    return kind(among, recipe.lr, recipe.betas, weight_decay=decay)


def groups(recipe: Optimizer, method: nn.Module) -> list[dict[str, Any]]:
    """Weights that train, put together by the factors on their rate and decay; one group where all are alike.

    Factors multiply: those that the method asks for (`parameter_groups`), those of the recipe by name, layer-wise decay
    (x^(n + 1 - l) in layer l of n, so that the blocks nearest to the image move least; Clark et al., ICLR 2020), and
    no decay for vectors where `decay_vectors` is off.

    Raises: UnmaskError for a name that matches no weight, and layer-wise decay of a method without blocks.
    """
    wanted = trained(method)
    weights = {name: p for name, p in method.named_parameters() if name in wanted}
    scale = dict.fromkeys(weights, (1.0, 1.0))
    asked = list(method.parameter_groups()) if isinstance(method, Method) else []
    for group in [*asked, *(Group((name,), g.lr, g.weight_decay) for name, g in recipe.groups.items())]:
        chosen = [n for n in weights if any(n == w or n.startswith(f"{w}.") for w in group.weights)]
        if not chosen:
            raise RecipeError(f"optimizer.groups: no weight that trains is named {', '.join(group.weights)}")
        scale |= {n: (scale[n][0] * group.lr, scale[n][1] * group.weight_decay) for n in chosen}
    if recipe.layer_decay is not None:
        scale |= {n: (scale[n][0] * f, scale[n][1]) for n, f in layer_factors(method, recipe.layer_decay).items()}
    found: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, weight in weights.items():
        lr, decay = scale[name]
        vector = weight.ndim < 2
        adapt = not (recipe.name == "lars" and vector)
        found.setdefault((lr, 0.0 if vector and not recipe.decay_vectors else decay, adapt), []).append(weight)
    return [
        {"params": params, "lr_factor": lr, "decay_factor": decay} | ({} if adapt else {"adapt": False})
        for (lr, decay, adapt), params in found.items()
    ]


def trained(method: nn.Module) -> set[str]:
    return {name for name, role in roles(method).items() if role == "trained"}


def layer_factors(method: nn.Module, decay: float) -> dict[str, float]:
    """decay^(n + 1 - l) for the weights of each transformer encoder inside: layer 0 embeds, n is the last block.

    What comes after the last block is trained at the full rate, like all that is outside of an encoder.
    """
    found: dict[str, float] = {}
    for at, part in method.named_modules():
        if not isinstance(part, Encoder):
            continue
        names = [name for name, _ in part.body.named_parameters()]
        inside = {n: re.match(rf"(?:.*\.)?{re.escape(part.kind.blocks)}(\d+)\.", n) for n in names}
        blocks = {n: int(m[1]) + 1 for n, m in inside.items() if m}
        if not blocks:
            continue
        first, last = min(names.index(n) for n in blocks), max(blocks.values())
        for place, name in enumerate(names):
            layer = blocks.get(name, 0 if place < first else last + 1)
            found[f"{at}.body.{name}"] = decay ** (last + 1 - layer)
    if not found:
        raise RecipeError("optimizer.layer_decay needs a transformer encoder with blocks: leave it out")
    return found


def set_rates(optimizer: torch.optim.Optimizer, lr: float, weight_decay: float) -> None:
    """For the next step, of all groups, by the factors of each."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]
        group["weight_decay"] = weight_decay * group["decay_factor"]


def decay_at(recipe: Optimizer, step: int, steps: int) -> float:
    """The weight decay of a step: constant, or on a cosine to `weight_decay_end` (DINO, Caron et al., ICCV 2021)."""
    end = recipe.weight_decay_end
    if end is None:
        return recipe.weight_decay
    return end + (recipe.weight_decay - end) * 0.5 * (1 + math.cos(math.pi * step / max(1, steps)))


class LARS(torch.optim.Optimizer):
    """SGD whose rate is scaled, layer by layer, to the size of the weights (You et al., arXiv 1708.03888).

    v <- m v + trust ||w|| / (||g|| + beta ||w||) (g + beta w), w <- w - lr v, beta the weight decay. Groups with
    `adapt` off (norms and biases) are plain SGD without decay.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 1e-3,
        adapt: bool = True,
    ) -> None:
        usual = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "adapt": adapt}
        super().__init__(params, usual)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for w in (w for w in group["params"] if w.grad is not None):
                moved = w.grad
                if group["adapt"]:
                    beta, size, slope = group["weight_decay"], w.norm(), w.grad.norm()
                    rate = group["trust"] * size / (slope + beta * size)
                    moved = w.grad.add(w, alpha=beta) * torch.where((size > 0) & (slope > 0), rate, 1.0)
                state = self.state[w]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(w)
                velocity = state["momentum_buffer"].mul_(group["momentum"]).add_(moved)
                w.sub_(velocity, alpha=group["lr"])


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

    def __init__(self, state: dict[str, Tensor], decay: float, copied: Collection[str] = ()) -> None:
        self.mean = {name: value.detach().clone() for name, value in state.items()}
        self.decay, self.updates, self.copied = decay, 0, frozenset(copied)

    @torch.no_grad()
    def follow(self, state: dict[str, Tensor]) -> None:
        """Queues and counters (`copied`, and whole numbers) are copied."""
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, new in state.items():
            if new.is_floating_point() and name not in self.copied:
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

"""One step of training: precision, accumulation, processes, sharpness and averages, whatever the method does inside."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from unmask.bases import Batch, Detector
from unmask.train import checkpoint
from unmask.train.checkpoint import State
from unmask.train.optim import Average, Sharpness, optimizer
from unmask.train.recipe import Recipe


def seeded(*numbers: int) -> None:
    """All random numbers of this process from now on as a function of these: what was drawn before does not matter.

    So the random state needs no place in a checkpoint: each step begins with (seed, step, process).
    """
    words = np.random.SeedSequence(numbers).generate_state(2)
    random.seed(int(words[0]))
    np.random.seed(words[0])
    torch.manual_seed(int(words[0]) << 32 | int(words[1]))


class Engine:
    """`unmask.bases.Engine`, and what the loop asks of it: one step on a group of batches.

    Gradients of the processes are averaged by hand, in one message, just before each update: a method may so run
    whatever forward passes it likes, as often as it likes.
    """

    def __init__(self, detector: Detector, recipe: Recipe, accelerator: Accelerator) -> None:
        self.detector, self.recipe, self.accelerator = detector, recipe, accelerator
        self.weights: list[nn.Parameter] = [p for p in detector.parameters() if p.requires_grad]
        self.state: State = checkpoint.learnt(detector)
        self.optimizer = optimizer(recipe.optimizer, self.weights)
        self.average = Average(self.state, recipe.ema) if recipe.ema else None
        self.sharpness = Sharpness(self.weights, recipe.sam) if recipe.sam else None
        self._climbing = self._last = False

    # --- what a method's step sees ------------------------------------------------------------------------------------

    def autocast(self) -> AbstractContextManager[None]:
        on = self.recipe.precision == "bf16"
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=on)

    def backward(self, loss: Tensor) -> None:
        (loss / self.recipe.accumulate).backward()

    def update(self) -> None:
        if not self._last:
            return
        self._share_gradients()
        if self._climbing and self.sharpness:
            self.sharpness.climb()
            return
        if self.sharpness:
            self.sharpness.back()
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.weights, self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()

    # --- what the loop sees -------------------------------------------------------------------------------------------

    def learn(self, batches: Sequence[Batch], step: int, lr: float) -> dict[str, Tensor]:
        """One update from `accumulate` batches. Returns: the mean of each term over them, in this process."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        means: dict[str, Tensor] = {}
        self.detector.train()
        for climbing in (True, False) if self.sharpness else (False,):
            self._climbing = climbing
            means.clear()
            for place, batch in enumerate(batches):
                # Both passes of a sharpness step draw the same: they differ in the weights alone.
                seeded(self.recipe.seed, step, place, self.accelerator.process_index)
                self._last = place == len(batches) - 1
                for name, value in self.detector.step(batch, self).items():
                    means[name] = means.get(name, 0) + value.detach().double() / len(batches)
        if self.average:
            self.average.follow(self.state)
        return means

    def share_buffers(self) -> None:
        """Statistics that each process gathered on its own become their mean, so that all go on with the same model."""
        if self.accelerator.num_processes == 1:
            return
        weights = {name for name, _ in self.detector.named_parameters()}
        for state in (self.state, self.average.mean if self.average else {}):
            for name, value in state.items():
                if name not in weights and value.is_floating_point():
                    value.copy_(self.accelerator.reduce(value.clone(), "mean"))

    def saved(self) -> tuple[State, dict[str, object]]:
        """All that the next step depends on, besides its number and its batches."""
        tensors, plain = checkpoint.of_optimizer(self.optimizer)
        held = checkpoint.under("model", self.state) | checkpoint.under("optimizer", tensors)
        if self.average:
            held |= checkpoint.under("average", self.average.mean)
        return held, {"optimizer": plain, "averaged": self.average.updates if self.average else 0}

    def restore(self, held: State, facts: dict[str, object], what: str) -> None:
        """The reverse. Raises: UnmaskError for a checkpoint of another model."""
        checkpoint.fill(self.state, checkpoint.below("model", held), what)
        plain = facts["optimizer"]
        assert isinstance(plain, dict)
        checkpoint.into_optimizer(self.optimizer, checkpoint.below("optimizer", held), plain)
        if self.average:
            checkpoint.fill(self.average.mean, checkpoint.below("average", held), what)
            self.average.updates = int(str(facts["averaged"]))

    def _share_gradients(self) -> None:
        if self.accelerator.num_processes == 1:
            return
        empty = [w for w in self.weights if w.grad is None]
        for w in empty:  # a process whose batch does not touch a weight still has to send its zero
            w.grad = torch.zeros_like(w)
        flat = torch.cat([w.grad.flatten() for w in self.weights if w.grad is not None])
        flat = self.accelerator.reduce(flat, "mean")
        for w, part in zip(self.weights, flat.split([w.numel() for w in self.weights]), strict=True):
            w.grad = part.view_as(w).to(w.dtype)

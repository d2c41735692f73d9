"""One step of training: precision, accumulation, processes, sharpness and averages, whatever the method does inside."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from unmask.base.detector import Batch, Detector
from unmask.train import checkpoint
from unmask.train.callbacks.adv_scm import Adversary
from unmask.train.callbacks.difficulty import Boosting
from unmask.train.checkpoint import State
from unmask.train.optim import Average, Sharpness, average_gradients, optimizer
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
    """`unmask.base.detector.Engine`, and what the loop asks of it: one step on a group of batches.

    Gradients of the processes are averaged by hand, in one message, just before each update: a method may so run
    whatever forward passes it likes, as often as it likes.
    """

    def __init__(
        self, detector: Detector, recipe: Recipe, accelerator: Accelerator, *, rows: int = 0, steps: int = 1
    ) -> None:
        """
        Args:
            rows: of the training set, for what is remembered of each (`Batch.index`).
            steps: of the whole run, for what changes as it goes on.
        """
        self.detector, self.recipe, self.accelerator = detector, recipe, accelerator
        self.weights: list[nn.Parameter] = [p for p in detector.parameters() if p.requires_grad]
        self.state: State = checkpoint.learnt(detector)
        self.optimizer = optimizer(recipe.optimizer, self.weights)
        self.average = Average(self.state, recipe.ema) if recipe.ema else None
        self.sharpness = Sharpness(self.weights, recipe.sam) if recipe.sam else None
        hard, moved = recipe.difficulty, recipe.adv_scm
        self.boosting = Boosting(hard, rows, steps, accelerator) if hard else None
        self.adversary = Adversary(moved, detector, recipe.seed, recipe.accumulate, accelerator) if moved else None
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
        average_gradients(self.weights, self.accelerator)
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
                for name, value in self._step(batch, step).items():
                    means[name] = means.get(name, 0) + value.detach().double() / len(batches)
        if self.adversary:
            self.adversary.update()
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
        facts = {"optimizer": plain, "averaged": self.average.updates if self.average else 0}
        if self.boosting:
            held["difficulty"] = self.boosting.rows
        if self.adversary:
            against, facts["adv_scm"] = self.adversary.saved()
            held |= checkpoint.under("adv_scm", against)
        return held, facts

    def restore(self, held: State, facts: dict[str, object], what: str) -> None:
        """The reverse. Raises: UnmaskError for a checkpoint of another model."""
        checkpoint.fill(self.state, checkpoint.below("model", held), what)
        plain = facts["optimizer"]
        assert isinstance(plain, dict)
        checkpoint.into_optimizer(self.optimizer, checkpoint.below("optimizer", held), plain)
        if self.average:
            checkpoint.fill(self.average.mean, checkpoint.below("average", held), what)
            self.average.updates = int(str(facts["averaged"]))
        if self.boosting:
            checkpoint.fill({"difficulty": self.boosting.rows}, {"difficulty": held["difficulty"]}, what)
        if self.adversary:
            plain = facts["adv_scm"]
            assert isinstance(plain, dict)
            self.adversary.restore(checkpoint.below("adv_scm", held), plain, what)

    def _step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """The method's step, with what the recipe lays around it."""
        weigher = self.boosting.weigher(batch, step, keep=not self._climbing) if self.boosting else None
        if weigher:
            batch = replace(batch, weigh=weigher)
        if self.adversary:
            first = self._climbing or not self.sharpness  # the weights are the true ones
            terms = self.adversary.step(self.detector, batch, self, learn=first)
        else:
            terms = self.detector.step(batch, self)
        return terms | (weigher.said() if weigher else {})

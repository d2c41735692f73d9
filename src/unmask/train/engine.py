"""One step of training: precision, accumulation, processes, sharpness and averages, whatever the method does inside."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from unmask.base.method import Method, roles
from unmask.errors import UnmaskError
from unmask.nn.gather import gather
from unmask.tasks.recipe import Recipe
from unmask.train import checkpoint
from unmask.train.callbacks.callback import Callback, Step
from unmask.train.checkpoint import State
from unmask.train.optim import Average, Sharpness, average_gradients, decay_at, optimizer, set_rates


def seeded(*numbers: int) -> None:
    """All random numbers of this process from now on as a function of these: what was drawn before does not matter.

    So the random state needs no place in a checkpoint: each step begins with (seed, step, process).
    """
    words = np.random.SeedSequence(numbers).generate_state(2)
    random.seed(int(words[0]))
    np.random.seed(words[0])
    torch.manual_seed(int(words[0]) << 32 | int(words[1]))


class Engine:
    """`unmask.base.method.Engine`, and what the loop asks of it: one step on a group of batches.

    Gradients of the processes are averaged by hand, in one message, just before each update: a method may so run
    whatever forward passes it likes, as often as it likes.
    """

    def __init__(
        self,
        method: Method[Any],
        recipe: Recipe,
        accelerator: Accelerator,
        *,
        steps: int = 1,
        per_epoch: int = 1,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        """
        Args:
            steps, per_epoch: of the whole run and of an epoch, for what changes as it goes on.
            callbacks: laid around each step, the first one outermost.
        """
        self.method, self.recipe, self.accelerator, self.callbacks = method, recipe, accelerator, callbacks
        self.step, self.steps, self.per_epoch = 0, steps, per_epoch
        self.roles = roles(method)
        self.weights = [p for name, p in method.named_parameters() if self.roles.get(name) == "trained"]
        self.state: State = checkpoint.learnt(method)
        self.optimizer = optimizer(recipe.optimizer, method)
        replicated = [name for name, role in self.roles.items() if role == "replicated"]
        self.average = Average(self.state, recipe.ema, replicated) if recipe.ema else None
        self.sharpness = Sharpness(self.weights, recipe.sam) if recipe.sam else None
        self.first_pass = self.last_pass = True
        self._last_batch = False
        self._run: Step = method.step
        for callback in reversed(callbacks):
            self._run = _around(callback, self._run)

    # --- what a method's step sees ------------------------------------------------------------------------------------

    @property
    def done(self) -> float:
        return self.step / self.steps

    def autocast(self) -> AbstractContextManager[None]:
        on = self.recipe.precision == "bf16"
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=on)

    def backward(self, loss: Tensor) -> None:
        (loss / self.recipe.accumulate).backward()

    def gather(self, x: Tensor) -> Tensor:
        return gather(x)

    def update(self) -> bool:
        if not self._last_batch:
            return False
        average_gradients(self.weights, self.accelerator)
        if self.sharpness and not self.last_pass:
            self.sharpness.climb()
            return False
        if self.sharpness:
            self.sharpness.back()
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.weights, self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return True

    # --- what the loop sees -------------------------------------------------------------------------------------------

    def learn(self, batches: Sequence[Any], step: int, lr: float) -> dict[str, Tensor]:
        """One update from `accumulate` batches. Returns: the mean of each term over them, in this process."""
        self.step = step
        set_rates(self.optimizer, lr, decay_at(self.recipe.optimizer, step, self.steps))
        means: dict[str, Tensor] = {}
        self.method.train()
        for looks in ((True, False), (False, True)) if self.sharpness else ((True, True),):
            self.first_pass, self.last_pass = looks
            means.clear()
            for place, batch in enumerate(batches):
                # Both passes of a sharpness step draw the same: they differ in the weights alone.
                seeded(self.recipe.seed, step, place, self.accelerator.process_index)
                self._last_batch = place == len(batches) - 1
                for name, value in self._run(batch, self).items():
                    means[name] = means.get(name, 0) + value.detach().double() / len(batches)
        for callback in self.callbacks:
            callback.after_update()
        if self.average:
            self.average.follow(self.state)
        return means

    def share_buffers(self) -> None:
        """Statistics that each process gathered on its own become their mean, so that all go on with the same model.

        A teacher's weights follow trained ones, and are equal everywhere as it is.
        Raises: UnmaskError for replicated state that differs between processes: their mean would be nonsense.
        """
        if self.accelerator.num_processes == 1:
            return
        weights = {name for name, _ in self.method.named_parameters()}
        for state in (self.state, self.average.mean if self.average else {}):
            for name, value in state.items():
                if self.roles[name] == "averaged" and name not in weights and value.is_floating_point():
                    value.copy_(self.accelerator.reduce(value.clone(), "mean"))
        for name, value in self.state.items():
            if self.roles[name] == "replicated":
                sums = self.accelerator.gather(value.double().sum().reshape(1))
                if not torch.equal(sums, sums[:1].expand_as(sums)):
                    raise UnmaskError(
                        f"{name} is replicated, and differs between processes: fill it with gathered rows "
                        "(engine.gather), or train in one process"
                    )

    def saved(self) -> tuple[State, dict[str, object]]:
        """All that the next step depends on, besides its number and its batches."""
        tensors, plain = checkpoint.of_optimizer(self.optimizer)
        held = checkpoint.under("model", self.state) | checkpoint.under("optimizer", tensors)
        if self.average:
            held |= checkpoint.under("average", self.average.mean)
        facts = {"optimizer": plain, "averaged": self.average.updates if self.average else 0}
        for callback in self.callbacks:
            tensors, facts[callback.name] = callback.saved()
            held |= checkpoint.under(callback.name, tensors)
        return held, facts

    def restore(self, held: State, facts: dict[str, Any], what: str) -> None:
        """The reverse. Raises: UnmaskError for a checkpoint of another model."""
        checkpoint.fill(self.state, checkpoint.below("model", held), what)
        checkpoint.into_optimizer(self.optimizer, checkpoint.below("optimizer", held), facts["optimizer"])
        if self.average:
            checkpoint.fill(self.average.mean, checkpoint.below("average", held), what)
            self.average.updates = int(facts["averaged"])
        for callback in self.callbacks:
            callback.restore(checkpoint.below(callback.name, held), facts[callback.name], what)


def _around(callback: Callback, step: Step) -> Step:
    return lambda batch, engine: callback.around_step(callback.before_step(batch, engine), engine, step)

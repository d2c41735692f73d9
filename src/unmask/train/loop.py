"""The training loop: a recipe and a manifest in, a run folder out. It knows no method by name.

    torchrun --nproc-per-node 2 -m unmask train RECIPE faces.parquet --out RUN

Stopped at any moment and started again, a run goes on from its last checkpoint and, on a CPU, comes to the same
weights bitwise: batches are planned from the seed and the epoch, and the random numbers of each step are a
function of seed, step and process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from unmask.base.detector import Detector
from unmask.base.method import Method
from unmask.errors import CheckpointError, RecipeError
from unmask.tasks import task
from unmask.tasks.recipe import Recipe
from unmask.tasks.task import Compute, Rows
from unmask.train import callbacks, checkpoint
from unmask.train.engine import Engine, seeded
from unmask.train.optim import rate
from unmask.train.run import BEST, FROZEN, LAST, Folder, sha256

INITIAL = 2**32 - 1  # in the place of a step's number, for the random weights before the first one


@dataclass
class Progress:
    """Where the run stands: everything that a checkpoint keeps besides tensors."""

    step: int = 0  # updates done
    best: float | None = None
    best_step: int = 0
    waited: int = 0  # validations since the best
    over: bool = False
    sums: dict[str, float] = field(default_factory=dict)  # of the loss's terms since the last row of metrics ...
    count: int = 0  # ... which are so many steps


Report = Callable[[int, int, dict[str, float] | None], None]  # steps done, steps in all, the row of a validation


def create(recipe: Recipe) -> Method[Any]:
    """The method of a recipe with the weights it starts from: those of a bundle's `model.safetensors`, or an encoder's.

    Raises: UnmaskError for a file that cannot be read or does not fit, and a method without an encoder.
    """
    seeded(recipe.seed, INITIAL)
    method = task(recipe).build(recipe)
    if recipe.start and (whole := checkpoint.boxed(Path(recipe.start))):
        checkpoint.fill(method.state_dict(), whole, recipe.start)
    elif recipe.start:
        method.load_pretrained(Path(recipe.start))
    return method


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    workers: int = 0,
    cpu: bool = False,
    tensorboard: bool = False,
    report: Report | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Progress:
    """Train, or go on with a run that was stopped.

    Args:
        data: a face manifest.
        out: the run folder, see `unmask.train.run`.
        workers: processes that read crops, for each process that trains; they change nothing but the speed.
        report: called after each step, in the first process.
        say: called with what should be known before a long run, in the first process.
    Raises: UnmaskError for a recipe, data or folder that do not fit each other.
    """
    accelerator = Accelerator(cpu=cpu)
    if recipe.batch % accelerator.num_processes:
        raise RecipeError(f"a batch of {recipe.batch} cannot be shared by {accelerator.num_processes} processes")
    recipe = task(recipe).resolved(recipe, data)
    method = create(recipe).to(accelerator.device)
    rows = task(recipe).rows(recipe, data, method)
    folder = Folder(out)
    asked = (recipe, rows.manifest.digest, sha256(Path(recipe.start)) if recipe.start else "")
    if accelerator.is_main_process:
        folder.open(*asked)
        if note := rows.note():
            say(note)
    accelerator.wait_for_everyone()
    loop = Loop(recipe, rows, method, folder, accelerator, workers, report)
    loop.resume()
    if tensorboard and accelerator.is_main_process:
        folder.draw(loop.progress.step)
    return loop.run()


class Loop:
    """One run in one process."""

    def __init__(
        self,
        recipe: Recipe,
        rows: Rows,
        method: Method[Any],
        folder: Folder,
        accelerator: Accelerator,
        workers: int,
        report: Report | None,
    ) -> None:
        self.recipe, self.rows, self.method, self.folder = recipe, rows, method, folder
        self.accelerator, self.workers = accelerator, workers
        self.report = report if accelerator.is_main_process else None
        self.progress = Progress()
        self.per_epoch = len(rows.plan(0)) // recipe.accumulate
        if not self.per_epoch:
            raise RecipeError(f"an epoch has fewer batches than accumulate ({recipe.accumulate}): choose a smaller one")
        self.steps = max(1, recipe.length.steps(self.per_epoch))
        rules = callbacks.chosen(recipe, method, accelerator, rows=len(rows), steps=self.steps)
        self.engine = Engine(method, recipe, accelerator, steps=self.steps, per_epoch=self.per_epoch, callbacks=rules)
        self.every = max(1, recipe.validate_.steps(self.per_epoch))
        self.save = max(1, recipe.save.steps(self.per_epoch)) if recipe.save else None
        self.sums: dict[str, Tensor] = {}  # of this process, on its device: reading them each step would make it wait
        self.started = time.monotonic()

    def resume(self) -> None:
        """Take up what the folder holds, if anything. Raises: UnmaskError for checkpoints of another model."""
        frozen = checkpoint.frozen(self.method)
        if frozen and not (self.folder / FROZEN).is_file():
            self._write(FROZEN, frozen, {})
        last = self.folder / LAST
        if not last.is_file():
            return
        if frozen:
            checkpoint.fill(frozen, checkpoint.load(self.folder / FROZEN)[0], str(self.folder / FROZEN))
        held, facts = checkpoint.load(last)
        self.engine.restore(held, facts, str(last))
        self.progress = Progress(**facts["progress"])
        self._restart(self.progress.sums)
        self.folder.resume(self.progress.step)

    def run(self) -> Progress:
        """To the end of the recipe's length, or of its patience."""
        now = self.progress
        for group in self._groups():
            lr = rate(self.recipe.schedule, self.recipe.optimizer.lr, now.step, self.steps, self.per_epoch)
            self._count(self.engine.learn(group, now.step, lr))
            now.step += 1
            row = self._validate(lr) if now.step % self.every == 0 or now.step == self.steps else None
            if row is None and self.save and now.step % self.save == 0:
                self._checkpoint()
            if self.report:
                self.report(now.step, self.steps, row)
            if now.over:
                break
        return now

    def _groups(self) -> Iterator[list[Any]]:
        """From where the run stands to its end: the batches of each step."""
        now, share = self.progress, self.recipe.accumulate
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        while not now.over and now.step < self.steps:
            epoch, done = divmod(now.step, self.per_epoch)
            plan = self.rows.plan(epoch)
            keys = list(islice(plan.batches(done * share, rank, world), (self.per_epoch - done) * share))
            stream = self.rows.batches(keys, workers=self.workers, device=self.accelerator.device)
            while group := list(islice(stream, share)):
                yield group
                if now.step == self.steps:
                    return

    def _count(self, terms: dict[str, Tensor]) -> None:
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.progress.count += 1

    def _fold(self) -> dict[str, float]:
        """The sums of all processes become their mean, in each of them."""
        here = [{name: float(value) for name, value in self.sums.items()}]
        everywhere = here if self.accelerator.num_processes == 1 else gather_object(here)
        mean = {name: math.fsum(p[name] for p in everywhere) / len(everywhere) for name in here[0]}
        self._restart(mean)
        return mean

    def _restart(self, sums: dict[str, float]) -> None:
        self.progress.sums = sums
        device = self.accelerator.device
        self.sums = {name: torch.tensor(v, dtype=torch.double, device=device) for name, v in sums.items()}

    def _validate(self, lr: float) -> dict[str, float]:
        """Measure, keep the weights if they are the best, and write a checkpoint."""
        now, recipe, engine = self.progress, self.recipe, self.engine
        engine.share_buffers()
        current = {name: value.clone() for name, value in engine.state.items()} if engine.average else {}
        if engine.average:
            checkpoint.fill(engine.state, engine.average.mean, "the average")
        share = max(1, recipe.batch // self.accelerator.num_processes)
        compute = Compute(self.accelerator, share, self.workers, bf16=recipe.precision == "bf16")
        numbers = self.rows.measure(self.method, compute)
        if recipe.best not in numbers:
            raise RecipeError(
                f"best: {recipe.best} cannot be measured on these validation rows; there is {', '.join(numbers)}"
            )
        value = numbers[recipe.best]
        better = now.best is None or (value < now.best if recipe.lower_is_better else value > now.best)
        now.waited = 0 if better else now.waited + 1
        if better:
            now.best, now.best_step = value, now.step
            self._write(BEST, engine.state, {"step": now.step, recipe.best: value})
        if engine.average:
            checkpoint.fill(engine.state, current, "the weights")
        now.over = now.step == self.steps or bool(recipe.patience and now.waited >= recipe.patience)
        row = self._row(lr, numbers)
        if self.accelerator.is_main_process:
            self.folder.record(row)
        self._checkpoint()
        return row

    def _row(self, lr: float, numbers: dict[str, float]) -> dict[str, float]:
        """A row of metrics: the mean of each training term over steps and processes, and the validation's numbers."""
        now = self.progress
        terms = {f"train_{name}": total / now.count for name, total in self._fold().items()}
        self._restart({})
        now.count = 0
        place = {"step": now.step, "epoch": now.step / self.per_epoch, "lr": lr, "seconds": self._seconds()}
        return place | terms | {f"val_{name}": value for name, value in numbers.items()}

    def _checkpoint(self) -> None:
        self.engine.share_buffers()
        self._fold()
        held, facts = self.engine.saved()
        self._write(LAST, held, {**facts, "progress": vars(self.progress)})

    def _seconds(self) -> float:
        return round(time.monotonic() - self.started, 3)

    def _write(self, name: str, tensors: dict[str, Tensor], facts: dict[str, object]) -> None:
        if self.accelerator.is_main_process:
            checkpoint.save(self.folder / name, tensors, facts)


def finished(folder: Path) -> Progress | None:
    """Where a run ended; None where it has not ended, or has never begun."""
    last = Folder(folder) / LAST
    stood = Progress(**checkpoint.facts(last)["progress"]) if last.is_file() else None
    return stood if stood is not None and stood.over else None


def restore(folder: Path) -> tuple[Detector, Recipe]:
    """The detector of a run with its best weights, on the CPU.

    Raises: UnmaskError where there are none yet, and for a run that trained no detector.
    """
    method, recipe = restored(folder)
    if not isinstance(method, Detector):
        raise CheckpointError(
            f"{folder} pre-trained an encoder, and no detector: `unmask export {folder}` writes it to a file that a "
            "detector's recipe starts from"
        )
    return method, recipe


def restored(folder: Path) -> tuple[Method[Any], Recipe]:
    """The method of a run, teachers and queues included, with its best weights, on the CPU.

    Raises: UnmaskError where there are none yet.
    """
    run = Folder(folder)
    recipe = run.recipe()
    if not (run / BEST).is_file():
        raise CheckpointError(f"{folder} has no best weights yet: train it until its first validation")
    method = task(recipe).build(recipe)
    if frozen := checkpoint.frozen(method):
        checkpoint.fill(frozen, checkpoint.load(run / FROZEN)[0], str(run / FROZEN))
    held, _ = checkpoint.load(run / BEST)
    checkpoint.fill(checkpoint.learnt(method), held, str(run / BEST))
    return method.eval(), recipe

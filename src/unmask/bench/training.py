"""Many trainings, one after the other or in processes of their own; what fails is told when the others are done."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from unmask.journal import lock
from unmask.tasks.recipe import Recipe
from unmask.train.loop import finished, train
from unmask.types import UnmaskError
from unmask.workers import Worker, ask_all, serve

SECONDS = 30 * 86400.0  # of one training, before it is given up
TRIES = 3  # of a training whose process dies: each goes on from the last checkpoint
Steps = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Run:
    """One training: `rows` holds its training and validation rows, and nothing else. Its folder says which it is."""

    recipe: Recipe = field(compare=False)
    rows: Path = field(compare=False)
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.recipe.name}, seed {self.recipe.seed}"


@dataclass(frozen=True)
class How:
    """`jobs`: trainings at a time; `threads` of each, 0 = torch's own number; `cpu`: use no GPU."""

    jobs: int = 1
    threads: int = 0
    cpu: bool = False


ONE_BY_ONE = How()


def train_all(runs: Sequence[Run], how: How = ONE_BY_ONE, steps: Steps = lambda what, done, of: None) -> None:
    """Trains what is not finished.

    Args:
        steps: called with what is being done, and how many of how many steps (of several processes: trainings) are.
    Raises: UnmaskError that names each training that failed; the others are done by then, and kept.
    """
    left = [run for run in runs if finished(run.folder) is None]
    if not left:
        return
    faults = _in_processes(left, how, steps) if how.jobs > 1 and len(left) > 1 else _here(left, how, steps)
    if faults:
        said = "; ".join(f"{run.name}: {why}" for run, why in faults)
        raise UnmaskError(f"{len(faults)} of {len(left)} trainings failed, the others are kept ({said})")


def _here(runs: Sequence[Run], how: How, steps: Steps) -> list[tuple[Run, str]]:
    faults = []
    with _threads(how.threads):
        for number, run in enumerate(runs, 1):
            what = f"training {number} of {len(runs)}: {run.name}"
            steps(what, 0, 1)
            try:
                one(run, how.cpu, lambda done, of, _row, what=what: steps(what, done, of))  # type: ignore[misc]
            except UnmaskError as error:
                faults.append((run, str(error)))
    return faults


def _in_processes(runs: Sequence[Run], how: How, steps: Steps) -> list[tuple[Run, str]]:
    faults, what = [], f"{len(runs)} trainings, {how.jobs} at a time"
    order = json.dumps({"threads": how.threads, "cpu": how.cpu})

    def ask(worker: Callable[[], Worker], run: Run) -> str:
        recipe = run.recipe.model_dump(mode="json", by_alias=True)
        line = json.dumps({"recipe": recipe, "rows": str(run.rows), "folder": str(run.folder)})
        return str(json.loads(worker().ask(line))["error"])

    steps(what, 0, len(runs))
    tasks = iter([(run, run) for run in runs])
    answers = ask_all(tasks, lambda: Worker("unmask.bench.training", order, SECONDS), ask, how.jobs, TRIES)
    for done, (run, answer) in enumerate(answers, 1):
        if answer:
            faults.append((run, str(answer)))
        steps(f"{what}: {run.name} {'failed' if answer else 'done'}", done, len(runs))
    return faults


def one(run: Run, cpu: bool, report: Callable[[int, int, dict[str, float] | None], None] | None = None) -> None:
    """Raises: UnmaskError, also where another process is at the same training, and for a fault of the method's code.

    Such a fault is kept in full beside the run folder: it must not cost the other trainings of a long night.
    """
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    told = run.folder.with_name(f"{run.folder.name}.error.txt")
    with (run.folder.parent / f".{run.folder.name}.lock").open("ab") as held:
        lock(held, f"{run.folder} is being trained by another process: wait for it, and start this again")
        told.unlink(missing_ok=True)
        try:
            train(run.recipe, run.rows, run.folder, cpu=cpu, report=report)
        except UnmaskError:
            raise
        except Exception as error:
            told.write_text(traceback.format_exc(), encoding="utf-8")
            raise UnmaskError(f"unexpected {type(error).__name__}: {error}; see {told}") from error


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def main() -> None:
    """A process of `train_all`: `unmask.workers` says how it is spoken to."""
    serve(_ready)


def _ready(order: bytes) -> Callable[[bytes], bytes]:
    how = json.loads(order)
    torch.set_num_threads(how["threads"] or torch.get_num_threads())

    def handle(line: bytes) -> bytes:
        options = json.loads(line)
        run = Run(Recipe.model_validate(options["recipe"]), Path(options["rows"]), Path(options["folder"]))
        try:
            one(run, how["cpu"])
        except UnmaskError as error:
            return json.dumps({"error": str(error)}).encode()
        return json.dumps({"error": ""}).encode()

    return handle

"""`unmask train`: a recipe and a manifest of faces become a run folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unmask.app.errors import errors_in_a_line

if TYPE_CHECKING:
    from unmask.train.loop import Report


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, see recipes/.")],
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Laid over it: optimizer.lr=1e-4 seed=3.", show_default=False),
    ] = None,
    data: Annotated[Path, typer.Option(help="Manifest of faces.")] = Path("faces.parquet"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; a run that it holds goes on.")] = Path("run"),
    workers: Annotated[int, typer.Option(min=0, help="Processes that read crops.")] = 0,
    cpu: Annotated[bool, typer.Option("--cpu", help="Do not use a GPU.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no numbers.")] = False,
) -> None:
    """Train a detector, or go on with a run that was stopped: the same command does both.

    Several processes: torchrun --nproc-per-node 2 -m unmask train ...
    """
    with errors_in_a_line():
        from unmask.train import recipe as recipes
        from unmask.train.loop import train as run

        chosen = recipes.load(recipe, changes or ())
        with _shown(quiet) as report:
            done = run(chosen, data, out, workers=workers, cpu=cpu, report=report)
        if not quiet and os.environ.get("RANK", "0") == "0":
            typer.echo(f"{out}: {done.step} steps, best {chosen.best} {done.best:.4f} at step {done.best_step}")


@contextmanager
def _shown(quiet: bool) -> Iterator[Report | None]:
    """A bar while it runs, and a line for each validation."""
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("step"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def report(step: int, steps: int, row: dict[str, float] | None) -> None:
            bar.update(task, completed=step, total=steps)
            if row is not None:
                numbers = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
                console.print(numbers, soft_wrap=True)

        yield report

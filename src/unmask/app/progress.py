"""What commands share: their live lines, and options that are lists or the same everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

DETECTORS = (
    "Separated by commas: embedded, hub:..., paths of bundles, of run folders or of recipes (.yaml, trained first), "
    "spectrum (a power-spectrum baseline)."
)
Jobs = Annotated[int, typer.Option(min=1, help="Recipes trained in parallel, each in its own process.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads of each training; 0 = PyTorch default.")]
Cpu = Annotated[bool, typer.Option("--cpu", help="Train on the CPU.")]
Runs = Annotated[
    Path | None,
    typer.Option(help="Folder of the training runs, to share them between commands; default: OUT.", show_default=False),
]


class Live:
    """A live line on standard error, where that is a terminal; elsewhere a line for each training that begins."""

    def __init__(self, bar: Progress, quiet: bool) -> None:
        self.bar, self.quiet = bar, quiet
        self.crops = bar.add_task("scoring", total=None, unit="crops")
        self.trained = bar.add_task("training", total=1, visible=False, unit="steps")
        self.what = ""

    def __call__(self, what: str, crops: int) -> None:
        """What is scored, and how many crops more."""
        self.bar.update(self.trained, visible=False)
        self.bar.update(self.crops, description=what, advance=crops)

    def steps(self, what: str, done: int, of: int) -> None:
        """What is trained, and how many of how many steps are done."""
        if what != self.what:
            self.bar.reset(self.trained)
            if not self.quiet and not self.bar.console.is_terminal:
                self.bar.console.print(what, soft_wrap=True, highlight=False)
        self.what = what
        self.bar.update(self.trained, description=what, completed=done, total=of, visible=True)


@contextmanager
def scoring(quiet: bool) -> Iterator[Live]:
    """The live line of one command."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed:,} {task.fields[unit]}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        yield Live(bar, quiet)


def whole(text: str, option: str) -> tuple[int, ...]:
    """ "0,1" -> (0, 1)"""
    if not all(part.isdigit() for part in listed(text)):
        raise typer.BadParameter(f"{text!r} is no list of whole numbers, as 0,1,2", param_hint=option)
    return tuple(int(part) for part in listed(text))


@contextmanager
def counted(total: int, quiet: bool, what: str) -> Iterator[Callable[[int, int], None]]:
    """A live bar on standard error, where that is a terminal; called with how many are done, and how many failed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        task, failed = progress.add_task(what, total=total), [0]

        def step(rows: int, lost: int) -> None:
            failed[0] += lost
            progress.update(task, advance=rows, description=f"{failed[0]:,} with gaps" if failed[0] else what)

        yield step


def listed(text: str) -> tuple[str, ...]:
    """ "a, b,a" -> ("a", "b")"""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))

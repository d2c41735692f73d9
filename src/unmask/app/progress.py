"""What commands share: their live lines, and options that are lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def scoring(quiet: bool) -> Iterator[Callable[[str, int], None]]:
    """A live line on standard error, where that is a terminal; called with what is scored and how many crops more."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,} crops"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=None)

        def step(what: str, crops: int) -> None:
            bar.update(task, description=what, advance=crops)

        yield step


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

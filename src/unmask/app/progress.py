"""What the commands that score crops share: their live line, and options that are lists."""

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


def listed(text: str) -> tuple[str, ...]:
    """ "a, b,a" -> ("a", "b")"""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))

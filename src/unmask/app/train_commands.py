"""`unmask train`, `evaluate` and `export`: from a recipe to a run, to its numbers, to a bundle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.progress import listed, scoring

if TYPE_CHECKING:
    from unmask.bench.evaluate import Evaluation
    from unmask.measure.cells import Cell
    from unmask.train.loop import Report


class Runtime(StrEnum):
    """What runs an exported model."""

    onnx = "onnx"
    openvino = "openvino"


class Precision(StrEnum):
    """Of an exported model's weights."""

    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"


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
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write metrics for TensorBoard too, where it is installed.")
    ] = False,
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
            say = partial(typer.echo, err=True) if report else _silent
            done = run(chosen, data, out, workers=workers, cpu=cpu, tensorboard=tensorboard, report=report, say=say)
        if not quiet and os.environ.get("RANK", "0") == "0":
            typer.echo(f"{out}: {done.step} steps, best {chosen.best} {done.best:.4f} at step {done.best_step}")


def evaluate(
    detector: Annotated[str, typer.Argument(help="embedded, a bundle, hub:owner/name, or a run folder.")],
    manifest: Annotated[Path, typer.Argument(help="Manifest of faces.")],
    split: Annotated[str, typer.Option(help="Whose rows count, or all.")] = "test",
    by: Annotated[str, typer.Option(help="Also by each dataset, method, compression; separated by commas.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """How well a detector tells a manifest's faces apart: by frame and by video, with 95 % intervals over groups."""
    with errors_in_a_line():
        from unmask.bench.evaluate import evaluate as run

        with scoring(quiet) as progress:
            advance = partial(progress, "scoring")
            found = run(detector, manifest, split=split, by=listed(by), progress=advance)
        _print(found, json)


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of `unmask train`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle to write.")],
    data: Annotated[Path, typer.Option(help="The manifest it was trained with; validation rows calibrate.")] = Path(
        "faces.parquet"
    ),
    to: Annotated[Runtime, typer.Option(help="What it must run on; ONNX Runtime always.")] = Runtime.onnx,
    precision: Annotated[Precision, typer.Option(help="Of the weights.")] = Precision.fp32,
    bound: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Largest difference of P(fake).", show_default="by precision"),
    ] = None,
) -> None:
    """Make a bundle of a run's best weights, if it answers as the trained model does on real crops."""
    with errors_in_a_line():
        from unmask.exporting.bundle import export as make

        card, parity = make(run, data, out, runtime=to.value, precision=precision.value, bound=bound)
        typer.echo(
            f"{out}: {card.name}, {', '.join(card.files)}; P(fake) differs by at most {parity.worst:.2g} "
            f"(allowed {parity.bound:g}) on {parity.crops} crops, at batch 1 and 5, on {', '.join(parity.runtimes)}"
        )


def _print(found: Evaluation, as_json: bool) -> None:
    from dataclasses import asdict
    from json import dumps

    if as_json:
        told = [{"level": level, **asdict(c)} for level, c in found.cells]
        about: dict[str, Any] = {k: getattr(found, k) for k in ("detector", "data", "split", "rows", "failed")}
        typer.echo(dumps({**about, "interval": found.interval.model_dump(), "cells": told}, indent=1))
        return
    from rich.table import Table

    from unmask.app.console import stdout

    rows: dict[tuple[str, str], list[Cell]] = {}
    for level, c in found.cells:
        rows.setdefault((c.column, level), []).append(c)
    table = Table("part", "level", "real", "fake", "groups", *(c.metric for c in next(iter(rows.values()))))
    for (part, of), cells in rows.items():
        first = cells[0]
        table.add_row(part, of, str(first.real), str(first.fake), str(first.groups), *map(_number, cells))
    console = stdout()
    console.print(f"{found.detector} on {found.rows:,} rows, {found.failed:,} without a score; data {found.data}")
    console.print(table)


def _number(cell: Cell) -> str:
    if cell.value is None or cell.low is None or cell.high is None:
        return cell.why
    return f"{cell.value:.3f} ({cell.low:.2f}–{cell.high:.2f})"


def _silent(line: str) -> None:
    """Nothing is said."""


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

"""`unmask eval evaluate`: a detector's metrics on one manifest."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unmask.app.commands.attribution import show
from unmask.app.errors import errors_in_a_line
from unmask.app.progress import listed, scoring

if TYPE_CHECKING:
    from unmask.bench.evaluate import Evaluation
    from unmask.measure.cells import Cell


def evaluate(
    detector: Annotated[str, typer.Argument(help="embedded, a bundle, hub:owner/name, or a run folder.")],
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST", help="A faces.parquet of `unmask data extract`, or media of `unmask data index`."
        ),
    ],
    split: Annotated[str, typer.Option(help="Rows of this split; or all.")] = "test",
    by: Annotated[str, typer.Option(help="Also by dataset, method or compression; separated by commas.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Measure a detector on a manifest: by frame and by video, with 95 % intervals over leakage groups.

    A classifier without a class "real" is measured as `unmask eval attribution` does it.
    """
    with errors_in_a_line():
        from unmask.bench.attribution import evaluate_classes, tells_only_classes
        from unmask.bench.evaluate import evaluate as run

        with scoring(quiet) as progress:
            advance = partial(progress, "scoring")
            if tells_only_classes(detector):
                show(evaluate_classes(detector, manifest, split=split, progress=advance), json)
                return
            found = run(detector, manifest, split=split, by=listed(by), progress=advance)
        _print(found, json)


def _print(found: Evaluation, as_json: bool) -> None:
    from dataclasses import asdict
    from json import dumps

    from unmask.measure.coverage_matrix import EVALUATION

    if as_json:
        told = [{"level": level, **asdict(c)} for level, c in found.cells]
        about: dict[str, Any] = {"schema": EVALUATION} | {
            k: getattr(found, k) for k in ("detector", "data", "split", "rows", "failed")
        }
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

"""`unmask eval attribution`: which of several classes, with intervals, an open set and conformal sets."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.progress import scoring

if TYPE_CHECKING:
    from rich.table import Table

    from unmask.bench.attribution import Attribution
    from unmask.measure.interval import Interval

WIDEST = 12  # classes whose confusions fit a terminal


def attribution(
    detector: Annotated[
        str, typer.Argument(help="A bundle or a run folder of `task: classification`, or hub:owner/name.")
    ],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A faces.parquet of `unmask data extract`.")],
    split: Annotated[str, typer.Option(help="Rows of this split; or all.")] = "test",
    error_rate: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Of conformal sets: share of a class whose set may miss it.")
    ] = 0.1,
    json: Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Measure a classifier: generators, identities or attacks, by video, with 95 % intervals over leakage groups.

    Classes that it was not trained on count as unknown: the open set. Attacks are counted by ISO/IEC 30107-3, at a
    threshold from the validation rows.
    """
    with errors_in_a_line():
        from unmask.bench.attribution import evaluate_classes

        with scoring(quiet) as progress:
            advance = partial(progress, "scoring")
            found = evaluate_classes(detector, manifest, split=split, error_rate=error_rate, progress=advance)
        show(found, json)


def show(found: Attribution, as_json: bool) -> None:
    """Print what was measured."""
    from dataclasses import asdict
    from json import dumps

    from rich.table import Table

    from unmask.app.console import stdout

    if as_json:
        typer.echo(dumps(asdict(found) | {"interval": found.interval.model_dump()}, indent=1))
        return
    console = stdout()
    console.print(
        f"{found.detector} tells {len(found.classes)} classes apart by {found.kind}: {found.rows:,} crops of "
        f"{found.videos:,} videos or images, {found.groups:,} leakage groups; data {found.data}"
    )
    table = Table("number", "value", "rows", "note", box=None, pad_edge=False)
    for one in found.numbers:
        table.add_row(one.name, _words(one.found), f"{one.n:,}", one.note)
    console.print(table)
    console.print(_classes(found))


def _classes(found: Attribution) -> Table:
    from rich.table import Table

    wide = len(found.classes) <= WIDEST
    sets = ["in the set", "empty set", "set size"] if found.error_rate is not None else []
    called = [f"called {name}" for name in found.classes] if wide else []
    table = Table("class", "rows", "groups", "recall", *sets, *called, box=None, pad_edge=False)
    for one in found.by_class:
        name = one.name if one.known else f"{one.name} (unknown)"
        recall = _words(one.recall) if one.known else ""
        shares = [f"{one.covered:.2f}" if one.known else "", f"{one.empty:.2f}", f"{one.size:.2f}"] if sets else []
        table.add_row(name, f"{one.n:,}", f"{one.groups:,}", recall, *shares, *map(str, one.called if wide else ()))
    return table


def _words(found: Interval) -> str:
    return f"{found.value:.3f} ({found.low:.2f}–{found.high:.2f})"

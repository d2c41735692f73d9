"""`unmask coverage`: does a promised error rate hold on people whom the promise has never met?"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.progress import listed, scoring


def coverage(
    detector: Annotated[str, typer.Argument(help="embedded, the path of a bundle, or hub:owner/name@revision.")],
    data: Annotated[Path, typer.Option(help="Manifest of faces, with validation and test rows.", show_default=False)],
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this data set; may be repeated.", show_default=False)
    ] = None,
    level: Annotated[float, typer.Option(help="What is promised.", min=0.5, max=0.999)] = 0.9,
    within: Annotated[
        str, typer.Option(help="A promise within each of these: label, dataset, method, joined by commas; none = one.")
    ] = "label",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Fit conformal sets on validation rows and count on the test rows how often the truth is in them.

    One row for each image or video (mean margin of its crops). The exact interval takes them as independent; the other
    one draws whole leakage groups. "dealt": mean coverage when the groups of validation and test are mixed at random.
    """
    with errors_in_a_line():
        from dataclasses import asdict

        from rich.table import Table

        from unmask.app.console import stdout
        from unmask.bench.coverage import Wanted, run

        names = tuple(name for name in listed(within) if name != "none")
        with scoring(quiet) as progress:
            wanted = Wanted(detector, data, tuple(dataset or ()), names, level)
            found = run(wanted, lambda n: progress("scoring", n))
        if as_json:
            typer.echo(json.dumps(asdict(found), indent=1))
            return
        heads = ("test rows", "n", "groups", "coverage", "exact", "by group", "dealt", "both", "neither")
        table = Table(box=None, pad_edge=False)
        for head in heads:
            table.add_column(head, no_wrap=head != heads[0], justify="left" if head == heads[0] else "right")
        for row in found.rows:
            table.add_row(
                row.name,
                f"{row.n:,}",
                f"{row.groups:,}",
                f"{row.exact.value:.3f}",
                f"{row.exact.low:.3f}-{row.exact.high:.3f}",
                f"{row.grouped.low:.3f}-{row.grouped.high:.3f}",
                f"{row.dealt:.3f}",
                f"{row.both:.3f}",
                f"{row.neither:.3f}",
            )
        console = stdout()
        console.print(table)
        console.print(
            f"Promised {level:g}, within {', '.join(names) or 'all rows'}; fitted on {found.fitted:,} validation rows "
            f"of {found.fitted_groups:,} groups; {found.failed:,} media without a scored crop left out.",
            soft_wrap=True,
        )
        console.print(f"Data {found.data}; {found.name} {found.weights}.", soft_wrap=True)
        again = ["unmask", "coverage", detector, "--data", data.name, "--within", within, "--level", f"{level:g}"]
        again += [w for d in dataset or () for w in ("--dataset", d)]
        console.print("Rebuild: " + shlex.join(again), soft_wrap=True)

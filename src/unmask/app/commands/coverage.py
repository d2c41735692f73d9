"""`unmask eval coverage`: whether the coverage of conformal sets holds on unseen people."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.progress import listed, scoring


def coverage(
    detector: Annotated[str, typer.Argument(help="embedded, clip, the path of a bundle, or hub:owner/name@revision.")],
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="A faces.parquet with validation and test rows.")
    ],
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this data set; may be repeated.", show_default=False)
    ] = None,
    level: Annotated[float, typer.Option(help="Nominal coverage.", min=0.5, max=0.999)] = 0.9,
    conditional_on: Annotated[
        str, typer.Option(help="One set for each value of these: label, dataset, method, separated by commas; or none.")
    ] = "label",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Fit conformal sets on validation rows, and measure their coverage on test rows.

    One row is one image or video, with the mean logit of its crops. The exact interval takes rows as independent; the
    grouped one resamples leakage groups. "shuffled": mean coverage after mixing validation and test groups at random.
    """
    with errors_in_a_line():
        from dataclasses import asdict

        from rich.table import Table

        from unmask.app.console import stdout
        from unmask.bench.coverage import Wanted, run

        names = tuple(name for name in listed(conditional_on) if name != "none")
        with scoring(quiet) as progress:
            wanted = Wanted(detector, manifest, tuple(dataset or ()), names, level)
            found = run(wanted, lambda n: progress("scoring", n))
        if as_json:
            typer.echo(json.dumps(asdict(found), indent=1))
            return
        heads = ("test rows", "n", "groups", "coverage", "exact", "by group", "shuffled", "both", "neither")
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
            f"Nominal coverage {level:g}, conditional on {', '.join(names) or 'nothing'}; fitted on {found.fitted:,} "
            f"validation rows of {found.fitted_groups:,} groups; {found.failed:,} files have no scored crop.",
            soft_wrap=True,
        )
        console.print(f"Data {found.data}; {found.name} {found.weights}.", soft_wrap=True)
        again = ["unmask", "eval", "coverage", detector, manifest.name]
        again += ["--conditional-on", conditional_on, "--level", f"{level:g}"]
        again += [w for d in dataset or () for w in ("--dataset", d)]
        console.print("Rebuild: " + shlex.join(again), soft_wrap=True)

"""`unmask eval bench`, `protocols` and `compare`: tables of detectors by a protocol, and their comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.progress import DETECTORS, Cpu, Jobs, Runs, Threads, listed, scoring, whole


def bench(
    protocol: Annotated[
        str, typer.Argument(help="Name of a protocol (see `unmask eval protocols`), or the path of a YAML file.")
    ],
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST", help="A faces.parquet of `unmask data extract`, or media of `unmask data index`."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for tables.", show_default=False)],
    detectors: Annotated[str, typer.Option(help=DETECTORS)] = "embedded,spectrum",
    maps: Annotated[
        int, typer.Option(min=0, help="Also plot spectra and feature maps of so many crops of each kind; slow.")
    ] = 0,
    seeds: Annotated[
        str,
        typer.Option(
            help="Seeds to train each recipe with, as 0,1,2; default: the seed of the recipe.", show_default=False
        ),
    ] = "",
    jobs: Jobs = 1,
    threads: Threads = 0,
    cpu: Cpu = False,
    runs: Runs = None,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Plot ROC, DET, histograms ...")] = True,
    expect_data: Annotated[str, typer.Option(help="Stop if the data have another hash.")] = "",
    expect_bundle: Annotated[
        list[str] | None, typer.Option(help="Stop if a detector has another hash; once for each.", show_default=False)
    ] = None,
    expect_protocol: Annotated[str, typer.Option(help="Stop if the protocol has another hash.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no tables.")] = False,
) -> None:
    """Measure detectors by a protocol: tables with intervals, and the command that rebuilds them.

    Recipes are trained first, on the training rows of the protocol. Training runs and scores are stored in OUT under
    the hashes that they depend on: an interrupted command is resumable.
    """
    with errors_in_a_line():
        from unmask.app.console import stdout
        from unmask.bench.protocols import Wanted, run
        from unmask.bench.training import How
        from unmask.measure import tables
        from unmask.measure.protocol import load

        chosen = load(protocol)
        named = listed(detectors)
        if not named:
            raise typer.BadParameter("name at least one detector", param_hint="--detectors")
        with scoring(quiet) as progress:
            wanted = Wanted(
                protocol=chosen,
                called=protocol,
                detectors=named,
                data=manifest,
                out=out,
                seeds=whole(seeds, "--seeds"),
                how=How(jobs, threads, cpu),
                runs=runs,
                maps=maps,
                expect_data=expect_data,
                expect_bundles=tuple(expect_bundle or ()),
                expect_protocol=expect_protocol,
            )
            result, units = run(wanted, progress, progress.steps)
        tables.write(result, out)
        if plots:
            from unmask.measure.plots import draw

            draw(result, units, out)
        if not quiet:
            console = stdout()
            for table in tables.rich_tables(result):
                console.print(table)
            for note in result.notes():
                console.print(note)
            console.print(f"Rebuild: {result.rebuild}", soft_wrap=True)


def protocols() -> None:
    """List the protocols."""
    with errors_in_a_line():
        from unmask.measure.protocol import load, names

        for name in names():
            typer.echo(f"{name:22} {load(name).title}")


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Output folders of `unmask eval bench`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file.")] = Path("leaderboard.html"),
) -> None:
    """Put benchmark results into one HTML file: sortable tables and plots, readable offline."""
    with errors_in_a_line():
        from unmask.measure.leaderboard import leaderboard
        from unmask.output import write_text

        write_text(out, leaderboard(runs))
        typer.echo(f"{out}")

"""`unmask bench` and `unmask compare`: detectors measured by a protocol, and tables put side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.progress import DETECTORS, Cpu, Jobs, Runs, Threads, listed, scoring, whole


def bench(
    protocol: Annotated[str, typer.Argument(help="A protocol's name, or the path of a YAML file; `list` names them.")],
    detectors: Annotated[str, typer.Option(help=DETECTORS)] = "embedded,spectrum",
    data: Annotated[Path | None, typer.Option(help="Manifest of faces.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for tables.", show_default=False)] = None,
    maps: Annotated[
        int, typer.Option(min=0, help="Also draw spectra and feature maps, of so many crops of each kind; slow.")
    ] = 0,
    seeds: Annotated[
        str, typer.Option(help="Trainings of each recipe, as 0,1,2; else the one that it names.", show_default=False)
    ] = "",
    jobs: Jobs = 1,
    threads: Threads = 0,
    cpu: Cpu = False,
    runs: Runs = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw ROC, DET, histograms ...")] = True,
    expect_data: Annotated[str, typer.Option(help="Refuse data of another hash.")] = "",
    expect_bundle: Annotated[
        list[str] | None, typer.Option(help="Refuse another detector; once for each.", show_default=False)
    ] = None,
    expect_protocol: Annotated[str, typer.Option(help="Refuse a protocol of another hash.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no tables.")] = False,
) -> None:
    """Measure detectors by a protocol: tables with intervals, and the one command that gives them again.

    Recipes are trained first, on the protocol's training rows. Crops are scored once. Trainings and scores stay in OUT
    under the hashes that they depend on: a command that was stopped goes on where it was.
    """
    with errors_in_a_line():
        from unmask.measure.protocol import load, names

        if protocol == "list":
            for name in names():
                typer.echo(f"{name:22} {load(name).title}")
            return
        chosen = load(protocol)
        if data is None or out is None:
            raise typer.BadParameter("give --data FACES.parquet and -o FOLDER", param_hint="--data, --out")
        from unmask.app.console import stdout
        from unmask.bench.protocols import Wanted, run
        from unmask.bench.training import How
        from unmask.measure import tables

        named = listed(detectors)
        if not named:
            raise typer.BadParameter("name at least one detector", param_hint="--detectors")
        with scoring(quiet) as progress:
            wanted = Wanted(
                protocol=chosen,
                called=protocol,
                detectors=named,
                data=data,
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
        if pictures:
            from unmask.measure.plots import draw

            draw(result, units, out)
        if not quiet:
            console = stdout()
            for table in tables.rich_tables(result):
                console.print(table)
            for note in result.notes():
                console.print(note)
            console.print(f"Rebuild: {result.rebuild}", soft_wrap=True)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Output folders of `unmask bench`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file.")] = Path("leaderboard.html"),
) -> None:
    """Put bench results into one HTML file that needs no network: sortable tables, images inside."""
    with errors_in_a_line():
        from unmask.measure.leaderboard import leaderboard
        from unmask.output import write_text

        write_text(out, leaderboard(runs))
        typer.echo(f"{out}")

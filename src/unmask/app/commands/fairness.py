"""`unmask eval fairness`: whether a detector's errors differ between groups of people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.progress import DETECTORS, Cpu, Jobs, Runs, Threads, listed, scoring


def fairness(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="A faces.parquet whose rows have demographic attributes.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for tables and scores.")],
    by: Annotated[
        str, typer.Option(help="Attributes, separated by commas: sex, age, race, skin, light ...; sex*race = both.")
    ] = "sex,age,race",
    detectors: Annotated[str, typer.Option(help=DETECTORS)] = "embedded",
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this data set; may be repeated.", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="Rows of this split.")] = "test",
    at: Annotated[float, typer.Option(min=0.001, max=0.5, help="False-positive rate that sets the threshold.")] = 0.05,
    least: Annotated[int, typer.Option("--min", min=1, help="Fewest leakage groups of each class in a subgroup.")] = 30,
    policies: Annotated[
        str, typer.Option(help="Thresholds: half, one, worst-fpr, equal-fpr, equal-tpr.")
    ] = "half,one,worst-fpr,equal-fpr",
    stratify: Annotated[
        str, typer.Option(help="Compare within each value of these attributes: light, method ...")
    ] = "",
    rounds: Annotated[int, typer.Option(min=100, max=100_000, help="Bootstrap resamples of leakage groups.")] = 1000,
    jobs: Jobs = 1,
    threads: Threads = 0,
    cpu: Cpu = False,
    runs: Runs = None,
    expect_data: Annotated[str, typer.Option(help="Stop if the data have another hash.")] = "",
    expect_bundle: Annotated[
        list[str] | None, typer.Option(help="Stop if a detector has another hash; once for each.", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no verdicts.")] = False,
) -> None:
    """Compare error rates between groups of people: gaps, their significance, and the cost of each threshold policy.

    A data set without forgeries has false positives only; the table says so.
    """
    with errors_in_a_line():
        from unmask.app.console import stdout
        from unmask.bench.fairness import Wanted, run
        from unmask.bench.training import How
        from unmask.measure.fairness_tables import verdict, write
        from unmask.measure.policies import POLICIES

        asked = listed(policies)
        if unknown := [p for p in asked if p not in POLICIES]:
            raise typer.BadParameter(
                f"no policy {unknown[0]!r}; there are {', '.join(POLICIES)}", param_hint="--policies"
            )
        with scoring(quiet) as progress:
            wanted = Wanted(
                data=manifest,
                detectors=listed(detectors),
                out=out,
                by=listed(by),
                datasets=tuple(dataset or ()),
                split=split,
                at=at,
                least=least,
                policies=tuple(p for p in POLICIES if p in asked),
                within=stratify,
                rounds=rounds,
                how=How(jobs, threads, cpu),
                runs=runs,
                expect_data=expect_data,
                expect_bundles=tuple(expect_bundle or ()),
            )
            found = run(wanted, progress, progress.steps)
        write(found, out)
        if not quiet:
            console = stdout()
            for part in found.parts:
                console.print(f"{part.dataset}, {part.audit.by}, {part.detector}, {part.policy}: {verdict(part)}")
            console.print(f"Tables: {out}", soft_wrap=True)
            console.print(f"Rebuild: {found.rebuild}", soft_wrap=True)

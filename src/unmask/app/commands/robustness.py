"""`unmask eval robustness`: detectors under corruptions of five severities."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.progress import DETECTORS, Cpu, Jobs, Runs, Threads, listed, scoring


class Boxes(StrEnum):
    """Where the faces of corrupted frames come from."""

    reuse = "reuse"
    redetect = "redetect"


def robustness(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A faces.parquet of `unmask data extract`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for tables, curves and scores.")],
    detectors: Annotated[str, typer.Option(help=DETECTORS)] = "embedded,spectrum",
    preset: Annotated[
        str, typer.Option(help="deeperforensics-v1, imaginet-social-v1 or net-v1.")
    ] = "deeperforensics-v1",
    boxes: Annotated[
        Boxes, typer.Option(help="reuse the faces of the clean frame, or redetect them in the corrupted one.")
    ] = Boxes.reuse,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this data set; may be repeated.", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="Rows of this split.")] = "test",
    items: Annotated[int, typer.Option(min=0, help="At most so many files of a data set; 0 = all.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random corruptions.")] = 0,
    rounds: Annotated[int, typer.Option(min=100, max=100_000, help="Bootstrap resamples of leakage groups.")] = 1000,
    jobs: Jobs = 1,
    threads: Threads = 0,
    cpu: Cpu = False,
    runs: Runs = None,
    expect_data: Annotated[str, typer.Option(help="Stop if the data have another hash.")] = "",
    expect_bundle: Annotated[
        list[str] | None, typer.Option(help="Stop if a detector has another hash; once for each.", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> None:
    """Measure detectors under corruptions of five severities.

    Files are corrupted before the face is cropped. Scores are stored in OUT/scores: an interrupted run is resumable.
    """
    with errors_in_a_line():
        from unmask.app.console import stdout
        from unmask.bench.robustness import Wanted, numbers, run
        from unmask.bench.training import How
        from unmask.measure import robustness_tables
        from unmask.measure.plots import severity

        named = listed(detectors)
        if not named:
            raise typer.BadParameter("name at least one detector", param_hint="--detectors")
        with scoring(quiet) as progress:
            wanted = Wanted(
                data=manifest,
                detectors=named,
                out=out,
                preset=preset,
                boxes=boxes.value,
                datasets=tuple(dataset or ()),
                split=split,
                items=items,
                seed=seed,
                rounds=rounds,
                how=How(jobs, threads, cpu),
                runs=runs,
                expect_data=expect_data,
                expect_bundles=tuple(expect_bundle or ()),
            )
            found = run(wanted, progress, progress.steps)
        robustness_tables.write(found, out)
        for i, of in enumerate(dict.fromkeys(s.numbers[0].dataset for s in found.suites)):
            rows = [n for n in numbers(found, of) if n.metric == "end_to_end"]
            if any(n.value == n.value for n in rows):
                severity(rows, "end_to_end", f"{of}, boxes: {boxes.value}", out / f"severity-{i}")
        if not quiet:
            console = stdout()
            for note in found.notes():
                console.print(note)
            console.print(f"Tables and curves: {out}", soft_wrap=True)
            console.print(f"Rebuild: {found.rebuild}", soft_wrap=True)

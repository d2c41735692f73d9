"""`unmask stress`: files corrupted in five levels, and how far detectors fall."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.progress import DETECTORS, Cpu, Jobs, Runs, Threads, listed, scoring


class Boxes(StrEnum):
    """Where faces of corrupted frames come from."""

    reuse = "reuse"
    redetect = "redetect"


def stress(
    faces: Annotated[Path, typer.Argument(metavar="FACES", help="faces.parquet of `unmask faces`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for tables, curves and scores.")],
    detectors: Annotated[str, typer.Option(help=DETECTORS)] = "embedded,spectrum",
    preset: Annotated[
        str, typer.Option(help="deeperforensics-v1, imaginet-social-v1 or net-v1.")
    ] = "deeperforensics-v1",
    boxes: Annotated[
        Boxes, typer.Option(help="reuse the clean frame's faces, or redetect them in the corrupted one.")
    ] = Boxes.reuse,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this data set; may be repeated.", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="Rows of this split.")] = "test",
    items: Annotated[int, typer.Option(min=0, help="At most so many media of a data set; 0 = all.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of what the corruption draws.")] = 0,
    rounds: Annotated[int, typer.Option(min=100, max=100_000, help="Resamples of leakage groups.")] = 1000,
    jobs: Jobs = 1,
    threads: Threads = 0,
    cpu: Cpu = False,
    runs: Runs = None,
    expect_data: Annotated[str, typer.Option(help="Refuse data of another hash.")] = "",
    expect_bundle: Annotated[
        list[str] | None, typer.Option(help="Refuse another detector; once for each.", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> None:
    """Corruption the files behind a manifest of faces in five levels, and measure detectors on them.

    The corruption comes before the face is cut. Scores stay in OUT/scores: a run that was stopped goes on where it was.
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
                data=faces,
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

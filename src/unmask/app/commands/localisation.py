"""`unmask eval localisation`: whether an explanation points at the forged pixels."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.progress import scoring


def localisation(
    detector: Annotated[str, typer.Argument(help="embedded, a bundle, or hub:owner/name.")],
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="A faces.parquet whose forgeries have masks (`--mask`, forge).")
    ],
    explainer: Annotated[str, typer.Option(help="An explanation that `unmask methods` lists.")] = "occlusion",
    split: Annotated[str, typer.Option(help="Forgeries of this split; or all.")] = "test",
    most: Annotated[int, typer.Option(min=1, help="At most so many of them, evenly.")] = 200,
    json: Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Hold heat maps of forgeries against their masks: AUROC over pixels, IoU and F1, with 95 % intervals.

    A map that always points at the middle stands beside it: what an explanation has to beat.
    """
    with errors_in_a_line():
        from dataclasses import asdict
        from json import dumps

        from unmask.bench.localisation import run

        with scoring(quiet) as progress:
            advance = partial(progress, "explaining")
            found = run(detector, manifest, explainer=explainer, split=split, most=most, progress=advance)
        if json:
            typer.echo(dumps(asdict(found), indent=1))
            return
        typer.echo(
            f"{found.explainer} of {found.detector} on {found.images:,} forgeries with a mask, "
            f"{found.groups:,} leakage groups; data {found.data}"
        )
        names = {"pixels": "AUROC over pixels", "centre": "  of the middle", "iou": "IoU", "f1": "F1"}
        for name, title in names.items():
            one = getattr(found, name)
            typer.echo(f"{title:18} {one.value:.3f} ({one.low:.2f}–{one.high:.2f})")

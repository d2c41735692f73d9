"""`unmask eval verify`: whether an encoder tells whose faces two images show."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.progress import scoring

if TYPE_CHECKING:
    from unmask.bench.verify import Verification
    from unmask.measure.interval import Interval


def verify(
    encoder: Annotated[
        str, typer.Argument(help="An embedding bundle, an ONNX file, or a run folder of a pre-training objective.")
    ],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A faces.parquet with identities.")],
    pairs: Annotated[
        Path | None, typer.Option(help="LFW's pairs.txt; default: ten folds of disjoint people.", show_default=False)
    ] = None,
    margin: Annotated[float, typer.Option(min=0.1, max=4, help="Of an ONNX file: the crop that it takes.")] = 1.0,
    template: Annotated[str, typer.Option(help="Of an ONNX file: gend5 or arcface5.")] = "arcface5",
    mean: Annotated[float, typer.Option(help="Of an ONNX file: subtracted from pixels in 0..1.")] = 0.5,
    std: Annotated[float, typer.Option(help="Of an ONNX file: they are then divided by it.")] = 128 / 255,
    flip: Annotated[bool, typer.Option("--flip", help="Embed the mirrored image too.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds, without --pairs.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Verify pairs of faces by LFW's protocol: accuracy, VAL at a false accept rate, and the rate that came about.

    Each fold is scored at the threshold of the other nine. Raw pixels stand beside it as the baseline.
    """
    with errors_in_a_line():
        from unmask.bench.verify import run
        from unmask.types import InputSpec

        bare = InputSpec(size=112, margin=margin, template=template, mean=(mean,) * 3, std=(std,) * 3)
        with scoring(quiet) as progress:
            advance = partial(progress, "embedding")
            found = run(encoder, manifest, pairs=pairs, bare=bare, flip=flip, seed=seed, progress=advance)
        _print(found, json)


def _print(found: Verification, as_json: bool) -> None:
    from dataclasses import asdict
    from json import dumps

    from rich.table import Table

    from unmask.app.console import stdout

    if as_json:
        typer.echo(dumps(asdict(found), indent=1))
        return
    console = stdout()
    console.print(
        f"{found.images:,} images of {found.people:,} people; {found.same:,} pairs of one person, "
        f"{found.different:,} of two, {found.folds} folds ({found.protocol}); data {found.data}"
    )
    columns = [f"VAL at FAR {v.target:g}, realised" for v in found.found[0].vals]
    table = Table("encoder", "accuracy", *columns, "AUROC", "EER", box=None, pad_edge=False)
    for one in found.found:
        vals = [f"{_words(v.val)}, {_words(v.realised, 4)}: {v.accepted} pairs" for v in one.vals]
        table.add_row(one.name, _words(one.accuracy), *vals, f"{one.auroc:.4f}", f"{one.eer:.4f}")
    console.print(table)
    console.print("Intervals of 95 %: over folds by Student's t, of the realised FAR exact.")


def _words(found: Interval, digits: int = 3) -> str:
    return f"{found.value:.{digits}f} ({found.low:.{digits}f}–{found.high:.{digits}f})"

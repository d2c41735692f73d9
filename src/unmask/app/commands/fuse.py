"""`unmask eval fuse`: several detectors, and score files of others, as one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.progress import listed, scoring

if TYPE_CHECKING:
    from unmask.bench.fusion import Found
    from unmask.measure.interval import Interval


def fuse(
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST", help="A faces.parquet of `unmask data extract`, or media of `unmask data index`."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the fusion to this JSON file.", show_default=False)
    ] = None,
    detectors: Annotated[
        str, typer.Option(help="Separated by commas: embedded, clip, hub:..., paths of bundles or run folders.")
    ] = "",
    scores: Annotated[
        list[Path] | None,
        typer.Option(
            help="CSV file of scores: item_id, media_id or file; and logit, probability or score. May be repeated.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Rows of this split; or all.")] = "test",
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this data set; may be repeated.", show_default=False)
    ] = None,
    folds: Annotated[int, typer.Option(min=2, max=50, help="Parts that leakage groups are dealt to.")] = 5,
    unseen_methods: Annotated[
        bool, typer.Option("--unseen-methods", help="Score each forgery by weights that have not met its method.")
    ] = False,
    use: Annotated[
        Path | None, typer.Option(help="Test this fusion on other people; fit none.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Fuse detectors by logistic regression on their logits, each row scored by weights of other leakage groups.

    Refuses rows that a detector was trained or calibrated on, and groups on both sides. What the detector of a score
    file has learnt from is not known here.
    """
    with errors_in_a_line():
        from unmask.bench.fusion import Wanted, run
        from unmask.output import write_text

        given = tuple(dataset or ())
        wanted = Wanted(manifest, listed(detectors), tuple(scores or ()), split, given, folds, unseen_methods, use)
        with scoring(quiet) as progress:
            found = run(wanted, progress)
        if out is not None:
            write_text(out, found.file.model_dump_json(by_alias=True, indent=1) + "\n")
        _print(found, as_json)


def _print(found: Found, as_json: bool) -> None:
    from dataclasses import asdict
    from json import dumps

    if as_json:
        told: dict[str, Any] = asdict(found) | {"file": found.file.model_dump(by_alias=True, mode="json")}
        typer.echo(dumps(told, indent=1))
        return
    from rich.table import Table

    from unmask.app.console import stdout

    table = Table("column", "weight", "AUROC", "log loss", "Cllr", box=None, pad_edge=False)
    for r in found.rows:
        weight = "" if r.weight is None else f"{r.weight:.3f}"
        table.add_row(r.name, weight, *map(_number, (r.auroc, r.log_loss, r.cllr)))
    console = stdout()
    console.print(table)
    lost = f"; {found.left_out:,} more lack a score in some column" if found.left_out else ""
    lost += "".join(f"; {n:,} ids of {name} are not in these rows" for name, n in found.unmatched.items() if n)
    console.print(f"{found.real:,} real, {found.fake:,} fake, {found.groups:,} leakage groups{lost}.", soft_wrap=True)
    g = found.gain
    console.print(
        f"AUROC of the fusion minus {found.best}: {g.value:+.3f} ({g.low:+.3f} to {g.high:+.3f}), the same resamples.",
        soft_wrap=True,
    )
    console.print(f"Data {found.file.data}. Rebuild: {found.file.rebuild}", soft_wrap=True)


def _number(i: Interval) -> str:
    return f"{i.value:.3f} ({i.low:.3f}–{i.high:.3f})"

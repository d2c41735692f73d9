"""`unmask report-wrong` and `unmask eval regressions`: wrong verdicts as anonymous rows, and what a release makes of
them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line


class Truth(StrEnum):
    """What a file is."""

    real = "real"
    fake = "fake"


def report_wrong(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Images or videos.")],
    truth: Annotated[Truth, typer.Option(help="What they are.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Add the rows to this file.", show_default="standard output")
    ] = None,
    detector: Annotated[str, typer.Option(help="As in `unmask scan`.")] = "embedded",
    also_right: Annotated[
        bool, typer.Option("--also-right", help="Also rows of right verdicts: for a later release on the same files.")
    ] = False,
) -> None:
    """Write wrong verdicts as anonymous rows: a hash, numbers and what is true; no pixels, names or metadata.

    Nothing is sent anywhere: the rows are yours to pass on. Whoever has the same file can tell by its hash that it was
    reported.
    """
    with errors_in_a_line():
        from unmask._version import __version__
        from unmask.output import write_text
        from unmask.scanning import scan
        from unmask.scanning.wrong import lines, read, row_of

        report = scan(files, detector=detector)
        rows = [row_of(file, "real" if truth is Truth.real else "fake", __version__) for file in report.files]
        kept = [row for row in rows if also_right or not row.right]
        if len(kept) < len(rows):
            typer.echo(f"{len(rows) - len(kept)} of {len(rows)} verdicts are right: no row (--also-right)", err=True)
        if out is None:
            typer.echo(lines(kept), nl=False)
        else:
            write_text(out, lines([*(read(out) if out.exists() else ()), *kept]))


def regressions(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="Rows of `unmask report-wrong` by one release.")],
    new: Annotated[
        Path, typer.Argument(metavar="NEW", help="Rows of the same files by another, made with --also-right.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two releases on reported files: won, lost, and McNemar's exact p-value.

    Exit code 1 where the new release loses more files than it wins. A release that was only asked about files that the
    old one got wrong cannot lose: report right verdicts too.
    """
    with errors_in_a_line():
        import json

        from unmask.measure.mcnemar import mcnemar
        from unmask.scanning.wrong import compared, read

        both, won, lost, neither = compared(read(old), read(new))
        p = mcnemar(won, lost)
        if as_json:
            found = {"both_right": both, "won": won, "lost": lost, "both_wrong": neither, "p": p}
            typer.echo(json.dumps(found))
        else:
            count = both + won + lost + neither
            typer.echo(
                f"{count} files: {won} won, {lost} lost, {both} right and {neither} wrong in both; "
                f"McNemar's exact p = {p:.3g}"
            )
    if lost > won:
        raise typer.Exit(1)

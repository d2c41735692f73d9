"""`unmask eval map`: what was measured, by kind of forgery and kind of evidence."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line


def coverage_map(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT...", help="Files of `evaluate --by method --json`, or output folders of `bench`."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The Markdown file.")],
    place: Annotated[
        list[str] | None,
        typer.Option(
            help="A forgery method or data set and its row, as my_swap=G1; may be repeated.", show_default=False
        ),
    ] = None,
    evidence: Annotated[
        list[str] | None,
        typer.Option(help="A detector and its column, as my-run=D2; may be repeated.", show_default=False),
    ] = None,
) -> None:
    """Make the matrix of generation families and kinds of evidence from result files.

    A cell without a result is "untested" or "out of scope"; no cell can be filled by hand.
    """
    with errors_in_a_line():
        from unmask.measure.coverage_matrix import markdown, matrix, read
        from unmask.output import write_text

        figures = [figure for path in results for figure in read(path)]
        made, detectors = _pairs(place, "--place"), _pairs(evidence, "--evidence")
        found = matrix(figures, made, detectors)
        again = ["unmask", "eval", "map", *(str(path) for path in results)]
        again += [word for text in place or () for word in ("--place", text)]
        again += [word for text in evidence or () for word in ("--evidence", text)]
        write_text(out, markdown(found, shlex.join([*again, "-o", str(out)])))
        said = f"{len(figures) - len(found.unplaced)} figures in {len(found.cells)} cells"
        typer.echo(f"{out}: {said}, {len(found.unplaced)} in none")


def _pairs(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in texts or ():
        name, sign, code = text.rpartition("=")
        if not (name and sign and code):
            raise typer.BadParameter(f"{text!r} is not of the form NAME=CODE", param_hint=option)
        pairs[name] = code
    return pairs

"""`unmask eval retrieval`, `zero-shot` and `sts`: image and text encoders, without further training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unmask.app.errors import errors_in_a_line

if TYPE_CHECKING:
    from unmask.bench.image_text import Result

Source = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="A run folder, what `unmask export` made of one, or a folder in transformers' layout."
    ),
]
Rows = Annotated[Path, typer.Argument(metavar="MANIFEST", help="Of images with captions, faces, or sentences.")]
Split = Annotated[str, typer.Option(help="Rows of this split; or all.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")]


def retrieval(model: Source, manifest: Rows, split: Split = "test", json: Json = False) -> None:
    """Find captions of images and images of captions: R@1, 5, 10; any of an image's captions is a hit."""
    with errors_in_a_line():
        from unmask.bench.image_text import evaluate_retrieval, open_model

        _print(evaluate_retrieval(open_model(model), manifest, split=split), json)


def sts(model: Source, manifest: Rows, split: Split = "test", json: Json = False) -> None:
    """Compare similarities of sentences with people's: Spearman, also with length and shared words taken out."""
    with errors_in_a_line():
        from unmask.bench.image_text import evaluate_similarity, open_model

        _print(evaluate_similarity(open_model(model), manifest, split=split), json)


def zero_shot(
    model: Source,
    manifest: Rows,
    prompts: Annotated[Path, typer.Option(help='JSON: {"class": ["a photo of a cat", ...]}.')],
    column: Annotated[str, typer.Option(help="Column of the classes: label, method, identity, extra.name.")] = "label",
    split: Split = "test",
    json: Json = False,
) -> None:
    """Classify images by sentences about the classes."""
    with errors_in_a_line():
        from unmask.bench.image_text import evaluate_zero_shot, open_model, read_prompts

        _print(evaluate_zero_shot(open_model(model), manifest, read_prompts(prompts), column, split=split), json)


def _print(found: Result, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict
        from json import dumps

        typer.echo(dumps(asdict(found), indent=1))
        return
    from rich.table import Table

    from unmask.app.console import stdout

    table = Table("number", "value", "95 %")
    for name, of in found.numbers.items():
        table.add_row(name, f"{of.value:.3f}", f"{of.low:.3f}–{of.high:.3f}")
    for name, value in found.plain.items():
        table.add_row(name, f"{value:g}" if value == int(value) else f"{value:.3f}", "")
    console = stdout()
    console.print(f"{found.model} on {found.rows:,} rows of {found.split}; data {found.data}")
    console.print(table)

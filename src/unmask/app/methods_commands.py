"""`unmask methods`: what can be trained, read from the files of the methods without importing them."""

from __future__ import annotations

from typing import Annotated

import typer


def methods(
    name: Annotated[str | None, typer.Argument(help="One method, in full.", show_default=False)] = None,
) -> None:
    """List the methods that can be trained, or say what is known of one."""
    from unmask.app.errors import errors_in_a_line

    with errors_in_a_line():
        from rich.console import Console
        from rich.table import Table

        from unmask.detectors import family

        console = Console(highlight=False, markup=False)
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=name is None)
        if name is not None:
            for field, text in family.card(name).model_dump().items():
                table.add_row(field, text)
        else:
            for column in ("name", "title", "task", "paper"):
                table.add_column(column, overflow="fold")
            for each in family.names():
                card = family.card(each)
                table.add_row(each, card.title, card.task, card.paper)
        console.print(table)

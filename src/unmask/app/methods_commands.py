"""`unmask methods`: what can be trained and forged, read from the files of the methods without importing them."""

from __future__ import annotations

from typing import Annotated

import typer


def methods(
    name: Annotated[str | None, typer.Argument(help="One method, in full.", show_default=False)] = None,
) -> None:
    """List the detectors that can be trained and the generators that forge for them, or say what is known of one."""
    from unmask.app.errors import errors_in_a_line

    with errors_in_a_line():
        from rich.console import Console
        from rich.table import Table

        from unmask import detectors, generators
        from unmask.nouns import UnmaskError
        from unmask.registry import nearest

        console = Console(highlight=False, markup=False)
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=name is None)
        families = {"detector": detectors.family, "generator": generators.family}
        if name is not None:
            kinds = [kind for kind, family in families.items() if name in family.names()]
            if not kinds:
                known = [each for family in families.values() for each in family.names()]
                raise UnmaskError(f"no method {name!r}; {nearest(name, known)}")
            for kind in kinds:  # one paper may be both
                table.add_row("kind", kind)
                for field, text in families[kind].card(name).model_dump().items():
                    table.add_row(field, text)
        else:
            for column in ("name", "kind", "title", "task", "paper"):
                table.add_column(column, overflow="fold")
            for kind, family in families.items():
                for each in family.names():
                    card = family.card(each)
                    table.add_row(each, kind, card.title, card.task, card.paper)
        console.print(table)

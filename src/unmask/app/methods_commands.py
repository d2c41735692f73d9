"""`unmask methods`: what can be trained and forged, read from the files of the methods without importing them."""

from __future__ import annotations

from typing import Annotated

import typer


def methods(
    name: Annotated[str | None, typer.Argument(help="One method alone.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the detectors that can be trained and the generators that forge for them: whose, and what is verified."""
    from unmask.app.errors import errors_in_a_line

    with errors_in_a_line():
        from rich.table import Table

        from unmask import detectors, generators
        from unmask.app.console import stdout
        from unmask.registry import nearest
        from unmask.types import UnmaskError

        families = {"detector": detectors.family, "generator": generators.family}
        known = [(kind, each) for kind, family in families.items() for each in family.names()]
        shown = [(kind, each) for kind, each in known if name in (None, each)]  # one paper may be both
        if not shown:
            raise UnmaskError(f"no method {name!r}; {nearest(str(name), [each for _, each in known])}")
        console = stdout()
        if as_json:
            cards = [{"name": n, "kind": k, **families[k].card(n).model_dump()} for k, n in shown]
            console.print_json(data=cards)
            return
        for kind in families:
            table = Table(f"{kind}s", "", box=None, padding=(0, 2, 1, 0))
            for each in [n for k, n in shown if k == kind]:
                card = families[kind].card(each)
                about = f"{card.title}\n{card.task}\n{card.paper}\nlicence: {card.licence}\nverified: {card.verified}"
                table.add_row(f"[bold]{each}[/]", about.replace("[", "\\["), end_section=True)
            if table.rows:
                console.print(table)

"""`unmask methods`: every method of every family, read from the files of the methods without importing them."""

from __future__ import annotations

from typing import Annotated

import typer


def methods(
    name: Annotated[str | None, typer.Argument(help="One method alone.", show_default=False)] = None,
    kind: Annotated[
        str | None, typer.Option(help="detector, objective, attack, explainer, generator or decoder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the methods by family: title, paper, licence, and what was verified."""
    from unmask.app.errors import errors_in_a_line

    with errors_in_a_line():
        from rich.table import Table

        from unmask.app.console import stdout
        from unmask.errors import UnknownMethodError
        from unmask.registry import FAMILIES, card, names, nearest

        known = [(each, n) for each in ([kind] if kind else FAMILIES) for n in names(each)]
        shown = [(each, n) for each, n in known if name in (None, n)]  # one paper may be in two families
        if not shown:
            raise UnknownMethodError(f"no method {name!r}; {nearest(str(name), [n for _, n in known])}")
        console = stdout()
        if as_json:
            console.print_json(data=[{"name": n, "kind": k, **card(k, n).model_dump()} for k, n in shown])
            return
        for each in dict.fromkeys(k for k, _ in shown):
            table = Table(f"{each}s", "", box=None, padding=(0, 2, 1, 0))
            for n in [n for k, n in shown if k == each]:
                of = card(each, n)
                needs = f"\nneeds: unmask[{','.join(of.needs)}]" if of.needs else ""
                said = f"{of.title}\n{of.task}{_answers(each, of.answers)}\n{of.paper}"
                about = f"{said}\nlicence: {of.licence}\nverified: {of.verified}{needs}"
                table.add_row(f"[bold]{n}[/]", about.replace("[", "\\["), end_section=True)
            console.print(table)


def _answers(kind: str, questions: tuple[str, ...]) -> str:
    """The questions of a scan that a detector can answer, faces being what most look at."""
    words = {"face": "Is a face forged?", "whole": "Was it generated as a whole?"}
    asked = questions or (("face",) if kind == "detector" else ())
    return f"\nanswers: {' or '.join(words[one] for one in asked)}" if asked else ""

"""`unmask attack`: how little it takes until a detector passes a forgery as real."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.progress import listed, scoring


def attack(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="embedded, hub:..., or the folder of a bundle.")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A faces.parquet of `unmask data extract`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for tables and pictures.")],
    attacks: Annotated[
        str, typer.Option("--with", help="Attacks, separated by commas; see `unmask methods --kind attack`.")
    ] = "pgd,square,post_processing",
    budget: Annotated[
        str, typer.Option(help="Budgets as 1/255,2/255, for all attacks; default: the usual ones of each.")
    ] = "",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of an attack, as pgd.steps=20; may be repeated.", show_default=False),
    ] = None,
    runtime: Annotated[str, typer.Option(help="Runs the bundle: auto, onnx, openvino or torch.")] = "auto",
    by: Annotated[str, typer.Option(help="Column whose values get rows of their own; '' for none.")] = "dataset",
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this data set; may be repeated.", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="Rows of this split; '' for all.")] = "test",
    items: Annotated[int, typer.Option(min=0, help="At most so many crops of each class of a data set; 0 = all.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what attacks draw.")] = 0,
    rounds: Annotated[int, typer.Option(min=100, max=100_000, help="Bootstrap resamples of leakage groups.")] = 1000,
    save: Annotated[bool, typer.Option("--save", help="Keep every attacked image, marked and labelled.")] = False,
    expect_data: Annotated[str, typer.Option(help="Stop if the data have another hash.")] = "",
    expect_bundle: Annotated[str, typer.Option(help="Stop if the detector has another hash.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.")] = False,
) -> None:
    """Attack a detector of your own and measure what it withstands.

    Fakes are changed within a budget until the detector calls them real. Attacks that need gradients use the bundle's
    PyTorch weights, the others its runtime; every number is of images as an 8-bit file holds them.
    """
    with errors_in_a_line():
        from unmask.app.console import stdout
        from unmask.bench.red_team import Wanted, run
        from unmask.measure import red_team

        named = listed(attacks)
        if not named:
            raise typer.BadParameter("name at least one attack", param_hint="--with")
        with scoring(quiet) as progress:
            wanted = Wanted(
                bundle=bundle,
                data=manifest,
                out=out,
                attacks=named,
                settings=_settings(setting or [], named),
                budgets=listed(budget),
                runtime=runtime,
                by=by,
                datasets=tuple(dataset or ()),
                split=split,
                items=items,
                seed=seed,
                rounds=rounds,
                save=save,
                expect_data=expect_data,
                expect_bundle=expect_bundle,
            )
            found = run(wanted, progress)
        red_team.write(found, out)
        if not quiet:
            from rich.table import Table

            console, table = stdout(), Table(*red_team.HEAD, box=None, padding=(0, 2, 0, 0))
            for row in found.rows:
                table.add_row(*(cell.replace("[", "\\[") for cell in red_team.cells(row, found.units[row.attack])))
            console.print(table)
            for note in found.notes():
                console.print(note, soft_wrap=True)
            console.print(f"Tables and pictures: {out}", soft_wrap=True)
            console.print(f"Rebuild: {found.rebuild}", soft_wrap=True)


def _settings(words: list[str], named: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """["pgd.steps=20"] -> {"pgd": {"steps": 20}}"""
    import yaml

    found: dict[str, dict[str, Any]] = {}
    for word in words:
        place, is_set, value = word.partition("=")
        name, dot, option = place.partition(".")
        if not (is_set and dot and option and name in named):
            raise typer.BadParameter(f"{word!r} is not as pgd.steps=20, for an attack of --with", param_hint="--set")
        try:
            found.setdefault(name, {})[option] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise typer.BadParameter(f"the value of {word!r} cannot be read", param_hint="--set") from None
    return found

"""The command line. Each command is a function in `commands/`; here they get their names, groups and panels.

    unmask scan | explain | report-wrong | serve | info | pull | schema
    unmask report  key | sign | verify
    unmask identity enrol | check | list | show | remove
    unmask data    index | list | card | extract | forge | verify-synthetic | scenes | tokeniser | poison | show | check
                   split | join | filter
    unmask train | export | import | methods
    unmask attack
    unmask eval    evaluate | bench | protocols | robustness | fairness | coverage | map | invariance | fuse
                   certify | explain | attribution | verify | localisation | retrieval | zero-shot | sts
                   compare | regressions

A new command is a function in a file of `commands/` and one line below.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unmask._version import __version__
from unmask.app import errors
from unmask.app.commands import (
    attack,
    attribution,
    bench,
    certify,
    coverage,
    coverage_map,
    data,
    evaluate,
    explain,
    explaining,
    extract,
    fairness,
    forge,
    fuse,
    identity,
    image_text,
    importing,
    info,
    invariance,
    localisation,
    methods,
    robustness,
    scan,
    serve,
    signed,
    train,
    verify,
    wrong,
)

PANELS = SCAN, DATA, TRAIN, EVALUATE = "Scan", "Data", "Train", "Evaluate"


class _ByPanel(TyperGroup):
    """Typer lists all commands before all groups; here the help follows PANELS."""

    def list_commands(self, ctx: Any) -> list[str]:
        panel = {name: getattr(command, "rich_help_panel", None) for name, command in self.commands.items()}
        return sorted(panel, key=lambda name: PANELS.index(panel[name]) if panel[name] in PANELS else len(PANELS))


def _group(name: str, about: str) -> typer.Typer:
    settings: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
    return typer.Typer(
        name=name,
        help=about,
        cls=_ByPanel,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings=settings,
    )


app = _group("unmask", "Detect deepfakes and synthetic images.")
report_group = _group("report", "Sign reports, and check signed ones.")
data_group = _group("data", "Index data sets, extract faces, make forgeries; look at manifests and edit them.")
identity_group = _group("identity", "A person's own gallery: is this image them, another, or a forgery of them?")
eval_group = _group("eval", "Measure detectors: one data set, protocols, robustness, fairness, coverage, explanations.")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unmask {__version__}")
        raise typer.Exit


@app.callback()
def unmask(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Detect deepfakes and synthetic images."""


app.command(epilog=scan.EXIT_CODES, rich_help_panel=SCAN)(scan.scan)
app.command(rich_help_panel=SCAN)(explain.explain)
app.command("report-wrong", rich_help_panel=SCAN)(wrong.report_wrong)
app.command(rich_help_panel=SCAN)(serve.serve)
app.command(rich_help_panel=SCAN)(info.info)
app.command(rich_help_panel=SCAN)(info.pull)
app.command(rich_help_panel=SCAN)(info.schema)

app.add_typer(report_group, rich_help_panel=SCAN)
report_group.command()(signed.key)
report_group.command()(signed.sign)
report_group.command()(signed.verify)

app.add_typer(identity_group, rich_help_panel=SCAN)
identity_group.command()(identity.enrol)
identity_group.command()(identity.check)
identity_group.command("list")(identity.people)
identity_group.command()(identity.show)
identity_group.command()(identity.remove)

app.add_typer(data_group, rich_help_panel=DATA)
data_group.command()(data.index)
data_group.command("list")(data.layouts)
data_group.command()(data.card)
data_group.command(epilog=extract.EXIT_CODES)(extract.extract)
data_group.command(epilog=forge.EXIT_CODES)(forge.forge)
data_group.command("verify-synthetic")(forge.verify_synthetic)
data_group.command()(data.scenes)
data_group.command()(data.tokeniser)
data_group.command()(data.show)
data_group.command()(data.check)
data_group.command()(data.split)
data_group.command()(data.join)
data_group.command("filter")(data.keep)
data_group.command()(data.poison)

app.command(rich_help_panel=TRAIN)(train.train)
app.command(rich_help_panel=TRAIN)(train.export)
app.add_typer(importing.app, rich_help_panel=TRAIN)
app.command(rich_help_panel=TRAIN)(methods.methods)

app.command(rich_help_panel=EVALUATE)(attack.attack)
app.add_typer(eval_group, rich_help_panel=EVALUATE)
eval_group.command()(evaluate.evaluate)
eval_group.command()(bench.bench)
eval_group.command()(bench.protocols)
eval_group.command()(robustness.robustness)
eval_group.command()(fairness.fairness)
eval_group.command()(coverage.coverage)
eval_group.command("map")(coverage_map.coverage_map)
eval_group.command()(invariance.invariance)
eval_group.command()(fuse.fuse)
eval_group.command()(certify.certify)
eval_group.command()(attribution.attribution)
eval_group.command()(verify.verify)
eval_group.command()(localisation.localisation)
eval_group.command()(explaining.explain)
eval_group.command()(bench.compare)
eval_group.command()(wrong.regressions)
eval_group.command()(image_text.retrieval)
eval_group.command("zero-shot")(image_text.zero_shot)
eval_group.command()(image_text.sts)


def main() -> None:
    """Entry point of the `unmask` command."""
    errors.run(app)

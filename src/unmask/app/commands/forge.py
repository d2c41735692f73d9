"""`unmask data forge` and `verify-synthetic`: labelled forgeries of real crops, and whether they are still intact."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unmask.app.errors import errors_in_a_line

if TYPE_CHECKING:
    from unmask.data.manifest import Manifest

EXIT_CODES = "Exit codes: 0 all crops were forged, 2 wrong usage, 3 a crop gave no forgery of a kind, 130 interrupted."


class Part(StrEnum):
    """Rows of a split."""

    train = "train"
    val = "val"
    test = "test"


class On(StrEnum):
    """The basis on which people may be forged."""

    not_stated = "not stated"
    consent = "consent"
    synthetic = "synthetic"
    public_domain = "public domain"
    licence = "licence"


KEY = typer.Option(
    "--key", metavar="FILE", help="A secret of 32 bytes or more, that signs sidecars.", show_default="not signed"
)


def forge(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A faces.parquet of `unmask data extract`.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The folder for the forgeries and their manifest.")
    ],
    using: Annotated[
        str,
        typer.Option(
            "--with",
            metavar="NAMES",
            help="Generators, separated by commas: sbi,faceswap; see `unmask methods generator`.",
        ),
    ],
    per_image: Annotated[int, typer.Option(min=1, max=1000, help="Forgeries of each real crop by each generator.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME.OPTION=VALUE", help="An option of a generator, e.g. faceswap.among=5."),
    ] = None,
    split: Annotated[
        list[Part] | None, typer.Option(help="Only rows of this split; may be repeated.", show_default="all")
    ] = None,
    name: Annotated[
        str, typer.Option(help="Data set name of the new rows; to join two folders, give them two names.")
    ] = "forged",
    landmarks: Annotated[
        str,
        typer.Option(
            help="Dense landmarks: embedded, five (a mean face fitted to five points), or the path of a model."
        ),
    ] = "embedded",
    basis: Annotated[
        On, typer.Option(help="On what basis these people may be forged; some generators insist on one.")
    ] = On.not_stated,
    reference: Annotated[
        str, typer.Option(help="Where the basis is written down: a consent record, a licence.", show_default="none")
    ] = "",
    key: Annotated[Path | None, KEY] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Crops at once.", show_default="one for each core, at most 8")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no table.")] = False,
) -> None:
    """Make labelled forgeries of real crops, to train and test detectors.

    Each forgery is paired with its source, keeps its leakage group and split, is marked as synthetic in its metadata,
    and has a sidecar that says what it was made from and how. The command is resumable.
    """
    with errors_in_a_line():
        from unmask.app.progress import counted, listed
        from unmask.data.manifest import Manifest
        from unmask.forging.offline import Options, chosen, sources
        from unmask.forging.offline import forge as run
        from unmask.scanning.batch import default_jobs

        opened = Manifest(manifest)
        options = Options(
            generators=chosen(listed(using), change or ()),
            per_image=per_image,
            seed=seed,
            name=name,
            splits=tuple(dict.fromkeys(part.value for part in split or ())),
            landmarks=landmarks,
            basis=basis.value,
            reference=reference,
        )
        with counted(len(sources(opened, options)), quiet, "forging") as step:
            made = run(opened, out, options, jobs or default_jobs(len(opened)), key=key, progress=step)
        reasons = made.table(["method", "reason"]).to_pylist()
        if not quiet:
            _show(made, reasons)
    raise typer.Exit(3 if any(row["reason"] for row in reasons) else 0)


def _show(made: Manifest, rows: list[dict[str, str]]) -> None:
    from rich.table import Table

    from unmask.app.console import stdout

    table = Table("", "", box=None, pad_edge=False, show_header=False)
    table.columns[1].justify = "right"
    forged, not_forged = (Counter(r["method"] for r in rows if bool(r["reason"]) is gap) for gap in (False, True))
    for method, n in forged.items():
        table.add_row(method, f"{n:,}")
    for method, n in not_forged.items():
        table.add_row(f"no {method}", f"{n:,}")
    console = stdout()
    console.print(table)
    console.print(f"{len(made):,} rows: {made.path}", soft_wrap=True)


def verify_synthetic(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of `unmask data forge`.")],
    key: Annotated[Path | None, KEY] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts and the files as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Verify that forgeries, their masks, sidecars and rows are what was made. Exit with 1 if one is not.

    With --key every sidecar must carry its signature. Without, only hashes are compared.
    """
    with errors_in_a_line():
        import json
        from dataclasses import asdict

        from unmask.app.commands.data import counting, say
        from unmask.forging.sidecars import Key
        from unmask.forging.verification import verify

        secret = Key.read(key) if key else None
        with counting("rows", quiet) as step:
            found = verify(folder, secret, step)
        if as_json:
            typer.echo(json.dumps(asdict(found), indent=1))
        else:
            checked = "signatures checked" if secret else "signatures not checked, no --key"
            typer.echo(f"{found.verified:,} verified, {found.signed:,} of them signed ({checked})")
            if found.without_file:
                typer.echo(f"{found.without_file:,} rows without a file: nothing was forged")
            for what, files in sorted(found.faults.items()):
                say(f"files: {what}", files)
    raise typer.Exit(0 if found.intact else 1)

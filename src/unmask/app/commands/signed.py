"""`unmask report key | sign | verify`: reports that can be checked later."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line


def key(
    path: Annotated[Path, typer.Argument(metavar="KEY", help="File of the private key; KEY.pub is written beside it.")],
) -> None:
    """Make a key to sign reports with. Keep KEY to yourself, hand out KEY.pub."""
    with errors_in_a_line():
        from unmask.scanning.signing import new_key

        typer.echo(f"private key {path}, public key {new_key(path)}")


def sign(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="JSON of `unmask scan --json`.")],
    key: Annotated[Path, typer.Option(help="Private key of `unmask report key`.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The signed report.", show_default=False)],
    case: Annotated[str, typer.Option(help="Number of the case.")] = "",
    notes: Annotated[str, typer.Option(help="Notes, signed with the report.")] = "",
) -> None:
    """Sign a report, with a case number and notes: a JSON Web Signature (Ed25519) that any JOSE library can check."""
    with errors_in_a_line():
        from pydantic import ValidationError

        from unmask.errors import InputError
        from unmask.output import write_text
        from unmask.scanning.signing import sign as signed
        from unmask.types import Report

        try:
            found = Report.model_validate_json(report.read_bytes())
        except (OSError, ValidationError) as error:
            raise InputError(f"{report} is no report of `unmask scan --json`: {str(error).splitlines()[0]}") from None
        write_text(out, signed(found, key, case, notes).model_dump_json(indent=1) + "\n")
        typer.echo(f"{out}")


def verify(
    signed: Annotated[Path, typer.Argument(metavar="SIGNED", help="A signed report.")],
    key: Annotated[Path, typer.Option(help="Public key of who signed.", show_default=False)],
    media: Annotated[
        list[Path] | None,
        typer.Option("--media", help="Also: is this the file that the report is about? May be repeated."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report that was signed.", show_default=False)] = None,
) -> None:
    """Check the signature of a report and show what was signed. Exit code 2 where it does not fit."""
    with errors_in_a_line():
        import hashlib

        from unmask.errors import InputError
        from unmask.output import write_text
        from unmask.scanning.signing import verify as verified
        from unmask.scanning.words import visible

        try:
            statement = verified(signed.read_bytes(), key)
            hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in media or ()}
        except OSError as error:
            raise InputError(f"{error.filename} cannot be read: {error.strerror}") from None
        about = {file.sha256 for file in statement.report.files}
        if strange := [path for path, sha256 in hashes.items() if sha256 not in about]:
            raise InputError(f"the signature fits, but {strange[0]} is not among the files of the report, by SHA-256")
        typer.echo(f"signature fits; signed {visible(statement.signed)} by the signer's clock")
        typer.echo(f"case: {visible(statement.case) or '-'}\nnotes: {visible(statement.notes) or '-'}")
        for file in statement.report.files:
            typer.echo(f"{file.sha256 or '-'}  {file.state}  {visible(file.path)}")
        if json is not None:
            write_text(json, statement.report.model_dump_json(by_alias=True, indent=2) + "\n")

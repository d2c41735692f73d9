"""Errors as a user of the command line meets them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def errors_in_a_line() -> Iterator[None]:
    """What the user can mend is one line on standard error and exit code 2."""
    from unmask.nouns import UnmaskError

    try:
        yield
    except UnmaskError as error:
        typer.secho(f"unmask: {error}", err=True, fg=None if "NO_COLOR" in os.environ else "red")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("unmask: interrupted", err=True)
        raise typer.Exit(130) from None

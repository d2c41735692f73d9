"""Errors as a user of the command line meets them."""

from __future__ import annotations

import codecs
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

FAULT = 70  # EX_SOFTWARE of sysexits.h: Python's own 1 would read as "a file is in a state of --fail-on"
BROKEN_PIPE = 141  # what a shell says of a program that SIGPIPE ended
PLAIN = {"\u00a0": " ", "–": "-", "×": "x", "…": "...", "“": '"', "”": '"'}


@contextmanager
def errors_in_a_line() -> Iterator[None]:
    """What the user can mend is one line on standard error and exit code 2, a full disk among it."""
    from unmask.output import why
    from unmask.types import UnmaskError

    try:
        yield
        _flush()  # a full disk behind > is told here, and not when the interpreter ends
    except UnmaskError as error:
        _refuse(str(error))
    except BrokenPipeError:
        _forget_stdout()
        raise typer.Exit(BROKEN_PIPE) from None
    except OSError as error:
        _forget_stdout()  # what it still holds cannot be written either
        _refuse(f"{error.filename}: {why(error)}" if error.filename else f"cannot write: {why(error)}")
    except KeyboardInterrupt:
        typer.echo("unmask: interrupted", err=True)
        raise typer.Exit(130) from None


def run(app: Callable[[], object]) -> None:
    """Runs the command line. A fault of unmask itself shows its traceback and ends with FAULT."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="unmask")  # a name that the terminal cannot show must not end a scan
    try:
        app()
    except Exception:  # noqa: BLE001 - the last place to say what happened
        traceback.print_exc()
        typer.echo("unmask: this is a fault of unmask; please report the lines above", err=True)
        sys.exit(FAULT)


def _shown(error: UnicodeError) -> tuple[str, int]:
    """What a terminal of another encoding shows instead of a character that it lacks."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking), error.end


codecs.register_error("unmask", _shown)


def _refuse(text: str) -> None:
    typer.secho(f"unmask: {text}", err=True, fg=None if "NO_COLOR" in os.environ else "red")
    raise typer.Exit(2) from None


def _flush() -> None:
    from unmask.output import why
    from unmask.types import UnmaskError

    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _forget_stdout()
        raise UnmaskError(f"cannot write to standard output: {why(error)}") from error


def _forget_stdout() -> None:
    """Whatever is still in standard output's buffer goes nowhere, so that the end of the process says nothing of it."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)

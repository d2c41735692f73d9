"""`unmask scan` behind its options: progress, results as they come, and the reports at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from unmask.app.console import stdout
from unmask.errors import InputError, OutputError
from unmask.media import camera
from unmask.output import write_text
from unmask.scanning import html, text
from unmask.scanning.batch import scan_many
from unmask.scanning.options import Options, report_of
from unmask.scanning.pipeline import Scanner
from unmask.scanning.shift import Watch
from unmask.types import FileReport, PassedOver, Report, State


@dataclass(frozen=True)
class Wanted:
    """Where the results go, and what they say besides the answers."""

    json: str | None
    html: Path | None
    out: Path | None
    quiet: bool
    passed_over: tuple[PassedOver, ...] = ()


def run(
    paths: Sequence[str], options: Options, jobs: int, wanted: Wanted, recorded: tuple[int, float] | None = None
) -> set[State]:
    """Scans `paths`, and with `recorded` (camera, seconds) what a camera sees; writes what is wanted.

    After an interruption everything that was finished is written before KeyboardInterrupt goes on.

    Returns: the states that occurred.
    """
    for path in (wanted.json if wanted.json != "-" else None, wanted.html, wanted.out):
        if path and not Path(path).absolute().parent.is_dir():  # better now than after an hour of scanning
            raise OutputError(f"cannot write {path}: there is no folder {Path(path).absolute().parent}")
        if path and Path(path).is_dir():
            raise OutputError(f"cannot write {path}: it is a folder; give the name of a file")
    scanner = options.ready()
    keep = bool(wanted.json or wanted.html) or len(paths) <= 1  # a million whole reports would not fit into memory
    files: dict[int, FileReport] = {}
    lines: dict[int, tuple[State, Text]] = {}
    watch, contents = Watch(), dict[str, str]()
    try:
        with _progress(len(paths), wanted.quiet) as advance:
            for i, file in _scanned(paths, scanner, options, jobs, wanted.out, recorded):
                first = contents.setdefault(file.sha256, file.path) if file.sha256 else file.path
                lines[i] = (file.state, text.line(file, same=first if first != file.path else ""))
                watch.add(file)
                if keep:
                    files[i] = file
                advance(file.state)
    finally:
        found = {
            "files": tuple(files[i] for i in sorted(files)),
            "passed_over": wanted.passed_over,
            "shift": watch.shift,
        }
        report = report_of(scanner).model_copy(update=found)
        _show([lines[i] for i in sorted(lines)], report, wanted)
        _write(report, wanted)
    return {state for state, _ in lines.values()}


def run_on_ray(
    paths: Sequence[str],
    options: Options,
    workers: int | None,
    wanted: Wanted,
    address: str | None,
    recorded: tuple[int, float] | None = None,
) -> set[State]:
    """As `run`, on a Ray cluster: all answers go into the folder `wanted.out`, and how many are what is shown.

    Returns: the states that occurred.
    """
    if wanted.out is None or wanted.json or wanted.html or recorded:
        raise InputError("--on ray writes its answers into a folder: give --out FOLDER, no --json, --html or --camera")
    from unmask.app import cluster

    cluster.require()
    from unmask.app.on_ray import scan

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=wanted.quiet or not console.is_terminal
    ) as progress:
        tasks: dict[str, TaskID] = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.advance(tasks[stage], done)

        states = scan(paths, options, wanted.out, address, workers, advance)
    if not wanted.quiet:
        stdout(soft_wrap=True).print(text.summary(states))
        if wanted.passed_over:
            stdout(soft_wrap=True).print(text.passed_over(wanted.passed_over))
    return set(states)


def _scanned(
    paths: Sequence[str],
    scanner: Scanner,
    options: Options,
    jobs: int,
    out: Path | None,
    recorded: tuple[int, float] | None,
) -> Iterator[tuple[int, FileReport]]:
    if recorded:
        yield -1, scanner.scan_media(camera(*recorded, limits=options.limits))
    if paths:
        yield from scan_many(paths, scanner, options, jobs, out)


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[[State], None]]:
    """A live bar on standard error; call what it gives for each file that is done."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        task, states = progress.add_task("scanning", total=total), list[State]()

        def advance(state: State) -> None:
            states.append(state)
            progress.update(task, advance=1, description=f"{states.count('fake')} likely forged")

        yield advance


def _show(lines: Sequence[tuple[State, Text]], report: Report, wanted: Wanted) -> None:
    if wanted.quiet or wanted.json == "-" or not lines:
        return
    console = stdout(soft_wrap=True)
    if len(lines) == 1 and report.files:
        console.print(text.single(report.files[0], report))
    else:
        for _, row in lines:
            console.print(row)
        console.print(text.summary([state for state, _ in lines]))
        for row in text.alarm(report.shift):
            console.print(row)
    if wanted.passed_over:
        console.print(text.passed_over(wanted.passed_over))


def _write(report: Report, wanted: Wanted) -> None:
    if wanted.json:
        content = report.model_dump_json(by_alias=True, indent=2) + "\n"
        if wanted.json == "-":
            print_bytes(content.encode("utf-8", "backslashreplace"))
        else:
            write_text(Path(wanted.json), content)
    if wanted.html:
        write_text(wanted.html, html.render(report))


def print_bytes(content: bytes) -> None:
    """JSON is UTF-8 whatever the terminal's encoding is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()

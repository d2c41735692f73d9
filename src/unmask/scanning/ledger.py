"""What was already scanned: a Parquet table, and beside it a journal that survives kill -9.

Each finished file is one line of `TABLE.journal.jsonl`, written through at once. At the end of a run the journal is
merged into the Parquet table, which is replaced in one step. A file is known by its content and by what was asked of
it, so that a moved file is not scanned again, and one scanned with another detector is.

The table holds the newest answer for each path that was ever scanned into it, sorted by path.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import duckdb

from unmask._version import __version__
from unmask.errors import OutputError
from unmask.journal import appended
from unmask.output import regular, why, written
from unmask.scanning.pipeline import Scanner
from unmask.types import FileReport, is_text, printable

COLUMNS = {
    "path": "VARCHAR",
    "sha256": "VARCHAR",
    "kind": "VARCHAR",
    "format": "VARCHAR",
    "width": "INTEGER",
    "height": "INTEGER",
    "seconds": "DOUBLE",
    "frames_read": "INTEGER",
    "frames_failed": "INTEGER",
    "state": "VARCHAR",
    "score": "DOUBLE",
    "low": "DOUBLE",
    "high": "DOUBLE",
    "reasons": "VARCHAR[]",
    "faces": "INTEGER",
    "face_state": "VARCHAR",
    "whole_state": "VARCHAR",
    "whole_score": "DOUBLE",
    "whole_low": "DOUBLE",
    "whole_high": "DOUBLE",
    "detector": "VARCHAR",
    "weights_sha256": "VARCHAR",
    "asked": "VARCHAR",  # hash of all that shapes the answer: settings, detector, calibration, version
    "report": "VARCHAR",  # the whole FileReport as JSON
}

YOUNGER = ("face_state", "whole_state", "whole_score", "whole_low", "whole_high")  # tables of older releases lack them


def asked_of(scanner: Scanner) -> str:
    """sha256 of everything but the file that an answer depends on."""
    parts = [__version__, scanner.settings.model_dump_json()]
    for scorer in (scanner.scorer, scanner.whole):
        parts += [scorer.weights_sha256, scorer.card.model_dump_json()] if scorer else ["none"]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def row_of(report: FileReport, asked: str) -> dict[str, object]:
    """One line of the journal, one row of the table: keys and order of COLUMNS."""
    media, detector, whole = report.media, report.detector, report.whole
    about = media.model_dump() if media else {}
    return {
        "path": report.path,
        "sha256": report.sha256,
        **{key: about.get(key) for key in ("kind", "format", "width", "height", "seconds")},
        "frames_read": media.frames_read if media else None,
        "frames_failed": media.frames_failed if media else None,
        "state": report.state,
        "score": report.score,
        "low": report.low,
        "high": report.high,
        "reasons": list(report.reasons),
        "faces": len(report.faces),
        "face_state": report.face_state,
        "whole_state": whole.state if whole else None,
        "whole_score": whole.score if whole else None,
        "whole_low": whole.low if whole else None,
        "whole_high": whole.high if whole else None,
        "detector": detector.name if detector else None,
        "weights_sha256": detector.weights_sha256 if detector else None,
        "asked": asked,
        "report": report.model_dump_json(),
    }


class Ledger:
    """The table at `path` while a scan adds to it. Use as a context manager; leaving it merges the journal.

    It remembers the answers to the same question in memory, compressed: about 2 kB for each file.

    Raises: UnmaskError when the table is not one of ours, cannot be written, or another scan is writing to it.
    """

    def __init__(self, path: Path, asked: str) -> None:
        path = regular(path)
        self.path, self.asked = path, asked
        self.journal = path.with_name(path.name + ".journal.jsonl")
        self._known: dict[str, bytes] = {}
        self._paths: set[tuple[str, str | None]] = set()  # as they stand in the table
        self._full = False
        try:
            busy = f"another scan is writing to {path}; wait for it, or choose another --out"
            self._file = appended(self.journal, busy)
        except OSError as error:
            raise OutputError(f"cannot write {self.journal}: {why(error)}; choose another --out") from error
        self._remember()

    def find(self, sha256: str) -> FileReport | None:
        """The answer to the same question about the same content, if there is one that is not `failed`."""
        stored = self._known.get(sha256)
        return FileReport.model_validate_json(zlib.decompress(stored)) if stored else None

    def add(self, report: FileReport) -> None:
        """Writes an answer down, unless the same content is already there under the same path."""
        if (report.path, report.sha256) in self._paths:
            return
        try:
            self._file.write(json.dumps(row_of(report, self.asked)).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            self._full = True
            raise OutputError(f"cannot write {self.journal}: {why(error)}") from error

    def learn(self, report: FileReport) -> None:
        """From now on `find` knows this answer."""
        self._learn(report.sha256, report.state, report.model_dump_json())

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self._full:  # else the next run goes on from the journal
                self._merge()
        finally:
            with suppress(OSError):  # a line that a full disk did not take; the next run cuts its half off
                self._file.close()

    def _learn(self, sha256: str | None, state: str, report: str) -> None:
        # A failed file is tried again: its worker may have been killed, its disk may have been away.
        if sha256 and state != "failed":
            self._known[sha256] = zlib.compress(report.encode(), 1)

    def _remember(self) -> None:
        newest, files = _newest(self.path, self.journal)
        same = f"SELECT path, sha256, state, report FROM ({newest}) WHERE asked = ?"  # noqa: S608 - no text from outside
        with _database(self.path) as database:
            rows = database.execute(same, [*files, self.asked])
            while batch := rows.fetchmany(1000):
                for path, sha256, state, report in batch:
                    self._learn(sha256, state, report)
                    if state != "failed":
                        self._paths.add((path, sha256))

    def _merge(self) -> None:
        """Journal and table become the new table; a crash at any moment loses neither."""
        if self.path.exists() and self.journal.stat().st_size == 0:
            self.journal.unlink()
            return
        newest, files = _newest(self.path, self.journal)
        with written(self.path) as fresh, _database(self.path) as database:
            database.sql(newest, params=files).write_parquet(utf8(fresh), compression="zstd")
        self.journal.unlink()


@contextmanager
def _database(table: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    # Readers of Parquet and JSON are built in, nothing is fetched. One thread, so that rows keep the journal's order.
    with duckdb.connect(config={"autoinstall_known_extensions": "false", "threads": "1"}) as database:
        try:
            yield database
        except duckdb.Error as error:
            said = str(error).splitlines()[0]
            if "write" in said and isinstance(error, duckdb.IOException):
                raise OutputError(
                    f"cannot write {table}: {said}; free some space and run the same command again"
                ) from error
            raise OutputError(
                f"{table} or its journal is not a table of unmask scan ({said}); choose another --out"
            ) from error


def _newest(table: Path, journal: Path) -> tuple[str, list[str]]:
    """SQL, and its parameters, for the newest row of each path in the journal and, where there is one, the table."""
    columns, held = ", ".join(COLUMNS), ", ".join(_held(table))
    types = ", ".join(f"{name}: '{kind}'" for name, kind in COLUMNS.items())
    lines = f"read_json(?, format = 'newline_delimited', columns = {{{types}}})"
    rows, files = f"SELECT *, row_number() OVER () AS line FROM {lines}", [literally(journal)]  # noqa: S608
    if table.exists():
        old = f"SELECT {held}, 0 AS line FROM read_parquet(?)"  # noqa: S608
        rows, files = f"{rows} UNION ALL BY NAME {old}", [*files, literally(table)]
    newest = "row_number() OVER (PARTITION BY path ORDER BY line DESC) = 1"
    return f"SELECT {columns} FROM ({rows}) QUALIFY {newest} ORDER BY path", files  # noqa: S608


def _held(table: Path) -> list[str]:
    """Columns to read from a table; one that is not ours lacks others than those that older releases did not write."""
    if not table.exists():
        return list(COLUMNS)
    with _database(table) as database:
        names = database.execute("SELECT name FROM parquet_schema(?)", [literally(table)]).fetchall()
    return [name for name in COLUMNS if name not in YOUNGER or (name,) in names]


def literally(path: Path) -> str:
    """The path for a function that would take * ? [ in it for patterns. Raises: UnmaskError, as `utf8` does."""
    return re.sub(r"[*?\[]", r"[\g<0>]", utf8(path))


def utf8(path: Path) -> str:
    """The path as DuckDB can open it. Raises: UnmaskError for a name that is not UTF-8."""
    name = str(path.absolute())
    if not is_text(name):
        name = os.path.relpath(name)  # the current folder may be what is called so
    if not is_text(name):
        raise OutputError(f"{printable(name)}: the name of a table must be UTF-8; choose another --out")
    return name

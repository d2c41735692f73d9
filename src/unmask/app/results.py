"""The folder of results of a scan on many machines: what was asked, every path, and one answer for each content.

    RESULTS/question.json               version, settings, detector: one folder answers one question
    RESULTS/paths.parquet               one row for each path ever listed: path, sha256, bytes, reason
    RESULTS/answers/hash=0/*.parquet    one row for each content, by the first digit of its sha256: COLUMNS

A file of answers appears in one step and is named by the contents in it, so that work done twice lands on itself.
At the end of a run `prove` shows that nothing is missing and nothing is there twice. Readers need no lock.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from unmask.app.cluster import Journal
from unmask.errors import OutputError, UnmaskError
from unmask.journal import lock
from unmask.output import written
from unmask.scanning.ledger import COLUMNS, literally
from unmask.types import State

_ARROW = {"VARCHAR": pa.string(), "VARCHAR[]": pa.list_(pa.string()), "INTEGER": pa.int32(), "DOUBLE": pa.float64()}
ANSWERS = pa.schema([(name, _ARROW[kind]) for name, kind in COLUMNS.items()])
LISTED = pa.schema(
    [
        ("position", pa.int64()),  # in this run's list of files
        ("path", pa.string()),
        ("sha256", pa.string()),  # null where the file could not be read: `reason` says why
        ("bytes", pa.int64()),
        ("reason", pa.string()),
    ]
)
NONE_YET = "(SELECT NULL::VARCHAR AS sha256, NULL::VARCHAR AS state, NULL::VARCHAR AS filename LIMIT 0)"


class Results:
    """The folder while one run adds to it; a context manager.

    Raises: UnmaskError when the folder cannot be written, is no folder of results, answers another question, or another
    run is writing to it.
    """

    def __init__(self, folder: Path, question: dict[str, Any]) -> None:
        self.folder, self.answers = folder, folder / "answers"
        self._paths, self._now = folder / "paths.parquet", folder / ".now.parquet"  # `now`: what this run has listed
        asked = folder / "question.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not asked.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
                raise OutputError(f"{folder} holds something else; choose another --out")
            self._held = (folder / ".lock").open("a+b")
            lock(self._held, f"another scan is writing to {folder}; wait for it, or choose another --out")
            text = json.dumps(question, indent=2, sort_keys=True) + "\n"
            if not asked.exists():
                replace(asked, lambda fresh: fresh.write_text(text, "utf-8"))
            elif asked.read_text("utf-8") != text:
                raise OutputError(f"{folder} answers another question ({asked}); choose another --out")
            self._rescue()
        except OSError as error:
            raise OutputError(f"cannot write {folder}: {error.strerror}; choose another --out") from error
        spill: Any = {"temp_directory": str(folder / ".spill"), "autoinstall_known_extensions": "false"}
        self._database = duckdb.connect(config=spill)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
        self._now.unlink(missing_ok=True)
        shutil.rmtree(self.folder / ".spill", ignore_errors=True)
        self._held.close()

    def _rescue(self) -> None:
        """Keeps what a killed run had finished, and clears away what it had begun to write."""
        for torn in self.answers.glob("*/.*.tmp"):
            torn.unlink(missing_ok=True)
        for path in self.answers.glob(f"*/*{Journal.SUFFIX}"):
            with Journal(path) as journal:
                if journal.done:
                    write(file_of(self.answers, journal.done), list(journal.done.values()))
            path.unlink()

    def list_paths(self, tables: Iterable[pa.Table]) -> None:
        """Keeps what this run has listed, schema LISTED; its rows replace older ones of the same path."""
        with pq.ParquetWriter(self._now, LISTED, compression="zstd") as out:
            for table in tables:
                out.write_table(table.select(LISTED.names).cast(LISTED))
        columns, now = "path, sha256, bytes, reason", _parquet(self._now)
        rows = f"SELECT {columns} FROM {now}"  # noqa: S608 - our own names; paths are quoted
        if self._paths.exists():
            rows += f" UNION ALL SELECT {columns} FROM {_parquet(self._paths)} ANTI JOIN {now} USING (path)"  # noqa: S608
        copy = f"COPY (SELECT * FROM ({rows}) ORDER BY path) TO ? (FORMAT parquet, COMPRESSION zstd)"  # noqa: S608
        replace(self._paths, lambda fresh: self._ask(copy, str(fresh)))

    def unanswered(self, *, again: bool) -> list[tuple[str, int]]:
        """Contents of this run's paths without an answer, sorted: sha256 and position of the first path.

        again: failed answers count as none.
        """
        fit = "WHERE state <> 'failed'" if again else ""
        return self._ask(
            f"SELECT sha256, min(position) FROM {_parquet(self._now)} "  # noqa: S608
            f"ANTI JOIN (SELECT sha256 FROM {self._all()} {fit}) USING (sha256) "
            "WHERE sha256 IS NOT NULL GROUP BY sha256 ORDER BY sha256"
        ).fetchall()

    def forget_failed(self) -> None:
        """Takes out the failed answers to this run's paths, which are asked anew, and of double answers all but one."""
        failed = (
            f"SELECT filename, sha256 FROM {self._all()} SEMI JOIN {_parquet(self._now)} USING (sha256) "  # noqa: S608
            "WHERE state = 'failed'"
        )
        gone: dict[str, set[str]] = {}
        for name, sha256 in self._ask(f"{failed} UNION {self._doubles()}").fetchall():
            gone.setdefault(name, set()).add(sha256)
        for name, hashes in gone.items():
            path = Path(name)
            rows = [row for row in pq.ParquetFile(path).read().to_pylist() if row["sha256"] not in hashes]
            if rows:
                write(path, rows)
            else:
                path.unlink()

    def prove(self) -> None:
        """Clears away what workers that died had begun; all of this run's have ended when it is called.

        Raises: UnmaskError if a content of this run has no answer, or any content two.
        """
        self._rescue()
        lost, double = len(self.unanswered(again=False)), len(self._ask(self._doubles()).fetchall())
        if lost or double:
            raise UnmaskError(f"{self.folder}: {lost} without an answer, {double} with two; run the same command again")

    def states(self) -> dict[State, int]:
        """How many of this run's paths are in which state."""
        return dict(
            self._ask(
                f"SELECT coalesce(state, 'failed') AS state, count(*) FROM {_parquet(self._now)} "  # noqa: S608
                f"LEFT JOIN {self._all()} USING (sha256) GROUP BY 1 ORDER BY 1"
            ).fetchall()
        )

    def _all(self) -> str:
        if next(self.answers.glob("*/*.parquet"), None) is None:
            return NONE_YET
        files = _quoted(f"{literally(self.answers)}/*/*.parquet")
        return f"(SELECT sha256, state, filename FROM read_parquet({files}, filename = true))"  # noqa: S608

    def _doubles(self) -> str:
        best = "row_number() OVER (PARTITION BY sha256 ORDER BY state = 'failed', filename)"
        return f"SELECT filename, sha256 FROM {self._all()} QUALIFY {best} > 1"  # noqa: S608

    def _ask(self, sql: str, *parameters: str) -> duckdb.DuckDBPyConnection:
        try:
            return self._database.execute(sql, parameters)
        except duckdb.Error as error:
            raise OutputError(f"{self.folder}: {str(error).splitlines()[0]}; choose another --out") from error


def file_of(answers: Path, hashes: Iterable[str]) -> Path:
    """Where the answers to these contents stand; all of them begin with the same digit."""
    hashes = sorted(hashes)
    name = hashlib.sha256("".join(hashes).encode()).hexdigest()[:32]
    return answers / f"hash={hashes[0][0]}" / f"{name}.parquet"


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows of ANSWERS as one Parquet file that appears in one step and survives a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, lambda fresh: pq.write_table(pa.Table.from_pylist(rows, ANSWERS), fresh, compression="zstd"))


def replace(path: Path, fill: Any) -> None:
    """What fill(temporary path) writes becomes `path` in one step."""
    with written(path) as fresh:
        fill(fresh)


def _parquet(path: Path) -> str:
    return f"(SELECT * FROM read_parquet({_quoted(literally(path))}))"  # noqa: S608


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

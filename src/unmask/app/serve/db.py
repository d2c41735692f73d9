"""The database: SQLite by default, PostgreSQL by URL, brought to the newest layout when the service starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session

from unmask.errors import InputError, MissingExtraError, UnmaskError

_ONE_AT_A_TIME = 0x756E6D61736B  # key of the lock under which PostgreSQL's layout is changed
_COUNTING = _ONE_AT_A_TIME + 1  # ... under which scans are accepted
BUSY = 15_000  # milliseconds that a writer of SQLite waits for the others


class Database:
    """Where scans are kept. `read()` and `write()` give a session in a transaction of its own."""

    def __init__(self, url: str) -> None:
        """Raises: UnmaskError for a URL that cannot be used, or a database that cannot be reached or brought up."""
        self.engine = _engine(url)
        self.sqlite = self.engine.dialect.name == "sqlite"
        self._writing = self.engine.execution_options(write=True)
        self._unwiped = False
        try:
            self._migrate()
        except (SQLAlchemyError, CommandError, OSError) as error:
            why = str(error).splitlines()[0]
            raise UnmaskError(f"cannot use the database {self.engine.url!r}: {why}") from error

    @contextmanager
    def read(self) -> Iterator[Session]:
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self, *, alone: bool = False) -> Iterator[Session]:
        """`alone`: one after the other, also on PostgreSQL, so that what is counted in it holds when it is written."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            if alone and not self.sqlite:
                session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _COUNTING})
            yield session

    def alive(self) -> bool:
        """It answers, and within a second something could be written."""
        try:
            with closing(self.engine.raw_connection()) as connection:
                cursor = connection.cursor()
                if not self.sqlite:
                    cursor.execute("SELECT 1")
                    return True
                try:
                    cursor.execute("PRAGMA busy_timeout=1000")
                    cursor.execute("BEGIN IMMEDIATE")
                    cursor.execute("ROLLBACK")
                finally:
                    cursor.execute(f"PRAGMA busy_timeout={BUSY}")
        except (SQLAlchemyError, self.engine.dialect.loaded_dbapi.Error):
            return False
        return True

    def wipe(self) -> None:
        """After a deletion: what was deleted is overwritten in the file (secure_delete), and must not stay in the log
        of what was written. Where somebody still reads an older state, `wiped` tries again."""
        self._unwiped = self.sqlite
        self.wiped()

    def wiped(self) -> None:
        """Ends what `wipe` began. On PostgreSQL there is nothing to do: its vacuum decides when."""
        if not self._unwiped:
            return
        try:
            with closing(self.engine.raw_connection()) as connection:
                cursor = connection.cursor()
                cursor.execute("PRAGMA busy_timeout=200")
                busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                cursor.execute(f"PRAGMA busy_timeout={BUSY}")
        except (SQLAlchemyError, self.engine.dialect.loaded_dbapi.Error):
            return
        self._unwiped = bool(busy)

    def close(self) -> None:
        self.engine.dispose()

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
        with self._writing.begin() as connection:
            if not self.sqlite:  # several servers may start at once
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_AT_A_TIME})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":  # the driver that the extra `postgres` brings
            parsed = parsed.set(drivername="postgresql+pg8000")
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise InputError(f"a database of kind {parsed.get_backend_name()!r} is not known; use sqlite or postgresql")
        if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
            raise InputError("scans must survive a restart: give SQLite a file, sqlite:////path/to/scans.sqlite")
        engine = create_engine(parsed, pool_size=10, max_overflow=40, pool_pre_ping=True)
    except ArgumentError as error:
        raise InputError("--db is no database URL; write sqlite:////path or postgresql://user@host/name") from error
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"for this database install {error.name}: pip install 'unmask[serve,postgres]'"
        ) from error
    if engine.dialect.name == "sqlite":
        _for_many_threads(engine)
    return engine


def _for_many_threads(engine: Engine) -> None:
    """SQLite as a service needs it: readers beside one writer, and writers that wait instead of failing half-way."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: object) -> None:
        connection.isolation_level = None  # transactions begin below, not where the driver guesses
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",
            f"busy_timeout={BUSY}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

"""The database: SQLite by default, PostgreSQL by URL, brought to the newest layout when the service starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


class Database:
    """Where scans are kept. `read()` and `write()` give a session in a transaction of its own."""

    def __init__(self, url: str) -> None:
        """Raises: UnmaskError for a URL that cannot be used, or a database that cannot be reached or brought up."""
        self.engine = _engine(url)
        self.sqlite = self.engine.dialect.name == "sqlite"
        self._writing = self.engine.execution_options(write=True)
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
    def write(self) -> Iterator[Session]:
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def alive(self) -> bool:
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

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
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=15000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

"""A real PostgreSQL for one test run, where its programs are on the machine."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .process import free_port


def missing() -> str:
    """Why there is none, or ""."""
    if not (shutil.which("initdb") and shutil.which("pg_ctl")):
        return "initdb and pg_ctl are not on PATH"
    return "" if os.geteuid() or _user() else "PostgreSQL does not run as root, and there is no other user to run it"


def _user() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), "")


@contextmanager
def postgres() -> Iterator[str]:
    """Its URL."""
    pytest.importorskip("pg8000", reason="the extra postgres is not installed")
    folder = Path(tempfile.mkdtemp(prefix="unmask-postgres-"))
    other: dict[str, Any] = {}
    if os.geteuid() == 0:
        entry = pwd.getpwnam(_user())
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        other = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    port, data = free_port(), folder / "data"

    def run(*command: str) -> None:
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **other)

    try:
        run("initdb", "--pgdata", str(data), "--username", "unmask", "--auth", "trust", "--no-sync")
        settings = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
        run("pg_ctl", "--pgdata", str(data), "--options", settings, "--log", str(folder / "log"), "--wait", "start")
        try:
            yield f"postgresql://unmask@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "--pgdata", str(data), "--mode", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)

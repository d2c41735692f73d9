"""A real server: `unmask serve` in a process of its own, on a port of loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

WAIT = 60.0


@dataclass
class Server:
    """`at`: a client for it. `process`: to be killed."""

    at: httpx.Client
    process: subprocess.Popen[bytes]
    folder: Path
    port: int
    log: Path

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ended(self, key: str) -> dict[str, Any]:
        """The scan, once it has ended."""
        found: dict[str, Any] = {}

        def done() -> bool:
            found.update(self.at.get(f"/v1/scans/{key}").raise_for_status().json())
            return found["state"] in ("done", "failed")

        until(done, f"the end of {key}")
        return found


@contextmanager
def serving(folder: Path, bundle: Path, *arguments: str, token: str = "") -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "unmask", "serve", "--data", str(folder), "--port", str(port)]
    command += ["--detector", str(bundle), "--workers", "1", "--rate", "100000", *arguments]
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=WAIT) as client:

            def ready() -> bool:
                assert process.poll() is None, log.read_text()
                try:
                    return client.get("/readyz").status_code == 200
                except httpx.TransportError:
                    return False

            until(ready, "the server")
            yield Server(client, process, folder, port, log)
    finally:
        process.kill()
        process.wait()


def children(parent: int, module: str) -> list[int]:
    """Living processes that `parent` started to run `module`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z" and module.encode() in words:
            found.append(int(folder.name))
    return found


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)

"""A client of the HTTP API in the standard library alone: send a file, wait, print the verdict.

unmask serve &
python examples/api_client.py samples/clip-one-forged.mp4
"""

from __future__ import annotations

import argparse
import json
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen


class Client:
    def __init__(self, server: str, token: str = "") -> None:
        self.server = server.rstrip("/")
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def scan(self, path: Path, seconds: float = 600) -> dict[str, Any]:
        """The report of one file. Raises: HTTPError for a refused request, TimeoutError after `seconds`."""
        found = self._send(path)
        until = time.monotonic() + seconds
        while found["state"] not in ("done", "failed"):
            if time.monotonic() > until:
                raise TimeoutError(f"{path} is still {found['state']} after {seconds:g} s")
            time.sleep(0.2)
            found = self._ask(f"/v1/scans/{found['id']}")
        report: dict[str, Any] = found["report"]
        return report

    def _send(self, path: Path) -> dict[str, Any]:
        boundary = uuid.uuid4().hex
        head = f'Content-Disposition: form-data; name="file"; filename="{quote(path.name)}"'
        body = f"--{boundary}\r\n{head}\r\n\r\n".encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Prefer": "respond-async",  # always an id to ask for, never a long wait
            "Idempotency-Key": uuid.uuid4().hex,  # the same request, sent again after a broken connection, scans once
        }
        return self._ask("/v1/scans", data=body, headers=headers)

    def _ask(self, where: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> dict[str, Any]:
        request = Request(self.server + where, data=data, headers=self.headers | (headers or {}))
        with urlopen(request, timeout=60) as answer:  # the user's own server
            found: dict[str, Any] = json.load(answer)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--token", default="")
    arguments = parser.parse_args()
    client = Client(arguments.server, arguments.token)
    for path in arguments.files:
        (file,) = client.scan(path)["files"]
        score = "-" if file["score"] is None else f"{file['score']:.2f} ({file['low']:.2f} to {file['high']:.2f})"
        print(f"{path}: {file['state']} {score}  {'; '.join(file['reasons'][:1])}")


if __name__ == "__main__":
    main()

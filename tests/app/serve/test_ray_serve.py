"""Two replicas under Ray Serve, on one PostgreSQL, answer as one server does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("ray.serve", reason="needs Ray Serve: pip install 'ray[serve]'")

from .conftest import Media
from .postgres import missing, postgres
from .process import WAIT, Server, free_port, until

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
START = """
import os, sys
import ray
from ray import serve
ray.init(num_cpus=2, include_dashboard=False, logging_level="error", object_store_memory=80 << 20)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
import ray_serve
serve.run(ray_serve.app)
print("ready", flush=True)
sys.stdin.read()
serve.shutdown()
ray.shutdown()
"""


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory, media: Media) -> Iterator[httpx.Client]:
    if missing():
        pytest.skip(missing())
    folder, port = tmp_path_factory.mktemp("ray"), free_port()
    with postgres() as url:
        env = os.environ | {
            "UNMASK_DB": url,
            "UNMASK_DATA": str(folder / "data"),
            "UNMASK_DETECTOR": str(media.bundle),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            "RAY_worker_niceness": "0",  # Ray is modest by default, and its tests crawl beside others
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(EXAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        log = (folder / "log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-c", START, str(port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=env, start_new_session=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            said = next((line for line in process.stdout if line == b"ready\n"), b"")
            assert said, (folder / "log").read_text()[-5000:]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT) as client:
                until(lambda: client.get("/readyz").status_code == 200, "the replicas")
                yield client
        finally:
            process.stdin.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def told(scan: dict[str, Any]) -> dict[str, Any]:
    """A scan without what differs from one to the next: when it was, and how long it took."""
    report = scan["report"]
    file = {key: value for key, value in report["files"][0].items() if key != "seconds_spent"}
    words = scan["words"] | {"facts": [fact for fact in scan["words"]["facts"] if fact[0] != "Time taken"]}
    return {
        "state": scan["state"], "verdict": scan["verdict"], "score": scan["score"], "words": words,
        "file": file, "settings": report["settings"], "detector": report["detector"],
        "pictures": [one["track"] for one in scan["pictures"]],
    }  # fmt: skip


@pytest.mark.slow
def test_two_replicas_answer_as_one(replicas: httpx.Client, server: Server, media: Media) -> None:
    both = Server(replicas, server.process, server.folder, 0, server.log)  # only asked for scans
    files = [("red.png", media.red), ("pale.png", media.pale), ("clip.mp4", media.clip)] * 2
    answers: list[list[dict[str, Any]]] = []
    for at in (both, server):
        headers = {"Prefer": "respond-async"}
        sent = [at.at.post("/v1/scans", files={"file": one}, headers=headers) for one in files]
        keys = [answer.raise_for_status().json()["id"] for answer in sent]
        answers.append([told(at.ended(key)) for key in keys])
    assert answers[0] == answers[1]

    # Both of them did answer: what counts requests was made at another moment in each.
    def made() -> str:
        lines = replicas.get("/metrics").raise_for_status().text.splitlines()
        return next(line for line in lines if line.startswith("unmask_scan_seconds_created"))

    seen = set[str]()
    until(lambda: seen.add(made()) or len(seen) == 2, "an answer of each replica")

    # A scan that either accepted is there for both, with its images, and is gone from both.
    key = replicas.get("/v1/scans").json()["items"][0]["id"]
    for path in ("", "/report.html", "/faces/1/face.jpg", "/media"):
        assert {replicas.get(f"/v1/scans/{key}{path}").status_code for _ in range(8)} == {200}
    with replicas.stream("GET", f"/v1/scans/{key}/events") as stream:
        assert "event: end" in list(stream.iter_lines())
    assert replicas.delete(f"/v1/scans/{key}").status_code == 204
    assert {replicas.get(f"/v1/scans/{key}").status_code for _ in range(8)} == {404}
    refused = replicas.post("/v1/scans", files={"file": ("a.png", b"%PDF-1.4")})
    assert (refused.status_code, refused.headers["content-type"]) == (415, "application/problem+json")
    assert replicas.get("/v1/scans", headers={"Host": "evil.example"}).status_code == 421

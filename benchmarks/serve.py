"""Images a second and waiting times over HTTP at 1, 8 and 32 clients, beside a naive server and a loop without HTTP.

    python benchmarks/serve.py [PICTURE] [--seconds 10] [--workers 2] [--batch-wait 0 2]
    python benchmarks/serve.py --memory 10000        # no times: memory of the service over so many requests

loop: one process, one image after the other, no HTTP and no database: what one worker could do at best.
naive: `naive_server.py`, one request, one inference, in the process that answers.
service: `unmask serve`; "batch N ms" is with --batch-wait N.
Each client sends the image, without face images, and waits for the report (200) before it sends it again. With a
queue of 100 nothing may be refused or lost; both are counted.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from common import machine

from unmask.scanning.options import Options

PICTURE = Path(__file__).resolve().parent.parent / "samples" / "portrait-real.jpg"
CLIENTS = (1, 8, 32)


def main() -> None:
    asked = arguments()
    print(machine("unmask", "fastapi", "uvicorn", "sqlalchemy", "onnxruntime"))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "unmask", "serve", "--quiet", "--rate", "1000000", "--data", folder]
        command += ["--port", str(asked.port), "--workers", str(asked.workers)]
        if asked.memory:
            print(f"{asked.picture.name}, {asked.workers} worker(s), {max(CLIENTS)} clients\n", flush=True)
            with server(command, asked.port) as process:
                memory(process, asked.port, asked.picture, asked.memory)
            return
        print(f"{asked.picture.name}, {asked.workers} worker(s), {asked.seconds:g} s each\n", flush=True)
        print(f"{'':>28}{'images/s':>10}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}  answers")
        show("loop", *loop(asked.picture, asked.seconds), Counter())
        naive = [sys.executable, "-m", "uvicorn", "--app-dir", str(Path(__file__).parent), "naive_server:app"]
        variants = {"naive": [*naive, "--port", str(asked.port), "--log-level", "warning"], "service": command}
        variants |= {f"batch {wait:g} ms": [*command, "--batch-wait", str(wait)] for wait in asked.batch_wait}
        for name, variant in variants.items():
            with server(variant, asked.port):
                for clients in CLIENTS:
                    show(f"{name}, {clients} client(s)", *load(asked.port, asked.picture, clients, asked.seconds))


def loop(picture: Path, seconds: float) -> tuple[list[float], float]:
    """Seconds of each scan, and of all."""
    scanner = Options().ready()
    scanner.scan(picture)
    times, start = list[float](), time.perf_counter()
    while time.perf_counter() - start < seconds:
        before = time.perf_counter()
        scanner.scan(picture)
        times.append(time.perf_counter() - before)
    return times, time.perf_counter() - start


def load(
    port: int, picture: Path, clients: int, seconds: float, most: float = float("inf")
) -> tuple[list[float], float, Counter[int]]:
    """Seconds of each request, seconds of all, and how often each status was answered. Ends after `most` requests."""
    content, times, statuses = picture.read_bytes(), list[float](), Counter[int]()
    start = time.perf_counter()

    def client() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as session:
            while time.perf_counter() - start < seconds and len(times) < most:
                before = time.perf_counter()
                form = {"file": (picture.name, content)}
                answer = session.post("/v1/scans", files=form, data={"pictures": "false"})
                times.append(time.perf_counter() - before)
                statuses[answer.status_code] += 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, time.perf_counter() - start, statuses


def show(name: str, times: list[float], seconds: float, statuses: Counter[int]) -> None:
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    p50, p95, p99 = (1000 * cuts[k - 1] for k in (50, 95, 99))
    told = ", ".join(f"{n} x {status}" for status, n in sorted(statuses.items()))
    print(f"{name:>28}{len(times) / seconds:10.1f}{p50:9.0f}{p95:9.0f}{p99:9.0f}  {told}", flush=True)


@contextmanager
def server(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command)
    try:
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                if process.poll() is not None:
                    raise SystemExit("the server did not start") from None
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait()


def memory(process: subprocess.Popen[bytes], port: int, picture: Path, requests: int) -> None:
    """What the service and its workers hold, after each tenth of so many requests."""
    print(f"{'requests':>10}{'service MB':>12}  workers MB")
    told, answers = 0, Counter[int]()
    while True:
        workers = [f"{resident(child):.1f}" for child in children(process.pid)]
        print(f"{told:>10}{resident(process.pid):12.1f}  {'  '.join(workers)}", flush=True)
        if told >= requests:
            break
        times, _, statuses = load(port, picture, max(CLIENTS), float("inf"), requests / 10)
        told, answers = told + len(times), answers + statuses
    print("answers: " + ", ".join(f"{n} x {status}" for status, n in sorted(answers.items())))


def children(parent: int) -> list[int]:
    tasks = Path(f"/proc/{parent}/task").glob("*/children")
    return sorted(int(pid) for task in tasks for pid in task.read_text().split())


def resident(pid: int) -> float:
    """Megabytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("picture", nargs="?", type=Path, default=PICTURE)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-wait", type=float, nargs="*", default=[])
    parser.add_argument("--memory", type=int, default=0, metavar="REQUESTS")
    parser.add_argument("--port", type=int, default=8765)
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Pictures a second and waiting times over HTTP at 1, 8 and 32 clients, beside the scanner called in a loop.

    python benchmarks/serve.py [PICTURE] [--seconds 10] [--workers 1]

loop: one process, one picture after the other, no HTTP and no database: what the service's workers could do at best.
Each client sends the picture, without face pictures, and waits for the report (200) before it sends it again. With a
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

from unmask.scan.options import Options

PICTURE = Path(__file__).resolve().parent.parent / "samples" / "portrait-real.jpg"
CLIENTS = (1, 8, 32)


def main() -> None:
    asked = arguments()
    print(machine("unmask", "fastapi", "uvicorn", "sqlalchemy", "onnxruntime"))
    print(f"{asked.picture.name}, {asked.workers} worker(s), {asked.seconds:g} s each\n", flush=True)
    print(f"{'':>12}{'images/s':>10}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}  answers")
    show("loop", *loop(asked.picture, asked.seconds), Counter())
    with server(asked.workers, asked.port) as address:
        for clients in CLIENTS:
            show(f"{clients} client(s)", *load(address, asked.picture, clients, asked.seconds))
        print(f"\nresident memory of the service at the end: {resident(address):.0f} MB")


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


def load(address: str, picture: Path, clients: int, seconds: float) -> tuple[list[float], float, Counter[int]]:
    """Seconds of each request, seconds of all, and how often each status was answered."""
    content, times, statuses = picture.read_bytes(), list[float](), Counter[int]()
    start = time.perf_counter()

    def client() -> None:
        with httpx.Client(base_url=address, timeout=120) as session:
            while time.perf_counter() - start < seconds:
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
    print(f"{name:>12}{len(times) / seconds:10.1f}{p50:9.0f}{p95:9.0f}{p99:9.0f}  {told}", flush=True)


@contextmanager
def server(workers: int, port: int) -> Iterator[str]:
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "unmask", "serve", "--quiet", "--data", folder, "--port", str(port)]
        process = subprocess.Popen([*command, "--workers", str(workers), "--rate", "1000000"])
        try:
            while True:
                try:
                    if httpx.get(f"{address}/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    if process.poll() is not None:
                        raise SystemExit("the service did not start") from None
                time.sleep(0.1)
            yield address
        finally:
            process.terminate()
            process.wait()


def resident(address: str) -> float:
    """Megabytes of the process that listens there, without its workers."""
    port = int(address.rpartition(":")[2])
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"serve" in words and str(port).encode() in words:
            fields = (folder / "statm").read_text().split()
            return int(fields[1]) * 4096 / 1e6
    return float("nan")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("picture", nargs="?", type=Path, default=PICTURE)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--port", type=int, default=8765)
    return parser.parse_args()


if __name__ == "__main__":
    main()

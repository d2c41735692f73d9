"""What a file costs: processor time of a scan beside that of its start, and what a Ray cluster costs on top.

    python benchmarks/scale.py FOLDER [--frames 32] [--ray]

Each scan is a process of its own, one worker with one thread, no images; the start is a scan of one file. With --ray
the same folder is scanned by two local workers and by Ray on two cores, in wall seconds.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import machine

from unmask.scanning.batch import expand


def main() -> None:
    arguments = parse()
    print(machine("onnxruntime", "av", "ray"))
    files = expand([str(arguments.folder)])
    with tempfile.TemporaryDirectory() as scratch:
        (one := Path(scratch) / "one").mkdir()
        shutil.copy(files[0], one)
        alone = ["--jobs", "1", "--threads", "1", "--frames", str(arguments.frames)]
        start, _ = scanned(one, alone)
        whole, wall = scanned(arguments.folder, alone)
        each = (whole - start) / (len(files) - 1)
        print(f"{len(files)} files: {each * 1000:.1f} ms of processor time each; {start:.1f} s to start with the first")
        print(f"one worker: {wall:.1f} s, processor {whole:.1f} s")
        if arguments.ray:
            two = ["--jobs", "2", "--threads", "1", "--frames", str(arguments.frames)]
            _, local = scanned(arguments.folder, [*two, "--out", f"{scratch}/local.parquet"])
            _, ray = scanned(arguments.folder, [*two, "--on", "ray", "--out", f"{scratch}/ray"])
            _, least = scanned(one, [*two, "--on", "ray", "--out", f"{scratch}/least"])
            print(f"two workers: {local:.1f} s; on Ray: {ray:.1f} s ({ray / local:.1f} x), with one file {least:.1f} s")


def scanned(folder: Path, options: list[str]) -> tuple[float, float]:
    """Processor seconds of the scan and of the processes it waited for, and wall seconds."""
    command = [sys.executable, "-m", "unmask", "scan", str(folder), "-q", *options]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 3):  # 3: a file could not be read, which costs time like any other
        sys.exit(done.stderr)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--ray", action="store_true", help="also on Ray")
    return parser.parse_args()


if __name__ == "__main__":
    main()

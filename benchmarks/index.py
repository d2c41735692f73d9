"""Seconds and memory to index a tree like FaceForensics++, beside a plain walk of the same tree.

    python benchmarks/index.py [--files 1000000] [--root FOLDER]

The tree is of small files (one byte: an empty file would be reported, not indexed) with the published names, spread
over methods, compressions and as many made-up releases as the count needs. The walk is `os.walk` and `os.stat` alone:
what any index must do. Each runs in a process of its own, after one walk that warms the file system's cache.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
COMPRESSIONS = ("raw", "c23", "c40")


def build(root: Path, files: int) -> int:
    """Frames of fake videos as the official script lays them: <method>/<compression>/images/<stem>/%04d.png."""
    frames = max(1, files // (len(METHODS) * len(COMPRESSIONS) * 1000))
    made = 0
    for method in METHODS:
        for compression in COMPRESSIONS:
            for n in range(1000):
                stem = f"{n:03d}_{(n + 1) % 1000:03d}"
                folder = root / "fake" / method / f"{compression}_{stem}"
                folder.mkdir(parents=True)
                for i in range(frames):
                    fd = os.open(folder / f"{i:04d}.png", os.O_CREAT | os.O_WRONLY)
                    os.write(fd, b"x")
                    os.close(fd)
                    made += 1
    return made


def walk(root: Path) -> int:
    found = 0
    for folder, _, names in os.walk(root):
        for name in names:
            os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118 - the plainest walk there is
            found += 1
    return found


def index(root: Path) -> int:
    from unmask.data.index import index as run

    return len(run("folder", root, root.parent / "manifest.parquet").manifest)


def measured(what: Callable[[Path], int], root: Path) -> tuple[int, float, float]:
    """Rows, seconds and peak MB of `what(root)` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_timed, (what, root))


def _timed(what: Callable[[Path], int], root: Path) -> tuple[int, float, float]:
    start = time.perf_counter()
    rows = what(root)
    seconds = time.perf_counter() - start
    return rows, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--root", type=Path, help="where to build the tree (default: the temporary folder)")
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(dir=arguments.root))
    try:
        made = build(home / "set", arguments.files)
        print(f"{made:,} files in {home}")
        walk(home / "set")
        rows: dict[str, tuple[int, float, float]] = {}
        for name, what in (("plain walk", walk), ("unmask data index", index)):
            rows[name] = measured(what, home / "set")
            n, seconds, peak = rows[name]
            print(f"{name:13} {n:,} rows  {seconds:6.1f} s  {n / seconds:9,.0f} rows/s  peak {peak:,.0f} MB")
        print(
            f"ratio         {rows['unmask data index'][1] / rows['plain walk'][1]:.2f} x the seconds of the plain walk"
        )
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()

"""All tests, a few packages in a process and two processes at a time: `python tests [pytest's options]`.

One process that loads every runtime, decoder and server of the package for two thousand tests was seen to crash; each
of these ends before that, and gives its memory back. The service and Ray have the machine to themselves: they start
processes of their own, and wait for them. Tests marked `slow` run with `python tests -m slow`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

HERE = Path(__file__).parent
ALONE = ("app",)
TOGETHER = (
    ("bench", "train", "exporting", "forging"),
    ("contract", "detectors", "numbers"),
    ("data", "imageops"),
    ("media", "scanning"),
)  # the longest first
NOTHING_CHOSEN = 5  # pytest's status where -k or -m leave a process without a test


def main() -> int:
    named = {*ALONE, *(folder for folders in TOGETHER for folder in folders)}
    others = (p.name for p in HERE.iterdir() if p.is_dir() or p.name.startswith("test_"))
    rest = tuple(sorted(name for name in others if name not in named and not name.startswith(("_", "."))))
    statuses = [run(ALONE)]
    with ThreadPoolExecutor(2) as two:
        statuses += [
            done.result() for done in as_completed([two.submit(run, folders) for folders in (*TOGETHER, rest)])
        ]
    told = [status for status in statuses if status != NOTHING_CHOSEN] or [NOTHING_CHOSEN]
    return max(map(abs, told))


def run(folders: Sequence[str]) -> int:
    """Pytest's status for these folders; what it says is shown in one piece when it ends."""
    started = time.monotonic()
    print(f"== {', '.join(folders)} ...", flush=True)
    chosen = [] if "-m" in sys.argv else ["-m", "not slow"]
    command = [sys.executable, "-m", "pytest", "-q", *chosen, *sys.argv[1:], *(str(HERE / name) for name in folders)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    took = time.monotonic() - started
    print(f"{done.stdout}== {', '.join(folders)}: status {done.returncode} after {took:.0f} s", flush=True)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())

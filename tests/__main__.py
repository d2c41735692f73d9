"""All tests, a few rooms in a process: `python tests [pytest's options]`.

One process that loads every runtime, decoder and server of the package for two thousand tests was seen to crash; each
of these ends before that, and gives its memory back.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TOGETHER = (("app",), ("bench", "train"), ("contract", "detectors", "numbers"), ("data",), ("media", "scan"))


def main() -> int:
    named = {room for rooms in TOGETHER for room in rooms}
    others = sorted(
        p.name for p in HERE.iterdir() if (p.is_dir() or p.name.startswith("test_")) and p.name not in named
    )
    others = [name for name in others if not name.startswith(("_", "."))]
    worst = 0
    for rooms in (*TOGETHER, others):
        paths = [str(HERE / room) for room in rooms]
        worst = max(worst, abs(subprocess.call([sys.executable, "-m", "pytest", "-q", *sys.argv[1:], *paths])))
    return worst


if __name__ == "__main__":
    sys.exit(main())

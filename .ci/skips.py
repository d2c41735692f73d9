"""Every skipped test with its reason; fails when a reason is not on the list in .ci/skips.txt.

UNMASK_SKIPS=skips.tsv python tests && python .ci/skips.py skips.tsv
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LIST = Path(__file__).with_name("skips.txt")


def main(path: str) -> str | None:
    known = [line for line in LIST.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    skipped = Path(path).read_text("utf-8").splitlines() if Path(path).is_file() else []
    unknown = []
    for line in sorted(set(skipped)):
        test, _, reason = line.partition("\t")
        accepted = any(re.search(pattern, reason) for pattern in known)
        print(f"{'skipped' if accepted else 'NOT ON THE LIST'}: {test}: {reason}")
        unknown += [] if accepted else [test]
    print(f"{len(set(skipped))} skipped, {len(unknown)} of them not on {LIST.name}")
    return f"{len(unknown)} tests were skipped for a reason that {LIST.name} does not accept" if unknown else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""Scan a folder in Python, print the verdicts, and keep a report for people and a table for programs.

python examples/scan_folder.py samples --out scanned
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path

import unmask
from unmask.scanning import html


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("samples"))
    parser.add_argument("--out", type=Path, default=Path("scanned"), help="folder for report.html and report.csv")
    arguments = parser.parse_args()

    report = unmask.scan(arguments.folder, error_rate=0.1)  # at most 10 % wrong calls on either side, or "uncertain"
    for file in report.files:
        score = "-" if file.score is None else f"{file.score:.2f} ({file.low:.2f} to {file.high:.2f})"
        print(f"{file.state:15} {score:22} {file.path}  {'; '.join(file.reasons[:1])}")
        for face in file.faces:  # one for each person
            print(f"    face {face.track}: {face.state}")
        if file.whole:  # whether it was generated as a whole, where a detector of whole images is installed
            print(f"    as a whole: {file.whole.state}")
    print(dict(Counter(file.state for file in report.files)))

    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "report.html").write_text(html.render(report), encoding="utf-8")
    with (arguments.out / "report.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(["path", "state", "score", "low", "high", "whole_score", "reasons"])
        for file in report.files:  # a file without a score has none: leave the cell empty, do not write 0
            whole = file.whole.score if file.whole else None
            reasons = "; ".join(file.reasons)
            writer.writerow([file.path, file.state, file.score, file.low, file.high, whole, reasons])


if __name__ == "__main__":
    main()

"""Compare two detectors by a protocol: a table with intervals, and the command that rebuilds it.

    python examples/bench_two_detectors.py crops/faces.parquet --detectors embedded spectrum --out table

A detector is "embedded", a bundle, a run folder, a recipe (trained first), or "spectrum", a power-spectrum baseline.
Needs the extra `train`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from unmask.bench.protocols import Wanted, run
from unmask.measure import protocol, tables
from unmask.measure.cells import Cell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="faces.parquet of `unmask data extract`")
    parser.add_argument("--protocol", default="cross-manipulation", help="see `unmask eval protocols`")
    parser.add_argument("--detectors", nargs=2, default=["embedded", "spectrum"])
    parser.add_argument("--out", type=Path, default=Path("table"))
    arguments = parser.parse_args()

    wanted = Wanted(
        protocol=protocol.load(arguments.protocol),
        called=arguments.protocol,
        detectors=tuple(arguments.detectors),
        data=arguments.manifest,
        out=arguments.out,
    )
    result, _ = run(wanted)
    tables.write(result, arguments.out)  # table.md, table.tex, table.csv, table.html, result.json
    for column in result.columns:
        one, other = (result.at(name, column, "auroc") for name in arguments.detectors)
        print(f"{column}: {shown(one)} beside {shown(other)}")
    print(f"Rebuild: {result.rebuild}")


def shown(cell: Cell) -> str:
    if cell.value is None:
        return cell.why  # a state, never a number
    return f"{cell.detector} AUROC {cell.value:.3f} ({cell.low:.3f} to {cell.high:.3f})"


if __name__ == "__main__":
    main()

"""The rows by which the embedded detector is chosen: what is trained and validated on, and no row of a test part.

    python -m training.development FACES.parquet FORGED.parquet -o DEVELOPMENT.parquet

A protocol that leaves one method out needs three parts, and the test part must stay unread until the choice is made. So
what is training becomes training and validation, a tenth of its leakage groups; what is validation becomes the test
part, and so do one half of the hand-made edits, of which there are no others, and forgeries of our own, which `unmask
forge` made of validation rows.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import pyarrow as pa

from unmask.data.manifest import Manifest, Writer

HALVED = "ciplab_photoshop"  # has no training and no validation rows


def development(faces: Manifest, forged: Manifest, out: Path) -> Manifest:
    """Writes the rows of both under their parts for development. Returns: what was written."""
    with Writer(out, {**faces.roots, **forged.roots}, faces.row) as writer:
        for manifest, own in ((faces, False), (forged, True)):
            table = manifest.table(list(manifest.arrow_schema.names))
            split = [part(*row, own=own) for row in zip(*(table[n].to_pylist() for n in COLUMNS), strict=True)]
            table = table.set_column(table.column_names.index("split"), "split", pa.array(split, pa.string()))
            writer.add_table(table.filter(pa.array([bool(s) for s in split])))
    return Manifest(out)


COLUMNS = ("dataset", "split", "group_id")


def part(dataset: str, split: str, group: str, *, own: bool) -> str:
    """Where a row goes; "" for nowhere."""
    if own:
        return "test" if split == "val" else ""
    if split == "train":
        return "val" if share(group) < 0.1 else "train"
    return "test" if split == "val" or (dataset == HALVED and chooses(group)) else ""


def chooses(group: str) -> bool:
    """Whether this half of the hand-made edits is for choosing; the other is for the final test."""
    return share(group) < 0.5


def share(group: str) -> float:
    """A number in 0..1 that is always the same for a leakage group."""
    return int(hashlib.sha256(f"development {group}".encode()).hexdigest()[:8], 16) / 2**32


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.development", description=__doc__.splitlines()[0])
    parser.add_argument("faces", type=Path, help="of `unmask data extract`")
    parser.add_argument("forged", type=Path, help="of `unmask data forge --split val`")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    found = development(Manifest(arguments.faces), Manifest(arguments.forged), arguments.out)
    print(f"{len(found):,} rows: {found.path}")


if __name__ == "__main__":
    main()

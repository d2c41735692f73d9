"""New manifests from old ones: joined, filtered, split. The old ones are never changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from unmask.data.checks import repeated_ids, select
from unmask.data.manifest import Manifest, Writer, derived_split
from unmask.errors import ManifestError


def join(manifests: Sequence[Manifest], out: Path) -> Manifest:
    """One after the other.

    Raises: UnmaskError for different kinds of rows, for one data set at two roots, and for ids that come twice.
    """
    kinds = {m.kind for m in manifests}
    if len(kinds) != 1:
        raise ManifestError(f"only manifests of one kind can be joined, these are of {' and '.join(sorted(kinds))}")
    roots: dict[str, Path] = {}
    for manifest in manifests:
        for dataset, root in manifest.roots.items():
            if roots.setdefault(dataset, root) != root:
                raise ManifestError(f"{dataset} lies at {roots[dataset]} and at {root}: one root for each data set")
    with Writer(out, roots, manifests[0].row) as writer:
        for manifest in manifests:
            for batch in manifest.tables():
                writer.add_table(batch)
    joined = Manifest(out)
    if twice := repeated_ids(joined):
        out.unlink()
        raise ManifestError(f"{len(twice)} item_ids would come twice, {twice[0]} the first: filter one manifest before")
    return joined


def keep(manifest: Manifest, condition: str, out: Path) -> Manifest:
    """The rows for which an SQL condition holds, in their order. Raises: UnmaskError, if it holds for none."""
    with Writer(out, manifest.roots, manifest.row) as writer:
        for batch in select(manifest, condition):
            if batch.num_rows:
                writer.add_table(batch)
        if not writer.count:
            raise ManifestError(f"no row of {manifest.path} has {condition}")
    return Manifest(out)


def split(manifest: Manifest, out: Path, train: float = 0.6, val: float = 0.15, *, again: bool = False) -> Manifest:
    """Give rows without a split one, by hash of their leakage group: no group ends in two.

    A data set with official training rows but no validation gets its validation from whole training groups, with
    the chance val / (train + val). Everything given here is marked `split_source` "derived".

    Args:
        again: forget the official splits as well.
    Raises: UnmaskError for shares that leave nothing for a part.
    """
    if train <= 0 or val < 0 or train + val > 1:
        raise ManifestError(f"shares of {train} for training and {val} for validation do not fit into one")
    lacks = set() if again else _without_validation(manifest)
    fixed = {} if again else _held(manifest)
    with Writer(out, manifest.roots, manifest.row) as writer:
        for batch in manifest.tables():
            old, source, group, dataset = (
                batch[c].to_pylist() for c in ("split", "split_source", "group_id", "dataset")
            )
            for i, g in enumerate(group):
                if again or old[i] is None:
                    # a group with official rows follows them, else its faces would stand on both sides
                    old[i], source[i] = fixed.get(g) or derived_split(g, train, val), "derived"
                if old[i] == "train" and dataset[i] in lacks:
                    old[i] = derived_split(g, train / (train + val), val / (train + val))
                    source[i] = source[i] if old[i] == "train" else "derived"
            table = pa.Table.from_batches([batch])
            for name, values in (("split", old), ("split_source", source)):
                table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))
            writer.add_table(table)
    return Manifest(out)


def _without_validation(manifest: Manifest) -> set[str]:
    """Data sets whose own split has training rows and none for validation."""
    table = manifest.table(["dataset", "split"])
    has = {(d, s) for d, s in zip(*(table[c].to_pylist() for c in ("dataset", "split")), strict=True)}
    return {d for d, s in has if s == "train" and (d, "val") not in has}


def _held(manifest: Manifest) -> dict[str, str]:
    """Groups that have an official split; the strictest of several, so that nothing of a test group is trained on."""
    rank = {"train": 0, "val": 1, "test": 2}
    found: dict[str, str] = {}
    table = manifest.table(["group_id", "split"])
    table = table.filter(pc.is_valid(table["split"]))
    for group, part in zip(*(table[c].to_pylist() for c in ("group_id", "split")), strict=True):
        if rank[part] >= rank.get(found.get(group, "train"), 0):
            found[group] = part
    return found

"""Lays out a data set as it is published, in small: what the adapters' tests walk over."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from unmask.data.adapter import Problem
from unmask.data.datasets import adapter
from unmask.data.manifest import Row


def out(root: Path, *paths: str, content: bytes = b"x") -> Path:
    """Files of `content` at `paths`; a path that ends in / is a folder."""
    for path in paths:
        if path.endswith("/"):
            (root / path).mkdir(parents=True, exist_ok=True)
            continue
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def read(name: str, root: Path, dataset: str = "") -> tuple[dict[str, Row], list[Problem]]:
    """(relpath -> row, problems) of a layout, whose rows are of `dataset`; no row comes twice, by path or by id."""
    found = list(adapter(name).rows(root))
    rows = [one for one in found if isinstance(one, Row)]
    assert len({r.relpath for r in rows}) == len({r.item_id for r in rows}) == len(rows)
    assert {r.dataset for r in rows} <= {dataset or name}
    assert all(r.item_id.startswith(f"{dataset or name}/") for r in rows)
    return {r.relpath: r for r in rows}, [one for one in found if isinstance(one, Problem)]


def of(problems: Iterable[Problem], what: str) -> set[str]:
    return {p.relpath for p in problems if p.what == what}

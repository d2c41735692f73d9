"""From a data set on disk to a manifest: run its adapter, write rows, keep what it could not place in a report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from unmask.data.adapter import DataCard, Problem, passed_over
from unmask.data.checks import content_hash
from unmask.data.datasets import Adapter, adapter
from unmask.data.manifest import Manifest, Row, Writer
from unmask.errors import ManifestError
from unmask.output import write_text

KEPT = 10_000  # problems of one sort that the report lists; all are counted


@dataclass(frozen=True)
class Indexed:
    """What an index found. `short`: expected counts of the card that the copy does not meet, as (found, expected)."""

    manifest: Manifest
    problems: dict[str, int]
    short: dict[str, tuple[int, int]]
    report: Path


def index(
    layout: str | Adapter,
    root: Path,
    out: Path,
    *,
    hashes: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> Indexed:
    """Write the manifest of the data set at `root` to `out`, and `<out>.report.json` beside it.

    Args:
        layout: a name of `unmask.data.datasets`, or a module like those, with `CARD` and `rows(root)`.
        hashes: read every file for its sha256, so that duplicates can be found.
    Raises: UnmaskError for an unknown layout, a root that is no folder, or a root in which nothing was found.
    """
    name = layout if isinstance(layout, str) else layout.CARD.title
    layout = adapter(layout) if isinstance(layout, str) else layout
    if not root.exists():
        raise ManifestError(f"{root} does not exist")
    home = root if root.is_dir() else root.parent
    counted, problems, listed, masks = Counter[str](), Counter[str](), list[Problem](), _Masks()
    with Writer(out, home, getattr(layout, "ROW", Row)) as writer:
        for one in chain(layout.rows(root), passed_over(root) if root.is_dir() else (), masks.missing()):
            if isinstance(one, Problem):
                problems[one.what] += 1
                listed += [one] if problems[one.what] <= KEPT else []
                continue
            writer.add(
                one.model_copy(update={"sha256": content_hash(home / one.relpath)}) if hashes and one.relpath else one
            )
            _count(counted, one)
            masks.add(one)
            if writer.count % 1000 == 0:
                progress(1000)
        if not writer.count:
            seen = "; ".join(f"{p.relpath}: {p.why}" for p in listed[:3])
            raise ManifestError(f"nothing of {layout.CARD.title} below {root}{seen and f' ({seen})'}: is it the root?")
    progress(writer.count % 1000)
    short = shortfall(layout.CARD, counted)
    report = out.with_name(f"{out.stem}.report.json")
    write_text(report, _report(name, layout.CARD, counted, problems, listed, short))
    return Indexed(Manifest(out), dict(problems), short, report)


class _Masks:
    """Forgeries without a mask, by their method: a problem where others of the method have one."""

    def __init__(self) -> None:
        self._have, self._lack = set[str](), dict[str, list[str]]()

    def add(self, row: Row) -> None:
        key = f"{row.dataset}/{row.method}"
        if row.mask_relpath:
            self._have.add(key)
        elif row.label == 1:
            self._lack.setdefault(key, []).append(row.relpath)

    def missing(self) -> Iterator[Problem]:
        for key in sorted(self._have & self._lack.keys()):
            yield from (Problem(path, "missing", "it has no mask, others of its method do") for path in self._lack[key])


def shortfall(card: DataCard, counted: Counter[str]) -> dict[str, tuple[int, int]]:
    """The card's counts that were not met: too few or too many. A copy may hold a part only: a warning, no error."""
    return {key: (counted[key], n) for key, n in card.counts.items() if counted[key] != n}


def _count(counted: Counter[str], row: Row) -> None:
    """The keys that a card may expect: "fake", "Deepfakes", "dfdc_faces224/fake"."""
    polarity = "unlabelled" if row.label is None else "fake" if row.label else "real"
    counted.update((polarity, f"{row.dataset}/{polarity}"))
    if row.method:
        counted[row.method] += 1


def _report(
    name: str,
    card: DataCard,
    counted: Counter[str],
    problems: Counter[str],
    listed: list[Problem],
    short: dict[str, tuple[int, int]],
) -> str:
    report = {
        "layout": name,
        "card": card.model_dump(),
        "rows": dict(sorted(counted.items())),
        "counts_not_met": {k: {"found": f, "expected": e} for k, (f, e) in short.items()},
        "problems": dict(problems),
        "listed": [asdict(p) for p in listed],
    }
    return json.dumps(report, indent=1, ensure_ascii=False)

"""Your own captioned images: JSON lines, one object for each image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._captions import captioned
from unmask.data.datasets._files import read_lines
from unmask.data.manifest import Row, Split
from unmask.errors import ManifestError
from unmask.types import Plain

CARD = DataCard(
    title="Your own captions: JSON lines",
    paper="none",
    access='your own files, and lines such as {"image": "a.jpg", "caption": ["one", "another"], "split": "train"}',
    terms="your own",
    layout="distributor",
    splits="the key `split`; none without it",
    traps=("paths are below the table's folder", "an image without `group` is a leakage group of its own"),
)


class _Line(Plain):
    image: str
    caption: str | tuple[str, ...]
    split: Split | None = None
    group: str = ""


def rows(root: Path) -> Iterator[Row | Problem]:
    """Raises: UnmaskError that names the line and the key."""
    if not root.is_file():
        raise ManifestError(f"{root} is no file: name the table of JSON lines itself")
    seen: set[str] = set()
    for number, text in read_lines(root):
        try:
            line = _Line.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise ManifestError(f"{root}, line {number}, {where}: {first['msg']}") from None
        if line.image in seen:
            yield Problem(line.image, "inconsistent", f"line {number} names it a second time")
            continue
        seen.add(line.image)
        said = (line.caption,) if isinstance(line.caption, str) else line.caption
        yield captioned(root.stem, root.parent, line.image, said, group=line.group, split=line.split, source=root.name)

"""Alt texts of the web as Conceptual Captions writes them: "caption<tab>image", or text files beside images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import PICTURES, DataCard, Problem
from unmask.data.datasets._captions import captioned
from unmask.data.datasets._files import Medium, files, read_lines
from unmask.data.manifest import Row
from unmask.errors import ManifestError

CARD = DataCard(
    title="Captions of the web: Conceptual Captions' TSV, or img2dataset's folders",
    paper="Sharma et al., ACL 2018; Changpinyo et al., CVPR 2021, arXiv 2102.08981",
    access="the TSV from the distributor; fetch the images yourself (img2dataset), this project loads nothing",
    terms="the list's own; the images are their owners'",
    layout="third-party loader",
    splits="none: derive them",
    unverified=("img2dataset's files (00000/000000012.jpg and .txt), from memory",),
    traps=(
        "a caption that many images share says nothing of any: ALIGN leaves out those of more than ten",
        "an image may come under several addresses: index with --hash and look for duplicates",
    ),
)


def rows(root: Path) -> Iterator[Row | Problem]:
    """A TSV whose second column is a path below its folder, or a folder of images with .txt files beside them.

    Raises: UnmaskError for a line without a tab.
    """
    yield from _table(root) if root.is_file() else _folder(root)


def _table(table: Path) -> Iterator[Row | Problem]:
    captions: dict[str, list[str]] = {}
    for number, line in read_lines(table):
        caption, tab, path = line.partition("\t")
        if not tab:
            raise ManifestError(f"{table}, line {number} has no tab: write the caption, a tab, and the image's path")
        path = path.strip()
        if "://" in path:
            yield Problem(path, "missing", f"line {number} names an address: fetch it, and write the file's path")
        else:
            captions.setdefault(path, []).append(caption)
    for path, said in captions.items():
        yield captioned(table.stem, table.parent, path, said)


def _folder(root: Path) -> Iterator[Row | Problem]:
    dataset = root.resolve().name or "captions"
    for one in files(root, suffixes=PICTURES, beside=(".txt", ".json", ".parquet")):
        if not isinstance(one, Medium):
            yield one
            continue
        text = (root / one.path).with_suffix(".txt")
        said = [line for _, line in read_lines(text)] if text.is_file() else []
        yield captioned(dataset, root, one.path, said)

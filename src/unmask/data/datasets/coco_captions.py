"""COCO captions: photographs of everyday scenes, five captions each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._captions import captioned, karpathy
from unmask.data.datasets._files import read_json
from unmask.data.manifest import Row, Split

CARD = DataCard(
    title="COCO captions",
    paper="Lin et al., ECCV 2014, arXiv 1405.0312; Chen et al., arXiv 1504.00325",
    access="cocodataset.org: {train,val}{2014,2017}.zip and annotations_trainval{2014,2017}.zip",
    terms="annotations CC BY 4.0; the photographs are their owners' on Flickr",
    layout="distributor",
    splits="official train and val; Karpathy's dataset_coco.json, where it lies in the root, gives train, val and test",
    traps=(
        "Karpathy's split is of the 2014 images; its restval counts as train here",
        "val2017 is a part of val2014: never join the two years",
    ),
)


class _Image(BaseModel):
    id: int
    file_name: str


class _Caption(BaseModel):
    image_id: int
    caption: str


class _Captions(BaseModel):
    images: list[_Image]
    annotations: list[_Caption]


def rows(root: Path) -> Iterator[Row | Problem]:
    """Images with their captions. Raises: UnmaskError for a damaged JSON."""
    if (root / "dataset_coco.json").is_file():
        for name, (split, said, folder) in karpathy(root / "dataset_coco.json").items():
            path = f"{folder}/{name}" if folder else name
            yield captioned("COCO", root, path, said, split=split, source="dataset_coco.json")
        return
    found = False
    sides: tuple[Split, ...] = ("train", "val")
    for side in sides:
        for year in (2014, 2017):
            table = root / "annotations" / f"captions_{side}{year}.json"
            if table.is_file():
                found = True
                yield from _of(root, table, f"{side}{year}", side)
    if not found:
        yield Problem(".", "missing", "annotations/captions_train2014.json, or another of its kind")


def _of(root: Path, table: Path, folder: str, split: Split) -> Iterator[Row | Problem]:
    read = read_json(table, TypeAdapter(_Captions))
    said: dict[int, list[str]] = {}
    for one in read.annotations:
        said.setdefault(one.image_id, []).append(one.caption)
    for image in read.images:
        path = f"{folder}/{image.file_name}"
        yield captioned("COCO", root, path, said.get(image.id, ()), group=str(image.id), split=split, source=table.name)

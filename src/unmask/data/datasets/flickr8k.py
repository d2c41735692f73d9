"""Flickr8k: photographs of people and animals doing something, five captions each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._captions import flickr, karpathy
from unmask.data.datasets._files import read_lines
from unmask.data.manifest import Row, Split

CARD = DataCard(
    title="Flickr8k",
    paper="Hodosh, Young and Hockenmaier, JAIR 47, 2013",
    access="Flickr8k_Dataset.zip and Flickr8k_text.zip, or Kaggle's copy (captions.txt, Images/)",
    terms="research and education; the photographs are their owners'",
    layout="third-party loader",
    splits="official lists (6,000 / 1,000 / 1,000) or Karpathy's dataset_flickr8k.json; none without them",
    unverified=("the folder is spelt Flicker8k_Dataset in the archive, from memory",),
    traps=("captions were tokenised: full stops stand apart", "an image and its crops are not marked as such"),
)
LISTS = ("Flickr8k.token.txt", "captions.txt", "captions.csv", "flickr8k_captions.csv")
FOLDERS = ("Flicker8k_Dataset", "Flickr8k_Dataset", "Images", "images")
OFFICIAL: tuple[tuple[str, Split], ...] = (("train", "train"), ("dev", "val"), ("test", "test"))


def rows(root: Path) -> Iterator[Row | Problem]:
    """Images with their captions. Raises: UnmaskError for a damaged list."""
    splits: dict[str, Split | None] = {}
    if (root / "dataset_flickr8k.json").is_file():
        splits = {name: of for name, (of, _, _) in karpathy(root / "dataset_flickr8k.json").items()}
    for part, split in OFFICIAL:
        path = root / f"Flickr_8k.{part}Images.txt"
        if path.is_file():
            splits |= {name: split for _, name in read_lines(path)}
    yield from flickr("Flickr8k", root, LISTS, FOLDERS, splits)

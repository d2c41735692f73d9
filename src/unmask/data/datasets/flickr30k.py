"""Flickr30k: photographs of people and animals doing something, five captions each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets._captions import flickr, karpathy
from unmask.data.manifest import Row, Split

CARD = DataCard(
    title="Flickr30k",
    paper="Young, Lai, Hodosh and Hockenmaier, TACL 2, 2014",
    access="on request from the authors, or Kaggle's copy (results.csv, flickr30k_images/)",
    terms="research and education; the photographs are their owners'",
    layout="third-party loader",
    splits="Karpathy's dataset_flickr30k.json (29,000 / 1,014 / 1,000); none without it",
    unverified=("names of lists and folders, from memory",),
    traps=("Kaggle's results.csv is separated by |, and one of its lines lacks the number of the caption",),
)
LISTS = ("results_20130124.token", "results.csv", "captions.txt")
FOLDERS = ("flickr30k-images", "flickr30k_images", "images", "Images")


def rows(root: Path) -> Iterator[Row | Problem]:
    """Images with their captions. Raises: UnmaskError for a damaged list."""
    splits: dict[str, Split | None] = {}
    if (root / "dataset_flickr30k.json").is_file():
        splits = {name: of for name, (of, _, _) in karpathy(root / "dataset_flickr30k.json").items()}
    yield from flickr("Flickr30k", root, LISTS, FOLDERS, splits)

"""Celeb-DF v1: interviews of celebrities from YouTube and face swaps among them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unmask.data.adapter import DataCard, Problem
from unmask.data.datasets import _celeb_df
from unmask.data.manifest import Row

CARD = DataCard(
    title="Celeb-DF v1",
    paper="Li et al., CVPR 2020, arXiv 1909.12962",
    access="a form; github.com/yuezunli/celeb-deepfakeforensics",
    terms="research only; YouTube material, no redistribution",
    layout="distributor",
    counts={"real": 408, "fake": 795},
    splits="official test list (List_of_testing_videos.txt); validation derived from the rest by identity",
    unverified=(
        "the list has 100 videos (from memory)",
        "identity numbers are taken to mean the same person as in v2 (from memory)",
    ),
    traps=(
        "the list writes 1 for real",
        "identities stand on both sides of the official split: rows of those that do are flagged",
        "a group is the target; the source's face (source_id) is another group's",
    ),
)


def rows(root: Path) -> Iterator[Row | Problem]:
    """Raises: UnmaskError for a damaged list of testing videos."""
    yield from _celeb_df.rows(root, "celeb_df_v1")

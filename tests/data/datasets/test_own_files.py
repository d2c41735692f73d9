"""Folders, tables and rearranged JSON that people bring themselves."""

from pathlib import Path

import pytest
from tests.data.datasets import lay

from unmask.data import survey
from unmask.data.datasets.folder import LABELS
from unmask.data.index import index


def test_a_folder_tells_label_method_set_and_group(tmp_path: Path) -> None:
    root = lay.out(
        tmp_path / "folder",
        "real/0001.png",
        "real/anna/a b.JPG",
        "real/youtube/clip 7/0003.png",
        "fake/0002.png",
        "fake/swap/0001.webp",
        "Fake/swap/clip 7/0001.png",
        "fake/sora/0001.mp4",
        "progan/cat/0_real/1.png",
        "progan/cat/1_fake/1.png",
    )
    rows, problems = lay.read("folder", root)
    assert problems == []
    assert {p: (r.label, r.method, r.group_id.removeprefix("folder/")) for p, r in rows.items()} == {
        "real/0001.png": (0, "", "0001"),
        "real/anna/a b.JPG": (0, "", "anna"),
        "real/youtube/clip 7/0003.png": (0, "", "clip 7"),
        "fake/0002.png": (1, "", "0002"),
        "fake/swap/0001.webp": (1, "swap", "0001"),
        "Fake/swap/clip 7/0001.png": (1, "swap", "clip 7"),
        "fake/sora/0001.mp4": (1, "sora", "0001"),
        "progan/cat/0_real/1.png": (0, "", "progan/cat/1"),
        "progan/cat/1_fake/1.png": (1, "progan", "progan/cat/1"),
    }
    assert {r.media_type for p, r in rows.items() if p.endswith("mp4")} == {"video"}
    assert {r.split for r in rows.values()} == {None}
    assert rows["real/youtube/clip 7/0003.png"].extra == {"source": "youtube"}


@pytest.mark.parametrize("order", ["{split}/{label}/swap/{name}", "{label}/swap/{split}/{name}"])
def test_split_folders_stand_above_or_below_the_label(order: str, tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for split in ("Train", "validation", "dev", "TEST"):
        lay.out(root, *(order.format(split=split, label=label, name="0.png") for label in ("real", "fake")))
    found = index("folder", root, tmp_path / "m.parquet")
    rows = list(found.manifest)
    assert {r.relpath.lower().find("test") >= 0 for r in rows if r.split == "test"} == {True}
    assert sorted((r.split, r.label) for r in rows) == sorted(
        (s, label) for s in ("train", "val", "val", "test") for label in (0, 1)
    )
    assert {(r.dataset, r.split_source) for r in rows} == {("mine", "folder")}


def test_a_counter_is_no_leak_and_a_person_in_two_splits_is(tmp_path: Path) -> None:
    root = lay.out(tmp_path / "s", *(f"{s}/{c}/0001.png" for s in ("train", "test") for c in ("real", "fake")))
    assert survey.straddlers(index("folder", root, tmp_path / "m.parquet").manifest) == []
    lay.out(root, "train/real/anna/1.png", "test/fake/swap/anna/2.png")
    torn = survey.straddlers(index("folder", root, tmp_path / "m.parquet").manifest)
    assert [(t.group_id, t.splits) for t in torn] == [("s/anna", ("test", "train"))]


def test_a_folder_that_does_not_say_what_it_holds_is_reported(tmp_path: Path) -> None:
    root = lay.out(
        tmp_path / "folder",
        "real/1.png",
        "stray.png",
        "reel/1.png",
        "0/1.png",
        "1/1.png",
        "really fake/1.png",
        "fake/real/1.png",
        "train/test/real/1.png",
        "fake/swap/masks/1.png",
        "real/Thumbs.db",
        "real/.hidden.png",
    )
    lay.out(root, "fake/empty.png", content=b"")
    rows, problems = lay.read("folder", root)
    assert set(rows) == {"real/1.png"}
    assert lay.of(problems, "unknown") == {
        *("stray.png", "reel/1.png", "0/1.png", "1/1.png", "really fake/1.png", "real/Thumbs.db"),
        "fake/swap/masks/1.png",
    }
    assert lay.of(problems, "inconsistent") == {"fake/real/1.png", "train/test/real/1.png"}
    assert lay.of(problems, "empty") == {"fake/empty.png"}


@pytest.mark.parametrize("name", LABELS)
def test_every_documented_label_is_one(name: str, tmp_path: Path) -> None:
    documented = (Path(__file__).parents[3] / "docs" / "datasets-generic.md").read_text()
    assert f"`{name}`" in documented
    rows, _ = lay.read("folder", lay.out(tmp_path / "folder", f"{name}/1.png"))
    assert [r.label for r in rows.values()] == [LABELS[name]]

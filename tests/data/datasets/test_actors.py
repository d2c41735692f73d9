"""Celeb-DF, DFDC, DFDC Preview, UADFV and DeeperForensics on trees as they are published."""

import json
from pathlib import Path

import pytest

from tests.data.datasets import lay
from unmask.data.datasets import _ffpp
from unmask.data.manifest import Row
from unmask.types import UnmaskError


def held_together(rows: dict[str, Row]) -> None:
    """No leakage group in two splits, unless a row of it says so."""
    sides: dict[str, set[str | None]] = {}
    for row in rows.values():
        sides.setdefault(row.group_id, set()).add(row.split)
    flagged = {row.group_id for row in rows.values() if row.flags}
    assert {group for group, some in sides.items() if len(some) > 1} <= flagged


def celeb(root: Path) -> Path:
    lay.out(
        root,
        *(f"Celeb-real/id{k}_0000.mp4" for k in range(4)),
        "YouTube-real/00000.mp4",
        "YouTube-real/00170.mp4",
        "Celeb-synthesis/id0_id1_0000.mp4",
        "Celeb-synthesis/id2_id3_0000.mp4",
        "Celeb-synthesis/id2_0000.mp4",
        "Celeb-real/id9_0001 (1).mp4",
    )
    listed = ["1 YouTube-real/00170.mp4", "1 Celeb-real/id0_0000.mp4", "0 Celeb-synthesis/id2_id3_0000.mp4"]
    (root / "List_of_testing_videos.txt").write_text("\n".join([*listed, "0 Celeb-synthesis/id5_id6_0000.mp4", ""]))
    return root


@pytest.mark.parametrize("name", ["celeb_df_v1", "celeb_df_v2"])
def test_celeb_df_writes_1_for_real_in_its_list_and_the_row_writes_0(name: str, tmp_path: Path) -> None:
    rows, problems = lay.read(name, celeb(tmp_path))
    assert {p for p, r in rows.items() if r.split == "test"} == {
        "YouTube-real/00170.mp4",
        "Celeb-real/id0_0000.mp4",
        "Celeb-synthesis/id2_id3_0000.mp4",
    }
    assert [rows[p].label for p in ("YouTube-real/00170.mp4", "Celeb-synthesis/id2_id3_0000.mp4")] == [0, 1]
    assert not lay.of(problems, "inconsistent")
    assert lay.of(problems, "missing") == {"Celeb-synthesis/id5_id6_0000.mp4"}
    assert lay.of(problems, "unknown") == {"Celeb-synthesis/id2_0000.mp4", "Celeb-real/id9_0001 (1).mp4"}
    swap = rows["Celeb-synthesis/id0_id1_0000.mp4"]
    assert swap.pair_key == rows["Celeb-real/id0_0000.mp4"].item_id
    assert swap.flags == ("straddles-identity",)  # id0 is also in the test list
    assert rows["YouTube-real/00000.mp4"].flags == ()
    held_together(rows)


def test_a_celeb_df_list_of_the_other_polarity_is_not_believed(tmp_path: Path) -> None:
    celeb(tmp_path)
    (tmp_path / "List_of_testing_videos.txt").write_text("0 Celeb-real/id0_0000.mp4\n")
    rows, problems = lay.read("celeb_df_v2", tmp_path)
    assert "Celeb-real/id0_0000.mp4" in lay.of(problems, "inconsistent")
    assert "Celeb-real/id0_0000.mp4" not in rows


def test_a_damaged_or_absent_celeb_df_list_gives_no_split_away(tmp_path: Path) -> None:
    (celeb(tmp_path) / "List_of_testing_videos.txt").write_text("1 ../../etc/passwd\n")
    with pytest.raises(UnmaskError, match=r"List_of_testing_videos.txt, line 1 .* fetch it"):
        lay.read("celeb_df_v2", tmp_path)
    (tmp_path / "List_of_testing_videos.txt").unlink()
    rows, problems = lay.read("celeb_df_v2", tmp_path)
    assert {r.split for r in rows.values()} == {None}
    assert "List_of_testing_videos.txt" in lay.of(problems, "missing")


def dfdc(root: Path) -> Path:
    part = "dfdc_train_part_7"
    lay.out(root, f"{part}/aaaaaaaaaa.mp4", f"train/{part}/zzzzzzzzzz.mp4", f"{part}/strangerxx.mp4", "read me.txt")
    lay.out(root, f"{part}/bbbbbbbbbb.mp4", f"{part}/orphanxxxx.mp4", "test/tttttttttt.mp4", "test/uuuuuuuuuu.mp4")
    lay.out(root, f"{part}/emptyxxxxx.mp4", content=b"")
    entries = {
        "aaaaaaaaaa.mp4": {"label": "REAL", "split": "train", "original": None},
        "bbbbbbbbbb.mp4": {"label": "FAKE", "split": "train", "original": "aaaaaaaaaa.mp4"},
        "orphanxxxx.mp4": {"label": "FAKE", "split": "train", "original": "elsewherex.mp4"},
        "emptyxxxxx.mp4": {"label": "REAL", "split": "train"},
        "../../gone.mp4": {"label": "REAL", "split": "train"},
    }
    (root / part / "metadata.json").write_text(json.dumps(entries))
    (root / "test/labels.csv").write_text("filename,label\ntttttttttt.mp4,1\nuuuuuuuuuu.mp4,0\nvvvvvvvvvv.mp4,0\n")
    return root


def test_dfdc_ties_a_forgery_to_its_original_and_reports_what_does_not_fit(tmp_path: Path) -> None:
    rows, problems = lay.read("dfdc", dfdc(tmp_path))
    real, fake = (rows[f"dfdc_train_part_7/{stem}.mp4"] for stem in ("aaaaaaaaaa", "bbbbbbbbbb"))
    assert (real.label, fake.label, fake.pair_key, fake.fold) == (0, 1, real.item_id, "7")
    assert (fake.group_id, fake.split) == (real.group_id, real.split)
    assert [rows[f"test/{s * 10}.mp4"].label for s in "tu"] == [1, 0]
    assert {r.split for p, r in rows.items() if p.startswith("test/")} == {"test"}
    assert lay.of(problems, "unknown") == {"read me.txt", "dfdc_train_part_7/strangerxx.mp4"}
    assert lay.of(problems, "empty") == {"dfdc_train_part_7/emptyxxxxx.mp4"}
    assert lay.of(problems, "missing") == {"dfdc_train_part_7/../../gone.mp4", "test/vvvvvvvvvv.mp4"}
    assert lay.of(problems, "inconsistent") == {"dfdc_train_part_7/orphanxxxx.mp4", "train/dfdc_train_part_7"}
    held_together(rows)


@pytest.mark.parametrize("text", ["{", "[]", '{"a.mp4": {"label": "MAYBE"}}'])
def test_damaged_dfdc_metadata_is_named(text: str, tmp_path: Path) -> None:
    (dfdc(tmp_path) / "dfdc_train_part_7/metadata.json").write_text(text)
    with pytest.raises(UnmaskError, match=r"part_7/metadata.json is damaged .* fetch it"):
        lay.read("dfdc", tmp_path)


def test_dfdc_as_kaggle_gives_it_and_one_part_alone(tmp_path: Path) -> None:
    entries = {
        "a.mp4": {"label": "REAL", "split": "train"},
        "b.mp4": {"label": "FAKE", "split": "train", "original": "a.mp4"},
        "c.mp4": {"label": "FAKE", "split": "train", "original": "of_another_part.mp4"},
    }
    sample = lay.out(tmp_path / "kaggle", *(f"train_sample_videos/{name}" for name in entries), "test_videos/d.mp4")
    lay.out(sample, "sample_submission.csv")
    (sample / "train_sample_videos/metadata.json").write_text(json.dumps(entries))
    rows, problems = lay.read("dfdc", sample)
    assert {p: r.label for p, r in rows.items() if "train" in p} == {
        f"train_sample_videos/{name}": label for name, label in (("a.mp4", 0), ("b.mp4", 1), ("c.mp4", 1))
    }
    assert rows["test_videos/d.mp4"].label is None
    assert [p.what for p in problems] == ["missing"]  # no labels.csv beside the test videos
    alone, problems = lay.read("dfdc", sample / "train_sample_videos")
    assert problems == []
    assert {p: (r.label, r.group_id) for p, r in alone.items()} == {
        "a.mp4": (0, "dfdc/a"),
        "b.mp4": (1, "dfdc/a"),
        "c.mp4": (1, "dfdc/of_another_part"),
    }
    (sample / "train_sample_videos").rename(sample / "dfdc_train_part_7")
    assert {r.fold for r in lay.read("dfdc", sample / "dfdc_train_part_7")[0].values()} == {"7"}


def test_dfdc_test_clips_without_labels_stay_unlabelled(tmp_path: Path) -> None:
    (dfdc(tmp_path) / "test/labels.csv").unlink()
    rows, _ = lay.read("dfdc", tmp_path)
    assert {r.label for p, r in rows.items() if p.startswith("test/")} == {None}


def test_dfdc_preview_takes_people_from_paths_and_labels_from_its_list(tmp_path: Path) -> None:
    entries = {
        "original_videos/101/101_A_001.mp4": {"label": "real", "set": "test", "augmentations": []},
        "method_A/101/101_A/202_101_A_001.mp4": {"label": "fake", "set": "test", "augmentations": ["blur"]},
        "method_B/101/101_A/202_101_A_001.mp4": {"label": "fake", "set": "test"},
        "original_videos/202/202_B_001.mp4": {"label": "real", "set": "train"},
        "original_videos/303/303_B_001.mp4": {"label": "fake", "set": "train"},
    }
    lay.out(tmp_path, *entries, "method_A/101/101_A/202_999_A_001.mp4")
    entries["method_A/1/1_A/2_1_A_001.mp4"] = {"label": "fake", "set": "train"}
    (tmp_path / "dataset.json").write_text(json.dumps(entries))
    rows, problems = lay.read("dfdc_preview", tmp_path)
    fakes = [r for r in rows.values() if r.label == 1]
    assert {r.pair_key for r in fakes} == {rows["original_videos/101/101_A_001.mp4"].item_id}
    assert {(r.target_id, r.source_id, r.split) for r in fakes} == {("101", "202", "test")}
    assert all(r.flags == ("straddles-identity",) for r in fakes)  # 202 is in training
    assert lay.of(problems, "inconsistent") == {"original_videos/303/303_B_001.mp4"}
    assert lay.of(problems, "unknown") == {"method_A/101/101_A/202_999_A_001.mp4"}
    assert lay.of(problems, "missing") == {"method_A/1/1_A/2_1_A_001.mp4"}
    held_together(rows)


def test_uadfv_pairs_by_number_and_reports_halves(tmp_path: Path) -> None:
    lay.out(tmp_path, "real/0000.mp4", "fake/0000_fake.mp4", "fake/0001_fake.mp4", "real/0002.mp4", "fake/0003.mp4")
    rows, problems = lay.read("uadfv", tmp_path)
    assert rows["fake/0000_fake.mp4"].pair_key == rows["real/0000.mp4"].item_id
    assert [(r.label, r.split) for r in rows.values()] == [(0, "test"), (0, "test"), (1, "test"), (1, "test")]
    assert lay.of(problems, "missing") == {"real/0001.mp4", "fake/0002_fake.mp4"}
    assert lay.of(problems, "unknown") == {"fake/0003.mp4"}


def test_deeperforensics_has_no_real_class_and_its_own_split(tmp_path: Path) -> None:
    clips = ("071_M101", "054_W102", "100_M101")
    variants = ("end_to_end", "end_to_end_level_5")
    lay.out(tmp_path, *(f"manipulated_videos/{v}/{c}.mp4" for v in variants for c in clips[:2]), "lists/splits/")
    lay.out(
        tmp_path, "source_videos/M101/x/M101_light_up_happy_camera_front.mp4", "manipulated_videos/mine/071_M101.mp4"
    )
    lay.out(tmp_path, "manipulated_videos/end_to_end/071_X101.mp4", "lists/manipulated_videos_distortions_meta/")
    for split, clip in zip(("train", "test", "val"), clips, strict=True):
        (tmp_path / f"lists/splits/{split}.txt").write_text(f"{clip}.mp4\n")
    meta = tmp_path / "lists/manipulated_videos_distortions_meta/manipulated_videos_end_to_end_level_5_meta.txt"
    meta.write_text("end_to_end_level_5/071_M101.mp4 GB:5 JPEG:5\n")
    rows, problems = lay.read("deeperforensics", tmp_path)
    assert {r.label for r in rows.values()} == {1}
    clean, worse = (rows[f"manipulated_videos/{v}/071_M101.mp4"] for v in variants)
    assert (clean.split, worse.split, clean.perturbations, worse.perturbations) == (
        "train",
        "train",
        (),
        ("GB:5", "JPEG:5"),
    )
    assert (clean.pair_key, clean.extra["ff_split"]) == (_ffpp.item_id("original", "c23", "071"), "train")
    # 071 and 054 are partners in FaceForensics++, M101 is in train and val: both kinds of leak are said.
    assert clean.flags == ("straddles-source", "straddles-identity")
    assert lay.of(problems, "missing") == {f"manipulated_videos/{v}/100_M101.mp4" for v in variants}
    assert lay.of(problems, "unknown") == {"manipulated_videos/mine", "manipulated_videos/end_to_end/071_X101.mp4"}
    held_together(rows)

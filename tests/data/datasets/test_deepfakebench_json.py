"""DeepfakeBench's JSON: foreign paths, labels by name, splits that repeat one another."""

import json
from pathlib import Path

import pytest

from tests.data.datasets import lay
from unmask.data.datasets import _celeb_df, _ffpp, adapter
from unmask.data.datasets.deepfakebench_json import LABELS
from unmask.data.index import index
from unmask.data.manifest import Row
from unmask.types import UnmaskError

Tree = dict[str, dict[str, dict[str, dict[str, object]]]]


def clip(label: str, folder: str, *frames: str, prefix: str = "", back: bool = False) -> dict[str, object]:
    paths = [f"{prefix}{folder}/{f}" for f in frames]
    return {"label": label, "frames": [p.replace("/", "\\") for p in paths] if back else paths}


def arranged(root: Path, tree: Tree, name: str = "dataset_json/X.json") -> Path:
    lay.out(root, name)
    (root / name).write_text(json.dumps(tree))
    return root


def faceforensics(root: Path) -> tuple[str, str]:
    """Two videos of a pair in the published form: compressions, back-slashes, the author's drive."""
    one = next(c for c, s in _ffpp.splits().items() if s == "train" and _ffpp.groups()[c] not in _ffpp.straddling())
    pair = f"{one}_{_ffpp.partners()[one]}"
    real, homes = f"FaceForensics++/original_sequences/youtube/c23/frames/{one}", {}
    for label, method in (("FF-DF", "Deepfakes"), ("FF-F2F", "Face2Face")):
        homes[label] = f"FaceForensics++/manipulated_sequences/{method}/c23/frames/{pair}"
    tree: Tree = {
        "FaceForensics++": {"FF-real": {"train": {"c23": {one: clip("FF-real", real, "000.png", "012.png")}}}}
    }
    for label, home in homes.items():
        found = clip(label, home, "000.png", prefix="D:/Youtu_Pangu/rgb/", back=True)
        found["masks"] = [str(p).replace("frames", "masks") for p in found["frames"]]  # type: ignore[attr-defined]
        tree["FaceForensics++"][label] = {"train": {"c23": {pair: found}}, "val": {"c23": {}}, "test": {}}
        lay.out(root, f"{home}/000.png", f"{home.replace('frames', 'masks')}/000.png")
    lay.out(root, f"{real}/000.png", f"{real}/012.png")
    arranged(root, tree)
    return one, pair


def test_faceforensics_is_found_whatever_machine_wrote_the_paths(tmp_path: Path) -> None:
    one, pair = faceforensics(tmp_path)
    rows, problems = lay.read("deepfakebench_json", tmp_path, "faceforensics")
    assert problems == []
    found = {r.item_id: (r.label, r.method, r.compression, r.split, r.media_type) for r in rows.values()}
    assert found == {
        f"faceforensics/original/c23/{one}": (0, "", "c23", "train", "frame_seq"),
        f"faceforensics/Deepfakes/c23/{pair}": (1, "Deepfakes", "c23", "train", "frame_seq"),  # equal stems, two rows
        f"faceforensics/Face2Face/c23/{pair}": (1, "Face2Face", "c23", "train", "frame_seq"),
    }
    assert {r.group_id for r in rows.values()} == {_ffpp.groups()[one]}
    fake = next(r for r in rows.values() if r.method == "Deepfakes")
    assert fake.mask_relpath == f"FaceForensics++/manipulated_sequences/Deepfakes/c23/masks/{pair}"


def test_a_json_beside_its_frames_may_be_named_itself(tmp_path: Path) -> None:
    faceforensics(tmp_path)
    (tmp_path / "dataset_json/X.json").rename(tmp_path / "X.json")
    made = index("deepfakebench-json", tmp_path / "X.json", tmp_path / "m.parquet")
    assert (len(made.manifest), made.problems) == (3, {})
    assert all(made.manifest.file(r.dataset, r.relpath).is_dir() for r in made.manifest)


def celeb(root: Path) -> Path:
    """As published: validation copies test, and train holds everything."""
    real = {n: clip("CelebDFv2_real", f"Celeb-DF-v2/Celeb-real/frames/{n}", "0.png") for n in ("id0_0000", "id1_0000")}
    fake = {n: clip("CelebDFv2_fake", f"Celeb-DF-v2/Celeb-synthesis/frames/{n}", "0.png") for n in ("id0_id1_0000",)}
    test = {"id0_0000": real["id0_0000"]}
    lay.out(root, *(f for c in (*real.values(), *fake.values()) for f in c["frames"]))  # type: ignore[attr-defined]
    splits = {"train": real, "val": test, "test": test}
    tree: Tree = {"Celeb-DF-v2": {"CelebDFv2_real": splits, "CelebDFv2_fake": {"train": fake}}}  # type: ignore[dict-item]
    return arranged(root, tree)


def test_a_clip_of_several_splits_is_a_test_clip_once_and_said(tmp_path: Path) -> None:
    rows, problems = lay.read("deepfakebench_json", celeb(tmp_path), "celeb_df_v2")
    by_name = {Path(p).name: r for p, r in rows.items()}
    assert {n: (r.label, r.split) for n, r in by_name.items()} == {
        "id0_0000": (0, "test"),
        "id1_0000": (0, "train"),
        "id0_id1_0000": (1, "train"),
    }
    assert [p.why for p in problems] == ["1 videos of CelebDFv2_real stand in test and train and val: taken as test"]
    assert by_name["id0_id1_0000"].group_id == _celeb_df.group("id0")
    assert (by_name["id0_id1_0000"].flags, by_name["id1_0000"].flags) == (("straddles-identity",), ())


def test_dfdc_as_the_script_writes_it(tmp_path: Path) -> None:
    """Validation is overwritten by one video without a name, then holds all of train."""
    train = {n: clip("DFDC_Fake", f"DFDC/train/dfdc_train_part_0/frames/{n}", "000.png") for n in ("aaa", "bbb")}
    test = {"ttt": clip("DFDC_Fake", "DFDC/test/frames/ttt", "000.png")}
    lay.out(tmp_path, *(f for c in (*train.values(), *test.values()) for f in c["frames"]))  # type: ignore[attr-defined]
    val = {**test["ttt"], **train}
    arranged(tmp_path, {"DFDC": {"DFDC_Fake": {"train": train, "val": val, "test": test}}})  # type: ignore[dict-item]
    rows, problems = lay.read("deepfakebench_json", tmp_path, "dfdc")
    assert {Path(p).name: r.split for p, r in rows.items()} == {"aaa": "train", "bbb": "train", "ttt": "test"}
    assert sorted(p.why for p in problems) == [
        "2 videos of DFDC_Fake stand in train and val: taken as train",
        "val of DFDC_Fake has label and frames among its clips: a video without a name",
    ]


@pytest.mark.parametrize(
    ("name", "label", "group"),
    [
        ("id3_id7_0001", "CelebDFv1_fake", "celeb_df/id3"),
        ("00012", "CelebDFv2_real", "celeb_df/00012"),
        ("07_02__walk__ABCD1234", "DFD_fake", "dfd/actor/07"),
        ("202_101_A_001", "DFDCP_FakeA", "dfdc_preview/101"),
        ("101_A_001", "DFDCP_Real", "dfdc_preview/101"),
        ("0007_fake", "UADFV_Fake", "uadfv/0007"),
        ("071_M101", "DF_fake", _ffpp.groups()["071"]),
        ("M101_light_up_happy_camera_front", "DF_real", "deeperforensics/M101"),
        ("abcdefghij", "DFDC_Real", "dfdc/abcdefghij"),
    ],
)
def test_groups_are_those_of_the_sets_own_layouts(name: str, label: str, group: str, tmp_path: Path) -> None:
    lay.out(tmp_path, f"set/frames/{name}/0.png")
    arranged(tmp_path, {"Set": {label: {"test": {name: clip(label, f"set/frames/{name}", "0.png")}}}})
    (row,) = adapter("deepfakebench_json").rows(tmp_path)
    assert isinstance(row, Row)
    assert row.group_id == group


@pytest.mark.parametrize(("label", "known"), LABELS.items())
def test_labels_are_told_by_their_names(label: str, known: tuple[int, str, str], tmp_path: Path) -> None:
    lay.out(tmp_path, "set/frames/a/0.png")
    arranged(tmp_path, {"Set": {label: {"test": {"a": clip(label, "set/frames/a", "0.png")}}}})
    (row,) = adapter("deepfakebench_json").rows(tmp_path)
    assert isinstance(row, Row)
    assert (row.label, row.dataset, row.method) == known
    assert row.label == int("real" not in label.lower())


def test_other_sets_need_a_label_that_ends_in_real_or_fake(tmp_path: Path) -> None:
    lay.out(tmp_path, *(f"s/frames/{n}/0.png" for n in "abc"))
    names = {"simswap_Real": "a", "simswap_Fake": "b", "attack": "c"}
    tree: Tree = {"simswap_ff": {k: {"test": {v: clip(k, f"s/frames/{v}", "0.png")}} for k, v in names.items()}}
    rows, problems = lay.read("deepfakebench_json", arranged(tmp_path, tree), "simswap_ff")
    assert {r.label_native: (r.label, r.method) for r in rows.values()} == {
        "simswap_Real": (0, ""),
        "simswap_Fake": (1, "simswap"),
    }
    assert [p.why for p in problems] == ["the label 'attack' says neither real nor fake"]


def test_what_json_and_disk_do_not_share_is_reported(tmp_path: Path) -> None:
    lay.out(tmp_path, "s/frames/a/0.png", "s/frames/a/9.png", "s/frames/b/0.png", "elsewhere/0.png", "d/0.png")
    clips = {
        "a": clip("UADFV_Real", "s/frames/a", "0.png", "1.png"),
        "b": clip("UADFV_Real", "s/frames/b", "0.png") | {"label": "UADFV_Fake"},
        "c": clip("UADFV_Real", "s/frames/c", "0.png"),
        "d": clip("UADFV_Real", "x/d", "0.png"),  # the last name alone does not tell
        "e": clip("UADFV_Real", "s/../../elsewhere", "0.png"),
        "f": clip("UADFV_Real", "s/frames/a", "0.png"),
        "g": clip("UADFV_Real", "s/frames/b"),
    }
    clips["h"] = {"label": "UADFV_Real", "frames": ["s/frames/a/0.png", "s/frames/b/0.png"]}
    rows, problems = lay.read(
        "deepfakebench_json", arranged(tmp_path, {"UADFV": {"UADFV_Real": {"test": clips}}}), "uadfv"
    )  # type: ignore[dict-item]
    assert set(rows) == {"s/frames/a"}
    assert lay.of(problems, "missing") == {"s/frames/a/1.png", "s/frames/c", "x/d", "s/../../elsewhere"}
    assert lay.of(problems, "inconsistent") == {"s/frames/a", "X.json", "X.json: UADFV_Real/h"}
    assert lay.of(problems, "empty") == {"X.json: UADFV_Real/g"}


@pytest.mark.parametrize("text", ["{", "[1]", '{"X": {"FF-DF": {"dev": {}}}}', '{"X": {"FF-DF": {"test": {"a": 1}}}}'])
def test_json_of_another_form_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "X.json").write_text(text)
    with pytest.raises(UnmaskError, match=r"X.json is damaged"):
        lay.read("deepfakebench_json", tmp_path)
    (tmp_path / "X.json").unlink()
    with pytest.raises(UnmaskError, match="holds no JSON"):
        lay.read("deepfakebench_json", tmp_path)

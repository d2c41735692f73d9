"""FakeClue, OW-DFA and OWDFA-40, VIPBench, Casual Conversations: gathered from other sets, or about people."""

import json
from pathlib import Path

import pytest

from tests.data.datasets import lay
from unmask.data.datasets import _celeb_df, _ffpp
from unmask.data.manifest import derived_split
from unmask.types import UnmaskError


def clip(split: str) -> str:
    """A FaceForensics++ pair that shares nothing with another split."""
    one = next(c for c, s in _ffpp.splits().items() if s == split and _ffpp.groups()[c] not in _ffpp.straddling())
    return f"{one}_{_ffpp.partners()[one]}"


def fakeclue(root: Path) -> tuple[str, str]:
    forged = f"ff++/fake/Deepfakes/c23/frames/{clip('train')}/160.png"
    real = f"ff++/real/c23/frames/{clip('train')[:3]}/001.png"
    train = {
        forged: 0,
        "genimage/fake/a b.png": 0,
        "doc/real/1.jpg": 1,
        "satellite/fake/2.jpg": 1,
        "doc/real/gone.jpg": 1,
    }
    lay.out(root, *(f"train/{p}" for p in train if "gone" not in p), "train/doc/fake/stray.png", f"test/test/{real}")
    records = [
        {"image": p, "label": n, "cate": p.split("/")[0], "conversations": [{"from": "gpt"}]} for p, n in train.items()
    ]
    lay.out(root, "data_json/train.json", "data_json/test.json")
    (root / "data_json/train.json").write_text(json.dumps(records))
    (root / "data_json/test.json").write_text(json.dumps([{"image": f"./{real}", "label": 1}]))
    return f"train/{forged}", f"test/test/{real}"


def test_fakeclue_writes_1_for_real_and_the_row_writes_0(tmp_path: Path) -> None:
    forged, real = fakeclue(tmp_path)
    rows, problems = lay.read("fakeclue", tmp_path)
    assert {p: (r.label, r.method) for p, r in rows.items()} == {
        forged: (1, "Deepfakes"),
        "train/genimage/fake/a b.png": (1, "genimage"),
        "train/doc/real/1.jpg": (0, ""),
        real: (0, ""),
    }
    assert rows[forged].group_id == rows[real].group_id == _ffpp.groups()[clip("train")[:3]]
    assert rows[forged].flags == rows[real].flags == ("straddles-source",)  # one video in train and test
    assert rows["train/doc/real/1.jpg"].flags == ()
    assert (rows[real].split, rows[real].compression) == ("test", "c23")
    assert lay.of(problems, "inconsistent") == {"train/satellite/fake/2.jpg"}
    assert lay.of(problems, "unknown") == {"train/doc/fake/stray.png"}
    assert lay.of(problems, "missing") == {"train/doc/real/gone.jpg"}


def test_fakeclue_without_or_with_a_damaged_json_labels_nothing(tmp_path: Path) -> None:
    fakeclue(tmp_path)
    (tmp_path / "data_json/test.json").unlink()
    rows, problems = lay.read("fakeclue", tmp_path)
    assert not [p for p in rows if p.startswith("test/")]
    assert "data_json/test.json" in lay.of(problems, "missing")
    (tmp_path / "data_json/train.json").write_text('[{"image": "a.png", "label": 2}]')
    with pytest.raises(UnmaskError, match=r"train.json is damaged"):
        lay.read("fakeclue", tmp_path)


def test_owdfa_keeps_the_frames_of_a_video_together(tmp_path: Path) -> None:
    home, pair = "data/release", clip("test")
    lay.out(
        tmp_path,
        f"{home}/IdentitySwap/Deepfakes/faceforensics/c23-{pair}-0001.png",
        f"{home}/RealFace/Real/faceforensics/c23-{pair[:3]}-0040.png",
        f"{home}/RealFace/Real/CelebDF/c23-id7_0003-12.png",
        f"{home}/EntireFaceSyncthesis/StyleGAN/DFFD/123.png",
        f"{home}/AttributeManipulation/StarGAN2/ForgeryNet/v_1-7.png",
        f"{home}/AttributeManipulation/StarGAN2/ForgeryNet/v_1-9.png",
        f"{home}/ExpressionTransfer/FOMM/1.png",
        f"{home}/ForgedFace/x.png",
        f"{home}/shape_predictor_68_face_landmarks.dat",
    )
    table = f"{home}/meta_data/Protocol1_openset_fake_large_merge_meta.csv"
    lay.out(tmp_path, table)
    (tmp_path / table).write_text(
        f"img_name,img_path,tag\nx,/Datasets/IdentitySwap/Deepfakes/faceforensics/c23-{pair}-0001.png,2\n"
    )
    rows, problems = lay.read("owdfa", tmp_path)
    swap = rows[f"{home}/IdentitySwap/Deepfakes/faceforensics/c23-{pair}-0001.png"]
    real = rows[f"{home}/RealFace/Real/faceforensics/c23-{pair[:3]}-0040.png"]
    assert (swap.label, swap.method, swap.family, swap.compression) == (1, "Deepfakes", "FS", "c23")
    assert (real.label, real.method, real.group_id) == (0, "", swap.group_id)
    assert (swap.split, real.split, swap.extra["protocol_1_large"]) == ("test", "test", "unlabelled")
    celebrity = rows[f"{home}/RealFace/Real/CelebDF/c23-id7_0003-12.png"]
    assert celebrity.group_id == _celeb_df.group("id7")
    # three digits of another set are no video of FaceForensics++
    assert rows[f"{home}/EntireFaceSyncthesis/StyleGAN/DFFD/123.png"].group_id.startswith("owdfa/")
    frames = [r for r in rows.values() if r.method == "StarGAN2"]
    assert len({r.group_id for r in frames}) == 1
    assert all(r.split == derived_split(r.group_id) for r in (*frames, celebrity))
    assert lay.of(problems, "unknown") == {f"{home}/ExpressionTransfer/FOMM/1.png", f"{home}/ForgedFace"}


def test_owdfa_40_has_its_label_in_the_folders_number(tmp_path: Path) -> None:
    pair = clip("val")
    lay.out(
        tmp_path,
        f"data/0_Real_FF++/0_Real_FF++/{pair[:3]}/7.png",
        "data/0_Real_CelebDF/id3_0001-2.jpg",
        f"data/1_Swap_Deepfakes/{pair}-12.png",
        "data/20_Generate_StyleGAN2_NIR/5.png",
        "data/3_Real_DeepFaceLab/1.png",
        "data/41_Swap_New/1.png",
        "data/16_Generate_StyleGAN2_Net.zip",
    )
    rows, problems = lay.read("owdfa", tmp_path)
    assert {r.method: (r.label, r.family) for r in rows.values()} == {
        "": (0, ""),
        "Deepfakes": (1, "FS"),
        "StyleGAN2_NIR": (1, "EFS"),
    }
    assert {r.split for r in rows.values() if r.group_id == _ffpp.groups()[pair[:3]]} == {"val"}
    assert len([r for r in rows.values() if r.group_id == _ffpp.groups()[pair[:3]]]) == 2
    assert lay.of(problems, "inconsistent") == {"data/3_Real_DeepFaceLab/1.png", "data/41_Swap_New/1.png"}


def test_vipbench_does_not_call_a_photo_of_somebody_else_fake(tmp_path: Path) -> None:
    home = "FaceDATA/only_img/id0"
    lay.out(
        tmp_path,
        f"{home}/r_r_i/id0_130/2.png",
        f"{home}/r_r_d_i/id0_1/2.png",
        f"{home}/r_fs_i/id0_57_eyes/fake.png",
        f"{home}/r_efs_i/id0_11/fake.png",
        "FaceDATA/with_text/id1/r_efs_i/id0_11/fake.png",
        f"{home}/r_r_i/id0_131/fake.png",
        f"{home}/r_new_i/id0_1/2.png",
        "FaceDATA/stage2_id0_only_img.json",
        "FaceDATA/FaceEmb_Center/id_0.ckpt",
        "README.md",
    )
    rows, problems = lay.read("vipbench", tmp_path)
    assert {r.label_native: (r.label, r.extra["is_vip"], r.method, r.identity) for r in rows.values()} == {
        "r_r_i": (0, "1", "", "id0"),
        "r_r_d_i": (0, "0", "", ""),
        "r_fs_i": (1, "0", "face-swap", ""),
        "r_efs_i": (1, "0", "entire-synthesis", ""),
    }
    assert rows[f"{home}/r_fs_i/id0_57_eyes/fake.png"].extra["region"] == "eyes"
    assert {(r.group_id, r.split) for r in rows.values()} == {("vipbench/id0", "test")}
    assert lay.of(problems, "inconsistent") == {
        "FaceDATA/with_text/id1/r_efs_i/id0_11/fake.png",
        f"{home}/r_r_i/id0_131/fake.png",
    }
    assert lay.of(problems, "unknown") == {f"{home}/r_new_i/id0_1/2.png"}


def test_casual_conversations_1_and_2_are_real_and_say_who_is_seen(tmp_path: Path) -> None:
    lay.out(
        tmp_path,
        "CasualConversationsA/0001/0001_00.MP4",
        "CasualConversationsA/0001/0001_01.MP4",
        "CasualConversationsA/0009/0009_00.MP4",
        "other/0001/0001_00.MP4",
        "v2/part 1/0001_spanish_nonscripted_1.mp4",
        "CC_annotations/",
        "annotations/",
    )
    said = {
        "0001": {
            "files": ["CasualConversationsA/0001/0001_00.MP4", "CasualConversationsA/0001/0001_01.MP4"],
            "dark_files": ["CasualConversationsA/0001/0001_01.MP4"],
            "label": {"age": "N/A", "gender": "Female", "skin-type": 4},
        },
        "0002": {"files": ["../../etc/0002/passwd.mp4"], "dark_files": [], "label": {"age": 30}},
    }
    (tmp_path / "CC_annotations/CasualConversations.json").write_text(json.dumps(said))
    clips = [
        {
            "video_name": "0001_spanish_nonscripted_1.mp4",
            "subject_id": "0001",
            "age": "30",
            "gender": "cis man",
            "geo_location": {"country": "mexico", "city": None},
            "monk_skin_tone": {"scale": "scale 5", "confidence": "high"},
            "disability": ["none"],
        }
    ]
    (tmp_path / "annotations/CasualConversationsV2.json").write_text(json.dumps(clips))
    rows, problems = lay.read("casual_conversations", tmp_path)
    dark = rows["CasualConversationsA/0001/0001_01.MP4"]
    assert (dark.demographics, dark.extra) == ({"gender": "Female", "fitzpatrick": "4"}, {"light": "dark"})
    new = rows["v2/part 1/0001_spanish_nonscripted_1.mp4"]
    assert new.demographics == {"age": "30", "gender": "cis man", "country": "mexico", "monk": "scale 5"}
    assert new.group_id != dark.group_id  # numbers of the two releases are not the same people
    assert {(r.label, r.split) for r in rows.values()} == {(0, "test")}
    assert lay.of(problems, "unknown") == {"CasualConversationsA/0009/0009_00.MP4"}
    assert lay.of(problems, "inconsistent") == {"other/0001/0001_00.MP4"}
    assert lay.of(problems, "missing") == {"0002/passwd.mp4"}


def test_casual_conversations_without_annotations_says_where_they_belong(tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match="CC_annotations/"):
        lay.read("casual_conversations", lay.out(tmp_path, "CasualConversationsA/0001/0001_00.MP4"))
    (tmp_path / "CasualConversationsV2.json").write_text('[{"video_name": "a"}]')
    with pytest.raises(UnmaskError, match=r"V2.json is damaged \(0 > subject_id"):
        lay.read("casual_conversations", tmp_path)

"""OULU-NPU, CASIA-FASD, Replay-Attack and MSU-MFSD: sets that write 1 for real, or nothing at all."""

from pathlib import Path

import pytest

from tests.data.datasets import lay
from unmask.data.datasets.casia_fasd import NAMES
from unmask.types import UnmaskError


def oulu(root: Path) -> Path:
    lay.out(root, *(f"Train_files/1_1_01_{f}.avi" for f in range(1, 6)), "Train_files/1_1_01_1.txt")
    lay.out(root, "Dev_files/6_3_21_1.avi", "Test_files/2_2_36_4.avi", "Test_files/7_1_36_1.avi", "notes.txt")
    lay.out(root, "Test_files/2_2_36_5.avi", content=b"")
    lay.out(
        root, "Test_files/extra/6_3_21_1.avi", "Test_files/Thumbs.db", "Protocols/Protocol_1/", "Protocols/Protocol_3/"
    )
    (root / "Protocols/Protocol_1/Train.txt").write_text("+1,1_1_01_1\n-1,1_1_01_2\n-2, 1_1_01_4\n\n")
    (root / "Protocols/Protocol_3/Test_4.txt").write_text("+1,2_2_36_1\n-1,2_2_36_4\n-1,2_2_36_5\n")
    return root


def test_oulu_writes_plus_1_for_real_and_the_row_writes_0(tmp_path: Path) -> None:
    rows, problems = lay.read("oulu_npu", oulu(tmp_path))
    by_name = {Path(p).stem: r for p, r in rows.items()}
    assert {n: (r.label, r.method, r.split) for n, r in by_name.items()} == {
        "1_1_01_1": (0, "", "train"),
        "1_1_01_2": (1, "print_1", "train"),
        "1_1_01_3": (1, "print_2", "train"),
        "1_1_01_4": (1, "replay_1", "train"),
        "1_1_01_5": (1, "replay_2", "train"),
        "6_3_21_1": (0, "", "val"),
        "2_2_36_4": (1, "replay_1", "test"),
    }
    assert len({by_name[f"1_1_01_{f}"].group_id for f in range(1, 6)}) == 1
    assert {by_name[f"1_1_01_{f}"].pair_key for f in range(1, 6)} == {by_name["1_1_01_1"].item_id}
    assert by_name["1_1_01_1"].extra["protocol_1"] == "train"
    assert by_name["2_2_36_4"].extra["protocol_3_4"] == "test"
    assert "protocol_1" not in by_name["1_1_01_3"].extra
    assert lay.of(problems, "unknown") == {"notes.txt", "Test_files/7_1_36_1.avi", "Test_files/Thumbs.db"}
    assert lay.of(problems, "inconsistent") == {"Test_files/extra/6_3_21_1.avi"}
    assert lay.of(problems, "empty") == {"Test_files/2_2_36_5.avi"}
    assert lay.of(problems, "missing") == {"2_2_36_1", "2_2_36_5"}


def test_an_oulu_protocol_that_tests_on_a_training_clip_is_reported(tmp_path: Path) -> None:
    (oulu(tmp_path) / "Protocols/Protocol_3/Test_4.txt").write_text("+1,1_1_01_1\n")
    rows, problems = lay.read("oulu_npu", tmp_path)
    assert "Train_files/1_1_01_1.avi" in lay.of(problems, "inconsistent")
    assert "Train_files/1_1_01_1.avi" not in rows


@pytest.mark.parametrize("line", ["-1,1_1_01_1", "+1,1_1_01_2", "1_1_01_1", "+1,../../etc"])
def test_an_oulu_list_of_the_other_polarity_is_refused(line: str, tmp_path: Path) -> None:
    (oulu(tmp_path) / "Protocols/Protocol_1/Train.txt").write_text(f"+1,1_1_01_1\n{line}\n")
    with pytest.raises(UnmaskError, match=r"Train.txt, line 2 .* fetch it"):
        lay.read("oulu_npu", tmp_path)


def test_casia_people_of_train_and_test_are_not_the_same(tmp_path: Path) -> None:
    lay.out(tmp_path, *(f"{side}_release/1/{name}.avi" for side in ("train", "test") for name in NAMES))
    lay.out(
        tmp_path, "train_release/2/9.avi", "train_release/2/HR_4.avi", "train_release/x/1.avi", "test_release/1.avi"
    )
    rows, problems = lay.read("casia_fasd", tmp_path)
    one = {Path(p).stem: r for p, r in rows.items() if p.startswith("test_release/1/")}
    assert {n for n, r in one.items() if r.label == 0} == {"1", "2", "HR_1"}
    assert [one[n].method for n in ("3", "4", "5", "6", "7", "8")] == [
        *("warped_photo", "warped_photo", "cut_photo", "cut_photo", "video", "video"),
    ]
    assert [one[f"HR_{n}"].method for n in range(1, 5)] == ["", "warped_photo", "cut_photo", "video"]
    assert {one[n].pair_key for n in ("HR_1", "HR_2", "HR_3", "HR_4")} == {one["HR_1"].item_id}
    assert rows["train_release/1/1.avi"].group_id != one["1"].group_id
    assert {r.split for p, r in rows.items() if p.startswith("test")} == {"test"}
    assert {r.split for p, r in rows.items() if p.startswith("train")} <= {"train", "val"}
    assert lay.of(problems, "unknown") == {"train_release/2/9.avi", "train_release/x/1.avi", "test_release/1.avi"}
    assert lay.of(problems, "missing") == {f"train_release/2/{n}.avi" for n in NAMES if n != "HR_4"}


def test_replay_attack_reads_both_ways_to_unpack_it(tmp_path: Path) -> None:
    lay.out(
        tmp_path,
        "replayattack-train/train/real/client001_session01_webcam_authenticate_adverse_1.mov",
        "replayattack-train/train/attack/fixed/attack_print_client001_session01_highdef_photo_adverse.mov",
        "replayattack-train/train/attack/hand/attack_mobile_client001_session01_mobile_video_controlled.mov",
        "devel/attack/hand/attack_highdef_client003_session01_highdef_photo_controlled.mov",
        "devel/attack/hand/client003_session01_webcam_authenticate_adverse_1.mov",
        "test/real/client009_session01_webcam_authenticate_controlled_2.mov",
        "test/real/client009_session01_webcam_authenticate_controlled_2.face",
        "replayattack-test/test/real/client010_session01_webcam_authenticate_controlled_2.mov",
        "enroll/client009_session01_webcam_authenticate_controlled_2.mov",
        "stray/1.mov",
    )
    rows, problems = lay.read("replay_attack", tmp_path)
    assert sorted((r.split, r.label, r.method, r.identity) for r in rows.values()) == [
        ("test", 0, "", "009"),
        ("train", 0, "", "001"),
        ("train", 1, "mobile_video", "001"),
        ("train", 1, "print", "001"),
        ("val", 1, "highdef_photo", "003"),
    ]
    assert {r.extra["support"] for r in rows.values() if r.method == "print"} == {"fixed"}
    assert lay.of(problems, "unknown") == {
        "stray",
        "devel/attack/hand/client003_session01_webcam_authenticate_adverse_1.mov",
    }
    assert lay.of(problems, "inconsistent") == {"replayattack-test/test"}


def test_a_replay_attack_client_in_two_splits_is_in_none(tmp_path: Path) -> None:
    name = "client001_session01_webcam_authenticate_adverse_{}.mov"
    lay.out(
        tmp_path, f"train/real/{name.format(1)}", f"test/real/{name.format(2)}", f"test/real/{name.format(2)[:-4]}.txt"
    )
    rows, problems = lay.read("replay_attack", tmp_path)
    assert rows == {}
    assert len(lay.of(problems, "inconsistent")) == 2


def msu(root: Path) -> Path:
    lay.out(
        root,
        "scene01/real/real_client001_android_SD_scene01.mp4",
        "scene01/real/real_client001_android_SD_scene01.face",
        "scene01/real/real_client055_laptop_SD_scene01.mov",
        "scene01/real/real_client099_laptop_SD_scene01.mov",
        "scene01/attack/attack_client001_android_SD_printed_photo_scene01.mp4",
        "scene01/attack/attack_client055_laptop_SD_ipad_video_scene01.mov",
        "scene01/attack/real_client001_android_SD_scene01.mp4",
    )
    (root / "train_sub_list.txt").write_text("01\r\n02\r\n")
    (root / "test_sub_list.txt").write_text("55\n")
    return root


def test_msu_numbers_have_two_digits_in_the_lists_and_three_in_the_names(tmp_path: Path) -> None:
    rows, problems = lay.read("msu_mfsd", msu(tmp_path))
    assert {r.group_id for r in rows.values() if r.split == "test"} == {"msu_mfsd/055"}
    assert {r.split for r in rows.values() if r.identity == "001"} <= {"train", "val"}
    assert [r.split for r in rows.values() if r.identity == "099"] == [None]
    printed = rows["scene01/attack/attack_client001_android_SD_printed_photo_scene01.mp4"]
    real = rows["scene01/real/real_client001_android_SD_scene01.mp4"]
    assert (printed.label, printed.method, printed.pair_key, real.label) == (1, "printed_photo", real.item_id, 0)
    assert lay.of(problems, "unknown") == {"scene01/attack/real_client001_android_SD_scene01.mp4"}
    assert lay.of(problems, "inconsistent") == {"scene01/real/real_client099_laptop_SD_scene01.mov"}


@pytest.mark.parametrize("text", ["01\n", "client01\n"])
def test_msu_lists_that_overlap_or_hold_no_numbers_are_refused(text: str, tmp_path: Path) -> None:
    (msu(tmp_path) / "test_sub_list.txt").write_text(text)
    with pytest.raises(UnmaskError, match=r"test_sub_list.txt, line 1"):
        lay.read("msu_mfsd", tmp_path)
    (tmp_path / "test_sub_list.txt").unlink()
    (tmp_path / "train_sub_list.txt").unlink()
    rows, problems = lay.read("msu_mfsd", tmp_path)
    assert {r.split for r in rows.values()} == {None}
    assert lay.of(problems, "missing") == {"train_sub_list.txt", "test_sub_list.txt"}

"""FaceForensics++ and DFD, which lie in one tree."""

from pathlib import Path

from tests.data.datasets import lay
from unmask.data.datasets import _ffpp


def test_the_shipped_split_has_360_70_and_70_pairs_of_all_1000_clips() -> None:
    splits, partners = _ffpp.splits(), _ffpp.partners()
    assert set(splits) == {f"{n:03d}" for n in range(1000)}
    assert [list(splits.values()).count(s) for s in ("train", "val", "test")] == [720, 140, 140]
    assert all(partners[partners[clip]] == clip and splits[partners[clip]] == splits[clip] for clip in splits)
    assert (splits["071"], partners["071"]) == ("train", "054")  # the first pair of the official train.json


def test_a_thousand_clips_come_from_977_videos_of_which_seven_straddle_the_split() -> None:
    same_video = _ffpp._facts()[1]
    assert 1000 - sum(len(clips) - 1 for clips in same_video) == 977
    torn = {tuple(c) for c in same_video if len({_ffpp.splits()[clip] for clip in c}) > 1}
    assert torn == {
        *(("605", "606"), ("639", "640"), ("755", "756"), ("837", "838")),
        *(("875", "876"), ("954", "955"), ("982", "983")),
    }
    assert {_ffpp.groups()[a] for a, _ in torn} == _ffpp.straddling()


def test_a_group_joins_both_clips_of_a_pair_and_all_clips_of_a_video() -> None:
    groups = _ffpp.groups()
    assert groups["071"] == groups["054"]
    assert groups["685"] == groups["686"] == groups["687"] == groups[_ffpp.partners()["687"]]
    assert len(set(groups.values())) == 478


def ffpp(root: Path) -> Path:
    fake = "manipulated_sequences"
    return lay.out(
        root,
        "original_sequences/youtube/c23/videos/071.mp4",
        "original_sequences/youtube/c40/videos/071.mp4",
        "original_sequences/youtube/c23/videos/605.mp4",
        "original_sequences/youtube/c23/videos/Thumbs.db",
        "original_sequences/youtube/c23/videos/1000.mp4",
        "original_sequences/youtube/raw/images/054/0000.png",
        "original_sequences/youtube/raw/images/054/0001.png",
        "original_sequences/youtube/raw/frames/071/000.png",
        "original_sequences/youtube/raw/videos/071.mp4",
        "original_sequences/actors/c23/videos/01__walking.mp4",
        *(f"{fake}/{m}/c23/videos/071_054.mp4" for m in ("Deepfakes", "Face2Face", "NeuralTextures", "FaceShifter")),
        f"{fake}/Deepfakes/masks/videos/071_054.mp4",
        f"{fake}/Deepfakes/c23/videos/071_055.mp4",
        f"{fake}/Deepfakes/c99/videos/071_054.mp4",
        f"{fake}/Deepfakes/models/071_054/model.h5",
        f"{fake}/MyOwn/c23/videos/071_054.mp4",
        "notes.txt",
    )


def test_methods_with_equal_stems_stay_apart_and_know_their_original(tmp_path: Path) -> None:
    rows, _ = lay.read("faceforensics", ffpp(tmp_path))
    fakes = [r for r in rows.values() if r.label == 1]
    assert {r.item_id for r in fakes} == {
        f"faceforensics/{m}/c23/071_054" for m in ("Deepfakes", "Face2Face", "NeuralTextures", "FaceShifter")
    }
    assert {r.family for r in fakes if r.method in ("Face2Face", "NeuralTextures")} == {"FR"}
    real = rows["original_sequences/youtube/c23/videos/071.mp4"]
    assert (real.label, real.method, real.split) == (0, "", "train")
    for row in fakes:
        assert (row.pair_key, row.group_id, row.split) == (real.item_id, real.group_id, real.split)
        assert (row.target_id, row.source_id) == ("071", "054")
    assert {r.mask_relpath for r in fakes} == {"", "manipulated_sequences/Deepfakes/masks/videos/071_054.mp4"}


def test_what_is_no_official_name_is_reported_and_never_a_row(tmp_path: Path) -> None:
    rows, problems = lay.read("faceforensics", ffpp(tmp_path))
    assert lay.of(problems, "unknown") == {
        "notes.txt",
        "manipulated_sequences/MyOwn",
        "manipulated_sequences/Deepfakes/c99",
        "manipulated_sequences/Deepfakes/c23/videos/071_055.mp4",
        "original_sequences/youtube/c23/videos/Thumbs.db",
        "original_sequences/youtube/c23/videos/1000.mp4",
    }
    assert not any("actors" in path for path in rows)


def test_official_clips_that_are_not_there_are_missing_and_empty_ones_too(tmp_path: Path) -> None:
    lay.out(ffpp(tmp_path), "original_sequences/youtube/c23/videos/054.mp4", content=b"")
    rows, problems = lay.read("faceforensics", tmp_path)
    assert lay.of(problems, "empty") == {"original_sequences/youtube/c23/videos/054.mp4"}
    missing = lay.of(problems, "missing")
    assert sum(p.startswith("original_sequences/youtube/c23") for p in missing) == 997
    assert sum(p.startswith("manipulated_sequences/FaceShifter/c23") for p in missing) == 999
    assert not any(p.startswith("manipulated_sequences/FaceSwap") for p in missing)  # not downloaded at all
    assert not missing & (set(rows) | lay.of(problems, "empty"))


def test_extracted_frames_stand_for_a_clip_only_where_there_is_none(tmp_path: Path) -> None:
    rows, _ = lay.read("faceforensics", ffpp(tmp_path))
    raw = {p: r.media_type for p, r in rows.items() if r.compression == "raw"}
    assert raw == {
        "original_sequences/youtube/raw/images/054": "frame_seq",
        "original_sequences/youtube/raw/videos/071.mp4": "video",
    }


def test_clips_of_a_video_that_straddles_are_flagged_and_others_are_not(tmp_path: Path) -> None:
    rows, _ = lay.read("faceforensics", ffpp(tmp_path))
    assert {p for p, r in rows.items() if r.flags} == {"original_sequences/youtube/c23/videos/605.mp4"}
    assert rows["original_sequences/youtube/c23/videos/605.mp4"].flags == ("straddles-source",)


def test_dfd_is_test_only_and_names_both_actors(tmp_path: Path) -> None:
    fake = "manipulated_sequences/DeepFakeDetection"
    lay.out(
        ffpp(tmp_path),
        f"{fake}/c23/videos/01_02__walking__ABCD1234.mp4",
        f"{fake}/c23/videos/02_01__hugging_happy__00AB12CD.mp4",
        f"{fake}/masks/videos/01_02__walking__ABCD1234.mp4",
        f"{fake}/c23/videos/01_02__walking.mp4",
        "original_sequences/actors/c23/videos/1_walk.mp4",
    )
    rows, problems = lay.read("dfd", tmp_path)
    assert {r.split for r in rows.values()} == {"test"}
    assert {r.label for r in rows.values()} == {0, 1}
    assert len(rows) == 3
    row = rows[f"{fake}/c23/videos/01_02__walking__ABCD1234.mp4"]
    real = rows["original_sequences/actors/c23/videos/01__walking.mp4"]
    assert (row.pair_key, row.group_id) == (real.item_id, real.group_id)
    assert (row.target_id, row.source_id, row.extra["scene"]) == ("01", "02", "walking")
    assert row.mask_relpath == f"{fake}/masks/videos/01_02__walking__ABCD1234.mp4"
    assert lay.of(problems, "unknown") == {
        f"{fake}/c23/videos/01_02__walking.mp4",
        "original_sequences/actors/c23/videos/1_walk.mp4",
    }

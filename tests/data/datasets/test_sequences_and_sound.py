"""FFIW, WildDeepfake, DF40, Diffusion Deepfake, KoDF, FakeAVCeleb and DeepSpeak on trees as they are described."""

from pathlib import Path

import pytest

from tests.data.datasets import lay
from unmask.data.datasets import _ffpp
from unmask.data.manifest import derived_split
from unmask.types import UnmaskError


def test_ffiw_pairs_source_and_target_of_both_releases(tmp_path: Path) -> None:
    base, test = "FFIW10K-v1-release", "FFIW10K-v1-release-test"
    lay.out(
        tmp_path,
        *(f"{base}/{side}/train/train_00000123.mp4" for side in ("source", "target", "target_mask")),
        *(f"{test}/{side}/test/test_00000001.mp4" for side in ("source", "target")),
        f"{base}/source/val/train_00000124.mp4",
        f"{base}/target/val/val_00000009.mp4",
        f"{base}/source/extra/train_00000125.mp4",
    )
    rows, problems = lay.read("ffiw", tmp_path)
    real, fake = (rows[f"{base}/{side}/train/train_00000123.mp4"] for side in ("source", "target"))
    assert (real.label, fake.label, fake.pair_key, fake.group_id) == (0, 1, real.item_id, real.group_id)
    assert fake.mask_relpath == f"{base}/target_mask/train/train_00000123.mp4"
    assert rows[f"{test}/target/test/test_00000001.mp4"].split == "test"
    assert lay.of(problems, "inconsistent") == {f"{base}/source/val/train_00000124.mp4"}
    assert lay.of(problems, "missing") == {"source/val/val_00000009.mp4"}
    assert lay.of(problems, "unknown") == {f"{base}/source/extra"}


def test_wilddeepfake_takes_a_folder_of_pictures_as_a_sequence(tmp_path: Path) -> None:
    home = "deepfake_in_the_wild"
    lay.out(
        tmp_path,
        f"{home}/real_train/12/real/3/9.png",
        f"{home}/real_train/12/real/3/10.png",
        f"{home}/fake test/7/fake/0/1.png",  # the README writes a space
        f"{home}/fake_train/1/2/3.png",
        f"{home}/fake_train/1/real/2/3.png",
        f"{home}/fake_train/9/fake/0/",
        f"{home}/real_test/5.tar.gz",
    )
    lay.out(tmp_path, f"{home}/real_train/12/real/3/11.png", content=b"")
    rows, problems = lay.read("wilddeepfake", tmp_path)
    real = rows[f"{home}/real_train/12/real/3"]
    assert (real.label, real.media_type, real.extra["frames"], real.bytes) == (0, "frame_seq", "2", 2)
    assert (rows[f"{home}/fake test/7/fake/0"].label, rows[f"{home}/fake test/7/fake/0"].split) == (1, "test")
    assert rows[f"{home}/fake_train/1/2"].label == 1
    assert lay.of(problems, "inconsistent") == {f"{home}/fake_train/1/real/2"}
    assert lay.of(problems, "empty") == {f"{home}/real_train/12/real/3/11.png", f"{home}/fake_train/9/fake/0"}
    assert lay.of(problems, "unknown") == {f"{home}/real_test/5.tar.gz"}


def test_df40_joins_its_parents_groups_and_keeps_methods_apart(tmp_path: Path) -> None:
    home = "deepfake_detection_datasets/DF40"
    clip = next(c for c, s in _ffpp.splits().items() if s == "test" and _ffpp.groups()[c] not in _ffpp.straddling())
    lay.out(
        tmp_path,
        f"{home}/simswap/ff/{clip}_{_ffpp.partners()[clip]}/000.png",
        f"{home}/fsgan/ff/frames/{clip}_{_ffpp.partners()[clip]}/000.png",
        f"{home}/rddm/ff/{clip}/",
        f"{home}/sd2.1/cdf/Celeb-real/id3_0004/12.png",
        f"{home}/MidJourney/real/a b.png",
        f"{home}/MidJourney/fake/a b.png",
        f"{home}_train/simswap/{clip}_{_ffpp.partners()[clip]}/000.png",
        f"{home}/notamethod/ff/000/1.png",
    )
    rows, problems = lay.read("df40", tmp_path)
    swap, other = (r for p, r in rows.items() if r.method in ("simswap", "fsgan") and r.split == "test")
    assert swap.group_id == other.group_id == _ffpp.groups()[clip]
    assert swap.pair_key == other.pair_key == f"faceforensics/original/c23/{clip}"
    assert swap.flags == ()
    assert [r.flags for r in rows.values() if r.split == "train"] == [("straddles-source",)]
    celebrity = rows[f"{home}/sd2.1/cdf/Celeb-real/id3_0004"]
    assert (celebrity.label, celebrity.group_id, celebrity.family) == (1, "celeb_df/id3", "EFS")
    assert celebrity.pair_key == "celeb_df_v2/Celeb-real/id3_0004"
    pictures = {p: (r.label, r.method, r.media_type) for p, r in rows.items() if "MidJourney" in p}
    assert pictures == {
        f"{home}/MidJourney/fake/a b.png": (1, "MidJourney", "image"),
        f"{home}/MidJourney/real/a b.png": (0, "", "image"),
    }
    assert lay.of(problems, "empty") == {f"{home}/rddm/ff/{clip}"}
    assert lay.of(problems, "unknown") == {f"{home}/notamethod"}


def test_diffusion_deepfake_keeps_equal_names_of_its_two_sets_apart(tmp_path: Path) -> None:
    lay.out(
        tmp_path,
        *(
            f"{s}/{t}/{c}/1.png"
            for s in ("DiffusionDB-Face", "journeydb_face")
            for t in ("train", "test")
            for c in ("real", "fake")
        ),
        "JourneyDB-Face-extra/train/fake/1.png",
        "DiffusionDB-Face/fake/1.png",
    )
    rows, problems = lay.read("diffusion_deepfake", tmp_path)
    assert len(rows) == 8
    assert sorted(r.method for r in rows.values() if r.label) == ["DiffusionDB-Face"] * 2 + ["JourneyDB-Face"] * 2
    assert {r.split for p, r in rows.items() if "/test/" in p} == {"test"}
    assert lay.of(problems, "unknown") == {"JourneyDB-Face-extra", "DiffusionDB-Face/fake/1.png"}


def test_kodf_splits_by_the_target_and_flags_a_foreign_source(tmp_path: Path) -> None:
    actors = [f"{n:06d}" for n in range(100, 140)]
    sides = {a: derived_split(f"kodf/{a}") for a in actors}
    one = actors[0]
    same = next(a for a in actors[1:] if sides[a] == sides[one])
    other = next(a for a in actors if sides[a] != sides[one])
    lay.out(
        tmp_path,
        f"part1/{one}/{one}_001.mp4",
        f"20210101/{one}/{one}_{same}_1_0001.mp4",
        f"20210101/{one}/{one}_{other}_4_0001.mp4",
        f"adversarial_1/{one}/{one}_{other}_4_0001.mp4",
        f"20210101/{other}/{one}_{same}_2_0001.mp4",
        f"20210101/{one}/{one}_{same}_6_0001.mp4",
    )
    rows, problems = lay.read("kodf", tmp_path)
    assert len(rows) == 4
    assert {(r.group_id, r.split, r.split_source) for r in rows.values()} == {(f"kodf/{one}", sides[one], "derived")}
    assert rows[f"20210101/{one}/{one}_{same}_1_0001.mp4"].flags == ()
    crossed = rows[f"20210101/{one}/{one}_{other}_4_0001.mp4"]
    assert (crossed.flags, crossed.method, crossed.label) == (("straddles-identity",), "FOMM", 1)
    assert rows[f"adversarial_1/{one}/{one}_{other}_4_0001.mp4"].perturbations == ("adversarial",)
    assert rows[f"part1/{one}/{one}_001.mp4"].label == 0
    assert lay.of(problems, "inconsistent") == {f"20210101/{other}/{one}_{same}_2_0001.mp4"}
    assert lay.of(problems, "unknown") == {f"20210101/{one}/{one}_{same}_6_0001.mp4"}


def test_fakeavceleb_has_a_label_for_pictures_and_one_for_sound(tmp_path: Path) -> None:
    who = "Asian (East)/women/id00076"
    lay.out(
        tmp_path,
        *(f"{t}/{who}/00109.mp4" for t in ("RealVideo-RealAudio", "RealVideo-FakeAudio")),
        f"FakeVideo-RealAudio/{who}/00109_1.mp4",
        f"FakeVideo-RealAudio/{who}/stray.mp4",
        "FakeVideo-FakeAudio/id1.mp4",
    )
    lines = [
        f"id00076,-,-,real,A,RealVideo-RealAudio,Asian (East),women,00109.mp4,FakeAVCeleb/RealVideo-RealAudio/{who}",
        f"id00076,-,-,rtvc,B,RealVideo-FakeAudio,Asian (East),women,00109.mp4,FakeAVCeleb/RealVideo-FakeAudio/{who}",
        *[f"id00076,id1,-,fsgan,C,T,Asian (East),women,00109_1.mp4,FakeAVCeleb/FakeVideo-RealAudio/{who}"] * 2,
        "id00076,id1,-,fsgan,C,T,Asian (East),women,../../../gone.mp4,FakeAVCeleb",
    ]
    header = "source,target1,target2,method,category,type,race,gender,path,"
    (tmp_path / "meta_data.csv").write_text("\n".join([header, *lines]))
    rows, problems = lay.read("fakeavceleb", tmp_path)
    labels = {r.label_native: (r.label, r.audio_label, r.extra["video_label"], r.method) for r in rows.values()}
    assert labels == {
        "RealVideo-RealAudio": (0, 0, "0", ""),
        "RealVideo-FakeAudio": (1, 1, "0", "rtvc"),
        "FakeVideo-RealAudio": (1, 0, "1", "fsgan"),
    }
    assert {r.group_id for r in rows.values()} == {"fakeavceleb/id00076"}
    assert {r.demographics["race"] for r in rows.values()} == {"Asian (East)"}
    assert lay.of(problems, "inconsistent") == {f"FakeVideo-RealAudio/{who}/stray.mp4"}
    assert lay.of(problems, "unknown") == {"FakeVideo-FakeAudio/id1.mp4"}
    assert len(lay.of(problems, "missing")) == 1
    (tmp_path / "meta_data.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UnmaskError, match=r"meta_data.csv has no column 'source'"):
        lay.read("fakeavceleb", tmp_path)


def test_deepspeak_1_reads_names_and_2_its_annotations(tmp_path: Path) -> None:
    old = lay.out(tmp_path / "v1", "real/3-4.mp4", "fake/wav2lip--1-3--2-4--0.mp4", "fake/magic--1-3--2-4--0.mp4")
    rows, problems = lay.read("deepspeak", old)
    fake, real = rows["fake/wav2lip--1-3--2-4--0.mp4"], rows["real/3-4.mp4"]
    assert (fake.pair_key, fake.group_id, fake.split, fake.source_id) == (real.item_id, real.group_id, real.split, "1")
    assert lay.of(problems, "unknown") == {"fake/magic--1-3--2-4--0.mp4"}

    new = lay.out(tmp_path / "v2", "real/3-4.mp4", "fake/memo-2-4-a.mp4", "fake/memo-2-5-a.mp4")
    (new / "annotations-split-def.csv").write_text("identity,split\n3,test\n1,train\n")
    columns = "video-file,identity-source,identity-target,recording-target,engine,audio-config"
    (new / "annotations-fake.csv").write_text(f"{columns}\nmemo-2-4-a.mp4,1,3,4,memo,x\nmemo-9-9-a.mp4,1,3,4,memo,x\n")
    rows, problems = lay.read("deepspeak", new)
    listed, unlisted = rows["fake/memo-2-4-a.mp4"], rows["fake/memo-2-5-a.mp4"]
    assert (listed.split, listed.target_id, listed.flags) == ("test", "3", ("straddles-identity",))
    assert listed.pair_key == rows["real/3-4.mp4"].item_id
    assert (unlisted.split, unlisted.target_id, unlisted.pair_key) == (None, "", "")
    assert lay.of(problems, "missing") == {"memo-9-9-a"}
    (new / "annotations-split-def.csv").write_text("identity,split\n3,maybe\n")
    with pytest.raises(UnmaskError, match="the split of 3 is 'maybe'"):
        lay.read("deepspeak", new)

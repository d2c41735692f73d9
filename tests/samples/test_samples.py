"""The samples that ship: labelled for what they are, small, and answered as their labels permit.

What the detector thinks of them is not asserted: four files prove nothing about a detector, and should never be fitted.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import ExifTags, Image
from skimage import data

import unmask
from unmask.types import FileReport, Frame, Pixels, Report

MARK = "synthetic, for detector tests: self-blended by unmask"
MEDIA = {"portrait-real.jpg", "portrait-forged.jpg", "no-face.jpg", "clip-one-forged.mp4"}


@pytest.fixture(scope="module")
def samples() -> Path:
    return Path(__file__).resolve().parents[2] / "samples"


@pytest.fixture(scope="module")
def report(samples: Path) -> Report:
    """One scan of the folder with the parts that ship, as the README's first command does it."""
    return unmask.scan(samples, jobs=1, threads=1)


@pytest.fixture(scope="module")
def answers(report: Report) -> dict[str, FileReport]:
    return {Path(file.path).name: file for file in report.files}


def picture(path: Path) -> Pixels:
    frame = next(unmask.open_media(path).frames(1))
    assert isinstance(frame, Frame)
    return frame.image


def test_they_are_few_small_and_all_told_of(samples: Path) -> None:
    files = {path.name: path.stat().st_size for path in samples.iterdir() if path.suffix in {".jpg", ".mp4"}}
    assert set(files) == MEDIA
    assert sum(files.values()) <= 1_000_000
    told = (samples / "README.md").read_text()
    assert all(f"`{name}`" in told for name in MEDIA)


def test_forged_files_carry_their_mark_and_the_others_do_not(samples: Path) -> None:
    marked = {}
    for name in MEDIA - {"clip-one-forged.mp4"}:
        with Image.open(samples / name) as image:
            exif, comment = image.getexif()[ExifTags.Base.ImageDescription], image.info["comment"].decode()
        assert exif == comment
        marked[name] = MARK in comment
    with av.open(str(samples / "clip-one-forged.mp4")) as container:
        marked["clip-one-forged.mp4"] = MARK in container.metadata["comment"]
    assert marked == {name: "forged" in name for name in MEDIA}


def test_the_twin_differs_in_its_face_only(samples: Path) -> None:
    real, forged = (picture(samples / f"portrait-{label}.jpg").astype(int) for label in ("real", "forged"))
    differs = np.abs(real - forged).max(-1)
    face = differs[90:160, 190:260]
    assert np.median(face) > 10
    differs[20:196, 140:310] = 0  # the square that was forged in, and JPEG's blocks round it
    assert differs.max() <= 2


def test_make_py_makes_them(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images, but for what JPEG loses: the bytes depend on the encoder's version."""
    monkeypatch.syspath_prepend(samples)
    make = runpy.run_path(str(samples / "make.py"))
    forged = make["forge"](data.astronaut(), make["COLLINS"], make["PORTRAIT_SEED"])
    differs = np.abs(forged.astype(int) - picture(samples / "portrait-forged.jpg"))
    assert differs[90:160, 190:260].mean() < 5  # real and forged differ by more than 10 there
    assert differs.mean() < 5


def test_the_scan_reads_everything_and_says_what_holds_a_face(answers: dict[str, FileReport]) -> None:
    assert set(answers) == MEDIA
    for name, file in answers.items():
        judged = name != "no-face.jpg"
        known = {"fake", "real", "uncertain"} if judged else {"not_applicable"}
        assert file.face_state in known, (name, file.reasons)
        assert (file.score is not None) == judged
        assert file.media is not None
        assert file.media.frames_failed == 0
        assert file.sha256
        assert file.reasons


def test_every_face_is_found_once(answers: dict[str, FileReport]) -> None:
    assert {name: len(file.faces) for name, file in answers.items()} == {
        "portrait-real.jpg": 1,
        "portrait-forged.jpg": 1,
        "no-face.jpg": 0,
        "clip-one-forged.mp4": 3,
    }


def test_the_people_of_the_clip_are_followed_through_all_of_it(answers: dict[str, FileReport]) -> None:
    clip = answers["clip-one-forged.mp4"]
    assert clip.media is not None
    assert (clip.media.format, clip.media.width, clip.media.height) == ("mp4", 960, 540)
    assert clip.media.seconds == pytest.approx(5, abs=0.1)
    assert clip.media.frames_read == 32
    panels = set()
    for face in clip.faces:
        assert len(face.samples) >= 30
        places = {int((sample.box[0] + sample.box[2]) / 2 // 320) for sample in face.samples}
        assert len(places) == 1  # nobody's track wanders into another's panel
        panels |= places
    assert panels == {0, 1, 2}


def test_the_report_is_the_published_one(report: Report) -> None:
    again = Report.model_validate_json(report.model_dump_json(by_alias=True))
    assert again.schema_ == "unmask.report/2"
    assert [file.state for file in again.files] == [file.state for file in report.files]
    assert again.detector == report.detector
    assert report.detector.weights_sha256

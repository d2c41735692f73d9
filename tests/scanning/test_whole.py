"""The second question, of any picture: asked beside that about faces, answered apart, and said where it is not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import unmask
from unmask.app.serve.words import words_of
from unmask.scanning import text
from unmask.scanning.ledger import YOUNGER
from unmask.scanning.options import Options, report_of
from unmask.scanning.pipeline import Scanner
from unmask.scanning.verdict import file_state
from unmask.scanning.worker import read_answer, write_answer
from unmask.types import FileReport, Pixels, Report, State, UnmaskError

from .make import SIZE, clip, save, tinted, write_bundle


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calls red pictures generated."""
    return write_bundle(tmp_path_factory.mktemp("whole"), margin=0, tiles=4)


@pytest.fixture(scope="module")
def both(options: Options, whole: Path) -> Scanner:
    return options.model_copy(update={"whole": str(whole)}).ready()


def wall(red: int = 200, blue: int = 60, size: tuple[int, int] = (200, 300)) -> Pixels:
    return np.full((*size, 3), (red, 90, blue), np.uint8)


def of(scanner: Scanner, *files: FileReport) -> Report:
    return report_of(scanner).model_copy(update={"files": files})


def test_a_picture_without_a_face_is_judged_all_the_same(both: Scanner, tmp_path: Path) -> None:
    for red, blue, state in ((200, 60, "fake"), (60, 200, "real")):
        found = both.scan(save(wall(red, blue), tmp_path / "wall.png"))
        assert (found.state, found.face_state, found.score, found.faces) == (state, "not_applicable", None, ())
        assert found.whole is not None
        assert found.whole.state == state
        assert found.whole.score is not None
        assert found.whole.low is not None
        assert found.whole.high is not None
        assert found.whole.low <= found.whole.score <= found.whole.high
        (frame,) = found.whole.frames
        assert (frame.frame, frame.tiles) == (0, 4)
        assert frame.score == pytest.approx(found.whole.score, abs=1e-4)


def test_what_is_said_of_faces_does_not_move(options: Options, both: Scanner, portrait: Pixels, tmp_path: Path) -> None:
    alone = options.model_copy(update={"whole": "none"}).ready()
    for name in ("a.png", "a.mp4"):
        red = tinted(portrait, 0.2)
        path = save(red, tmp_path / name) if name == "a.png" else clip([red] * 12, tmp_path / name)
        without, beside = alone.scan(path), both.scan(path)
        assert without.whole is None
        assert beside.whole is not None
        kept = {"whole", "state", "seconds_spent", "evidence"}
        assert without.model_dump(exclude=kept) == beside.model_dump(exclude=kept)
        assert without.evidence == tuple(one for one in beside.evidence if one.about != "picture")
        assert without.state == without.face_state == beside.face_state == "fake"


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        (("not_applicable", "fake"), "fake"),
        (("real", "fake"), "fake"),
        (("fake", "uncertain"), "fake"),
        (("real", "uncertain"), "uncertain"),
        (("not_applicable", "real"), "real"),
        (("real", "real"), "real"),
        (("not_applicable",), "not_applicable"),
        (("failed", "failed"), "failed"),
    ],
)
def test_the_files_state_by_its_rule(answers: tuple[State, ...], state: State) -> None:
    assert file_state(answers) == file_state(answers[::-1]) == state


def test_pixels_are_looked_at_as_they_are(options: Options, tmp_path: Path) -> None:
    """A pattern of single pixels, of which nothing is left once the picture is made small."""
    grid = np.indices((640, 640)).sum(0) % 2 * 255
    path = save(np.repeat(grid[..., None], 3, 2).astype(np.uint8), tmp_path / "grid.png")
    states = {}
    for tiles in (0, 4):
        bundle = write_bundle(tmp_path / f"grain{tiles}", sees="grain", margin=0, tiles=tiles)
        asked = options.model_copy(update={"detector": str(bundle), "checks": False})
        states[tiles] = asked.ready().scan(path).state
    assert states == {0: "real", 4: "fake"}


def test_eight_frames_of_a_video_are_pooled(both: Scanner, tmp_path: Path) -> None:
    frames = [wall(), wall(60, 200)] * 20
    found = both.scan(clip(frames, tmp_path / "w.mp4"))
    assert found.whole is not None
    assert len(found.whole.frames) == 8
    assert [frame.t for frame in found.whole.frames] == sorted(frame.t for frame in found.whole.frames)
    assert all(frame.tiles == 4 for frame in found.whole.frames)
    scores = [frame.score for frame in found.whole.frames]
    odds = np.log(np.array(scores) / (1 - np.array(scores)))
    assert found.whole.score == pytest.approx(1 / (1 + np.exp(-odds.mean())), abs=1e-3)  # slope 1, intercept 0
    short = both.scan(clip([wall()] * 2, tmp_path / "short.mp4"))
    assert short.whole is not None
    assert (short.whole.state, short.whole.reasons[0]) == (
        "uncertain",
        "only 2 frames of the video could be looked at",
    )


def test_what_is_too_small_or_unfamiliar_has_no_number(options: Options, both: Scanner, tmp_path: Path) -> None:
    small = both.scan(save(wall(size=(63, 200)), tmp_path / "small.png"))
    far = write_bundle(tmp_path / "far", margin=0, tiles=4, ood_threshold=-1)
    strange = options.model_copy(update={"whole": str(far)}).ready().scan(save(wall(), tmp_path / "w.png"))
    for found, why in ((small, "63 px; below 64 px"), (strange, "unlike those this detector was trained on")):
        assert found.whole is not None
        assert (found.state, found.whole.state, found.whole.score) == ("uncertain", "uncertain", None)
        assert why in found.whole.reasons[0]


def test_what_cannot_be_read_has_failed_for_both(both: Scanner, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8\xff no picture")
    found = both.scan(tmp_path / "x.jpg")
    assert found.whole is not None
    assert (found.state, found.face_state, found.whole.state) == ("failed", "failed", "failed")


def test_where_none_is_installed_the_question_is_not_asked_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unmask.scanning.options.installed", lambda name: False)
    scanner = Options().ready()
    found = scanner.scan(save(wall(), tmp_path / "wall.png"))
    assert (found.state, found.whole) == ("not_applicable", None)
    said = str(of(scanner, found))
    assert "No face to judge" in said
    assert "whole images: not asked" in said
    assert of(scanner, found).whole is None


def test_it_is_told_in_words(both: Scanner, portrait: Pixels, tmp_path: Path) -> None:
    found = both.scan(save(wall(), tmp_path / "wall.png"))
    report = of(both, found)
    said = str(report)
    assert said.startswith("Likely generated")
    assert "Is a face forged? No face to judge" in said
    assert "Was it generated as a whole? Likely generated" in said
    assert "probability that it was generated as a whole" in said
    assert "detector red-is-forged" in said
    assert text.line(found).plain.startswith("Likely generated")
    words = words_of(report)
    assert (words.verdict, words.face_verdict, words.number) == ("Likely generated", "No face to judge", "")
    assert words.whole is not None
    assert (words.whole.question, words.whole.verdict) == ("Was it generated as a whole?", "Likely generated")
    face = both.scan(save(tinted(portrait, 0.2), tmp_path / "face.png"))
    assert text.line(face).plain.startswith("Likely forged")  # both answers are, and a face is what people ask about


def test_pictures_of_it_pass_through_a_worker(options: Options, whole: Path, tmp_path: Path) -> None:
    scanner = options.model_copy(update={"whole": str(whole), "pictures": True}).ready()
    found = scanner.scan(save(wall(), tmp_path / "wall.png"))
    again = read_answer(write_answer(found))
    assert again == found
    assert again.whole is not None
    for picture in (again.whole.thumbnail, again.whole.heat):
        assert picture is not None
        assert Image.open(io.BytesIO(picture)).size == (SIZE, SIZE)
    assert "thumbnail" not in found.model_dump()["whole"]


def test_a_table_has_columns_for_it_and_one_of_an_older_release_goes_on(
    options: Options, whole: Path, tmp_path: Path
) -> None:
    save(wall(), tmp_path / "wall.png")
    out = tmp_path / "results.parquet"
    asked = {"detector": options.detector, "out": out, "jobs": 1, "pictures": False}
    unmask.scan(tmp_path / "wall.png", whole="none", **asked)  # type: ignore[arg-type]
    held = pq.read_table(out)
    pq.write_table(held.drop_columns(list(YOUNGER)), out)  # as it was written before
    unmask.scan(tmp_path / "wall.png", whole=str(whole), **asked)  # type: ignore[arg-type]
    (row,) = pq.read_table(out).to_pylist()
    assert (row["state"], row["face_state"], row["whole_state"]) == ("fake", "not_applicable", "fake")
    assert 0.5 < row["whole_low"] <= row["whole_score"] <= row["whole_high"]
    assert row["score"] is None


def test_a_report_of_the_first_form_is_still_read(both: Scanner, tmp_path: Path) -> None:
    report = of(both, both.scan(save(wall(), tmp_path / "wall.png"))).model_dump(mode="json", by_alias=True)
    for file in report["files"]:
        del file["whole"], file["face_state"]
        file["state"] = "not_applicable"
    del report["whole"]
    again = Report.model_validate(report | {"schema": "unmask.report/1"})
    assert again.schema_ == "unmask.report/2"
    assert (again.files[0].state, again.files[0].face_state) == ("not_applicable", "not_applicable")


def test_detectors_are_not_taken_for_each_other(options: Options, bundle: Path) -> None:
    with pytest.raises(UnmaskError, match="looks at faces, not at whole images"):
        options.model_copy(update={"whole": str(bundle)}).ready()
    with pytest.raises(UnmaskError, match="no detector bundle"):
        options.model_copy(update={"whole": "/nowhere"}).ready()

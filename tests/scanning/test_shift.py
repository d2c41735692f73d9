"""The shift alarm: by hand, how often it is false, and how soon it rings."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.scanning import html, text
from unmask.scanning.evidence import piece
from unmask.scanning.shift import BETS, FALSE_ALARMS, USUAL, Watch, watched
from unmask.scanning.words import copies
from unmask.types import DetectorInfo, FileReport, Report, Settings


def runs(share: float, files: int, count: int) -> list[Watch]:
    far = np.random.default_rng(5).random((count, files)) < share
    found = [Watch() for _ in range(count)]
    for watch, row in zip(found, far, strict=True):
        for one in row:
            watch.see(bool(one))
    return found


def test_the_evidence_by_hand() -> None:
    watch = Watch()
    assert watch.evidence == 1
    watch.see(True)  # mean of q / 0.01: (2 + 5 + 10 + 20 + 40 + 80) / 6 = 157 / 6
    assert watch.evidence == pytest.approx(157 / 6)
    watch.see(False)  # each times (1 - q) / 0.99: (1.96 + 4.75 + 9 + 16 + 24 + 16) / 6 / 0.99 = 71.71 / 5.94
    assert watch.evidence == pytest.approx(71.71 / 5.94)
    expected = np.mean(BETS / USUAL * USUAL + (1 - BETS) / (1 - USUAL) * (1 - USUAL))
    assert expected == pytest.approx(1)  # a fair game where files are like the validation set: Ville's condition


def test_false_alarms_are_bounded_and_a_real_shift_is_found_before_200_files() -> None:
    false = np.mean([watch.rang is not None for watch in runs(USUAL, 400, 300)])
    assert false <= FALSE_ALARMS + 3 * np.sqrt(FALSE_ALARMS / 300)
    found = [watch.rang is not None for watch in runs(0.1, 200, 100)]
    assert np.mean(found) >= 0.95


def file(distance: float | None, about: str = "face 1") -> FileReport:
    facts = {} if distance is None else {"distance": distance, "limit": 1.0}
    evidence = (piece("distance", about, facts),) if facts else ()
    return FileReport(path="a", state="uncertain", face_state="uncertain", evidence=evidence)


def test_it_counts_faces_of_files_and_is_said_where_it_rang() -> None:
    assert watched([file(0.5)]) is None
    calm = watched([file(0.5), file(None), file(0.7), file(3.0, "picture")])
    assert calm is not None
    assert (calm.files, calm.far, calm.alarm_after) == (2, 0, None)
    shifted = watched([file(2.0)] * 3)
    assert shifted is not None
    assert shifted.alarm_after == 2
    detector = DetectorInfo(name="d", weights_sha256="")
    report = Report(
        version="", created="", settings=Settings(), detector=detector, files=(file(2.0),) * 3, shift=shifted
    )
    assert "3 of 3 files" in text.whole(report).plain
    assert "may not hold" not in text.whole(report.model_copy(update={"shift": calm})).plain


def test_copies_of_a_file_are_said_to_be_one() -> None:
    files = [file(None).model_copy(update={"path": path, "sha256": sha}) for path, sha in ("aX", "bY", "cX", "dX")]
    assert copies(files) == {2: "a", 3: "a"}
    detector = DetectorInfo(name="d", weights_sha256="")
    report = Report(version="", created="", settings=Settings(), detector=detector, files=tuple(files))
    assert text.whole(report).plain.count("same file as a") == 2
    assert html.render(report).count("(same file as <bdi>a</bdi>)") == 2

"""Rows of wrong verdicts: what they hold, what they do not, and what two releases make of them."""

from __future__ import annotations

import json
from math import comb
from pathlib import Path

import pytest
from PIL import Image
from scipy.stats import binomtest
from typer.testing import CliRunner

from unmask.app.cli import app
from unmask.measure.mcnemar import mcnemar
from unmask.scanning.options import Options
from unmask.types import Pixels


def test_mcnemar_by_hand_and_against_scipy() -> None:
    # 1 won and 5 lost of 6: 2 (C(6, 0) + C(6, 1)) / 2^6 = 14 / 64
    assert mcnemar(1, 5) == pytest.approx(2 * (comb(6, 0) + comb(6, 1)) / 64) == pytest.approx(14 / 64)
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1
    for won, lost in ((0, 8), (2, 17), (40, 25)):
        assert mcnemar(won, lost) == pytest.approx(binomtest(won, won + lost).pvalue)


def test_a_row_is_anonymous_and_only_of_what_was_wrong(options: Options, portrait: Pixels, tmp_path: Path) -> None:
    folder = tmp_path / "eileen-collins"
    folder.mkdir()
    Image.fromarray(portrait).save(folder / "secret-name.jpg", exif=_exif())
    ask = ["report-wrong", str(folder / "secret-name.jpg"), "--detector", options.detector]
    runner = CliRunner()
    shown = {truth: runner.invoke(app, [*ask, "--truth", truth]).stdout for truth in ("real", "fake")}
    wrong = [json.loads(line) for text in shown.values() for line in text.splitlines() if line.startswith("{")]
    assert wrong, "a verdict cannot be right for both"
    for row in wrong:
        assert row["state"] != row["truth"]
        assert (row["width"], row["height"], row["media"]) == (512, 512, "jpeg")
        assert row["faces"][0]["side"] > 40
    assert all(word not in text for text in shown.values() for word in ("secret", "eileen", "Leica", "Person"))


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x013B] = "Leica", "A Person"
    return exif


def row(sha: str, truth: str, state: str) -> str:
    known = {"format": "unmask.wrong/1", "sha256": sha * 64, "truth": truth, "state": state, "face_state": state}
    numbers = {"score": 0.5, "whole_state": None, "whole_score": None, "kind": "image", "media": "png", "width": 9}
    rest = {"height": 9, "faces": [], "detector": "d", "weights_sha256": "", "version": ""}
    return json.dumps(known | numbers | rest)


def test_a_release_that_loses_more_than_it_wins_exits_with_one(tmp_path: Path) -> None:
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    old.write_text("\n".join([row("a", "real", "fake"), row("b", "real", "real"), row("c", "fake", "fake")]))
    new.write_text("\n".join([row("a", "real", "real"), row("b", "real", "uncertain"), row("c", "fake", "real")]))
    runner = CliRunner()
    worse = runner.invoke(app, ["eval", "regressions", str(old), str(new), "--json"])
    assert worse.exit_code == 1
    assert json.loads(worse.stdout) == {"both_right": 0, "won": 1, "lost": 2, "both_wrong": 0, "p": 1.0}
    assert runner.invoke(app, ["eval", "regressions", str(new), str(old)]).exit_code == 0
    new.write_text(row("a", "fake", "fake"))
    assert runner.invoke(app, ["eval", "regressions", str(old), str(new)]).exit_code == 2  # what is true of it?
    new.write_text("{}")
    assert "line 1" in runner.invoke(app, ["eval", "regressions", str(old), str(new)]).stderr

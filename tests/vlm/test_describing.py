"""A model's words beside a verdict: marked, attributed, and without a part in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from unmask.app.cli import app
from unmask.app.commands.explain import cut
from unmask.vlm.describing import CAUTION, describe, lines
from unmask.vlm.scripted import Scripted

SAMPLES = Path(__file__).parents[2] / "samples"
FACE = np.zeros((8, 8, 3), np.uint8)


def script(verdict: str) -> Scripted:
    return Scripted(
        [("REAL or FAKE?", f'{{"verdict": "{verdict}", "justification": "so it is"}}'), ("", "I see skin.")]
    )


@pytest.mark.parametrize(("verdict", "state", "agrees"), [("FAKE", "fake", True), ("REAL", "fake", False)])
def test_who_said_it_comes_first_and_the_detectors_verdict_stands(verdict: str, state: str, agrees: bool) -> None:
    said = describe(script(verdict), script(verdict), [("face 1", state, FACE)])
    assert said.faces[0].agrees is agrees
    text = lines(said)
    assert text[0].startswith("What the model scripted says (no image left this process)")
    assert CAUTION in text[0]
    assert ("agrees with" if agrees else "contradicts") in text[-1]
    assert "whose verdict stands" in text[-1]


def test_an_undecided_verdict_is_neither_agreed_with_nor_contradicted() -> None:
    said = describe(script("FAKE"), script("FAKE"), [("face 1", "uncertain", FACE)])
    assert said.faces[0].agrees is None
    assert describe(script("FAKE"), script("FAKE"), []).faces == ()


def test_a_face_is_cut_with_room_and_stays_in_the_image() -> None:
    image = np.arange(100 * 80 * 3, dtype=np.uint32).reshape(100, 80, 3).astype(np.uint8)
    assert cut(image, (30, 40, 50, 60)).shape == (41, 41, 3)  # 20 px and 10 on each side, its last pixel included
    assert cut(image, (0, 0, 80, 100)).shape == (100, 80, 3)


@pytest.mark.slow
def test_the_command_says_the_same_verdict_with_and_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(
        json.dumps([["REAL or FAKE?", '{"verdict": "FAKE", "justification": "x"}'], ["", "odd"]])
    )
    picture = str(SAMPLES / "portrait-real.jpg")
    alone = CliRunner().invoke(app, ["explain", picture, "--json"])
    asked = CliRunner().invoke(app, ["explain", picture, "--json", "--with", str(tmp_path / "model.json")])
    assert alone.exit_code == asked.exit_code == 0, (alone.output, asked.output)
    one, two = json.loads(alone.stdout), json.loads(asked.stdout)
    assert one["statements"] is None
    assert two["statements"]["kind"] == "statements of a model"
    for report in (one, two):
        for key in ("statements", "created"):
            report.pop(key)
        report["files"][0].pop("seconds_spent")
    assert one == two

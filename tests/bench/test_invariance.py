"""`unmask eval invariance`: counting by hand, re-deliveries, and the command on drawn portraits."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from unmask.app.cli import app
from unmask.bench.invariance import DELIVERIES, Answer, counted
from unmask.imageops.redelivery import REDELIVERIES
from unmask.types import State

SAMPLES = Path(__file__).parents[2] / "samples"


def answers(name: str, before: State, **after: State) -> list[Answer]:
    states = {d: after.get(d.replace("-", "_"), before) for d in DELIVERIES}
    states["original"] = before
    return [Answer(sha256=name, path=name, delivery=d, state=s, score=None, asked="") for d, s in states.items()]


def test_flips_by_hand() -> None:
    """Three files with a verdict, one without: one flips by the thumbnail, one is lost by it, one is gained by it."""
    given = [
        *answers("a", "real", thumbnail="fake"),
        *answers("b", "fake", thumbnail="uncertain"),
        *answers("c", "fake"),
        *answers("d", "not_applicable", thumbnail="real", flip="real"),
    ]
    rows, anywhere = counted(given)
    thumbnail = rows[0]
    assert (thumbnail.verdicts, thumbnail.flipped, thumbnail.lost, thumbnail.gained) == (3, 1, 1, 1)
    assert thumbnail.flips.value == pytest.approx(1 / 3)
    assert {r.delivery: r.flipped for r in rows[1:]} == dict.fromkeys(list(REDELIVERIES)[1:], 0)
    assert (anywhere.flipped, anywhere.lost, anywhere.gained) == (1, 1, 1)


@pytest.mark.parametrize("size", [(200, 300), (1, 1), (2100, 17)])
@pytest.mark.parametrize("name", REDELIVERIES)
def test_every_redelivery_is_an_image_and_the_same_each_time(name: str, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    sent = REDELIVERIES[name](image)
    assert sent == REDELIVERIES[name](image)
    with Image.open(io.BytesIO(sent)) as got:
        assert np.asarray(got.convert("RGB")).ndim == 3


@pytest.mark.slow
def test_the_command_counts_and_resumes(tmp_path: Path) -> None:
    files = [str(SAMPLES / name) for name in ("clip-one-forged.mp4", "no-face.jpg")]  # the quickest to scan
    command = ["eval", "invariance", *files, "-o", str(tmp_path / "out"), "--jobs", "1"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    journal = tmp_path / "out/answers.jsonl"
    lines = journal.read_text().splitlines()
    images = {json.loads(line)["sha256"] for line in lines}
    assert len(lines) == len(images) * len(DELIVERIES)
    assert f"{len(images)} images" in done.output
    journal.write_text("\n".join([*lines[:5], lines[5][:20]]) + "\n")  # killed in the middle of a line
    assert CliRunner().invoke(app, command).exit_code == 0
    kept = [json.loads(line) for line in journal.read_text().splitlines() if line.endswith("}")]
    assert {(k["sha256"], k["delivery"]): k["state"] for k in kept} == {
        (k["sha256"], k["delivery"]): k["state"] for k in map(json.loads, lines)
    }


def test_a_folder_without_images_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no image")
    done = CliRunner().invoke(app, ["eval", "invariance", str(tmp_path), "-o", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "no image" in done.output

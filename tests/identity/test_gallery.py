"""Enrol, list, show, check and remove, on real portraits with a made-up encoder; what is kept, and what is refused."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from tests.conftest import REPOSITORY
from unmask.app.cli import app
from unmask.bundles.embedding import read_embedder
from unmask.errors import InputError
from unmask.faces import FaceDetector
from unmask.identity.gallery import Gallery

SAMPLES = REPOSITORY / "samples"
CONSENT = "the person shown, for this test"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder that gives 7 x 7 mean colours: enough to compare, and nobody's weights."""
    node = helper.make_node("AveragePool", ["input"], ["maps"], kernel_shape=[16, 16], strides=[16, 16])
    flat = helper.make_node("Flatten", ["maps"], ["output"])
    taken = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 112, 112])
    given = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", 147])
    path = tmp_path_factory.mktemp("encoder") / "mean.onnx"
    graph = helper.make_graph([node, flat], "mean", [taken], [given])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["identity", *words])
    return done.exit_code, done.output


def test_a_person_is_enrolled_checked_and_forgotten(encoder: Path, tmp_path: Path) -> None:
    portrait = SAMPLES / "portrait-real.jpg"
    folder = tmp_path / "gallery"
    common = ("--encoder", str(encoder), "--gallery", str(folder))
    assert run("enrol", "ann", str(portrait), *common)[0] == 2  # no consent, no enrolment
    code, said = run("enrol", "ann", str(portrait), "--consent", CONSENT, *common)
    assert code == 0, said
    place = folder / "ann"
    assert sorted(p.name for p in place.iterdir()) == ["attributes.npy", "card.json", "embeddings.npy"]  # and no photo
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in place.iterdir()} == {0o600}
    card = json.loads((place / "card.json").read_text("utf-8"))
    assert card["consent"] == CONSENT
    assert str(portrait) not in json.dumps(card)
    assert "ann" in run("list", "--gallery", str(folder))[1]
    code, said = run("check", "ann", str(portrait), "--threshold", "0.9", "--json", *common)
    assert code == 0, said
    (found,) = json.loads(said)
    assert found["similarity"] == pytest.approx(1, abs=1e-5)  # the enrolled photo itself
    assert found["answer"] in ("consistent", "forgery", "cannot tell")  # as the scan says
    assert found["differences"] == []
    code, said = run("enrol", "ann", str(portrait), "--consent", CONSENT, *common)
    assert (code, "enrolled already" in said) == (2, True)
    assert run("remove", "ann", "--gallery", str(folder))[0] == 0
    assert not place.exists()
    code, said = run("show", "ann", "--gallery", str(folder))
    assert (code, "is not enrolled" in said) == (2, True)


def test_what_cannot_be_enrolled(encoder: Path, tmp_path: Path) -> None:
    held, embedder, faces = Gallery(tmp_path / "g"), read_embedder(encoder), FaceDetector.load("embedded")
    with pytest.raises(InputError, match="no name for a person"):
        held.enrol("../ann", [], embedder, faces, CONSENT)
    blank = tmp_path / "blank.png"
    from PIL import Image

    Image.fromarray(np.full((64, 64, 3), 127, np.uint8)).save(blank)
    with pytest.raises(InputError, match="shows no faces"):
        held.enrol("ann", [blank], embedder, faces, CONSENT)
    with pytest.raises(InputError, match="with consent only"):
        held.enrol("ann", [blank], embedder, faces, "  ")
    assert not (tmp_path / "g").exists()  # nothing was begun

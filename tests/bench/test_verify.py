"""Verification by LFW's protocol: folds, pairs, a bare ONNX file, an embedding bundle and the command."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from tests.data.crops import face
from unmask.app.cli import app
from unmask.bench.verify import drawn, listed, over_folds, run
from unmask.bundles.embedding import CARD, EmbeddingCard, read_embedder
from unmask.data.manifest import FaceRow, write
from unmask.errors import BundleError, InputError
from unmask.exporting.embedding import export_embedding
from unmask.tasks.recipe import Recipe
from unmask.train.loop import restored, train
from unmask.types import InputSpec

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE = 32


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty people, each of a colour of their own, three images each."""
    root, found = tmp_path_factory.mktemp("people"), []
    rng = np.random.default_rng(0)
    for person in range(20):
        colour = np.random.default_rng(person).integers(0, 256, 3)
        for n in range(3):
            about = {"size": SIDE, "margin": 1.3, "identity": f"Person_{person}", "split": ("train", "val")[person % 2]}
            row = face(f"Person_{person}_{n + 1:04d}", 0, 0, source=f"Person_{person}", **about)
            path = root / row.relpath
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = colour + rng.integers(-15, 15, (SIDE, SIDE, 3))
            cv2.imwrite(str(path), pixels.clip(0, 255).astype(np.uint8)[..., ::-1])
            found.append(row)
    return write(root / "faces.parquet", found, {"d": root}, FaceRow).path


@pytest.fixture(scope="module")
def mean_colour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of one image at a time that gives its mean colour."""
    node = helper.make_node("GlobalAveragePool", ["input"], ["maps"])
    flat = helper.make_node("Flatten", ["maps"], ["output"])
    taken = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    given = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph([node, flat], "mean", [taken], [given])
    path = tmp_path_factory.mktemp("encoder") / "mean.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_folds_hold_disjoint_people_and_both_kinds_of_pairs() -> None:
    identity = np.repeat([f"p{n}" for n in range(20)], 3)
    pairs = drawn(identity)
    people = [{identity[i] for side in (pairs.first, pairs.second) for i in side[pairs.fold == k]} for k in range(10)]
    assert sum(map(len, people)) == len(set().union(*people)) == 20
    assert ((identity[pairs.first] == identity[pairs.second]) == pairs.same).all()
    # Two people of three images in each fold: 2 x 3 pairs of one person, 9 of two, of which 6 are drawn.
    assert [(int(pairs.same[pairs.fold == k].sum()), int((pairs.fold == k).sum())) for k in range(10)] == [(6, 12)] * 10
    with pytest.raises(InputError, match="fold 0 has none"):
        drawn(np.repeat([f"p{n}" for n in range(5)], 3))


def test_a_list_of_pairs_is_read_whole_or_refused() -> None:
    text = "2\t1\nAnn\t1\t2\nAnn\t1\tBob\t1\nBob\t1\t2\nAnn\t2\tBob\t2\n"
    stems = {"Ann_0001": 0, "Ann_0002": 1, "Bob_0001": 2, "Bob_0002": 3}
    pairs = listed(text, stems)
    assert list(zip(pairs.first, pairs.second, pairs.same, pairs.fold, strict=True)) == [
        (0, 1, True, 0), (0, 2, False, 0), (2, 3, True, 1), (1, 3, False, 1),
    ]  # fmt: skip
    with pytest.raises(InputError, match="1 images of the pairs are not in the manifest, Bob_0002"):
        listed(text, {k: v for k, v in stems.items() if k != "Bob_0002"})
    with pytest.raises(InputError, match=r"no pairs\.txt"):
        listed("Ann 1 2", stems)


def test_an_interval_over_folds() -> None:
    # Mean 0.5, deviation sqrt(0.02 / 1) of (0.4, 0.6), n = 2: half = t(0.975; 1) 0.1414 / sqrt(2) = 12.706 x 0.1.
    found = over_folds((0.4, 0.6))
    assert (found.value, found.high) == (pytest.approx(0.5), pytest.approx(0.5 + 1.2706, abs=1e-4))


def test_a_bare_file_is_measured_beside_raw_pixels(mean_colour: Path, data: Path) -> None:
    bare = InputSpec(size=112, margin=1.3, template="gend5", mean=(0.5,) * 3, std=(0.5,) * 3)
    found = run(str(mean_colour), data, bare=bare)
    encoder, pixels = found.found
    assert (found.people, found.folds, found.same, found.different) == (20, 10, 60, 60)
    assert encoder.accuracy.value > 0.85  # colour says who it is
    assert pixels.accuracy.value < 0.7  # a grey image less its mean does not
    assert [v.target for v in encoder.vals] == [1e-3, 1e-2]
    assert encoder.vals[0].realised.value == encoder.vals[0].accepted / 60
    asked = ["eval", "verify", str(mean_colour), str(data), "--margin", "1.3", "--template", "gend5", "-q"]
    done = CliRunner().invoke(app, [*asked, "--json", "--flip"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["found"][1]["name"] == "raw pixels"
    assert "raw pixels" in CliRunner().invoke(app, asked).output


@pytest.mark.slow
def test_a_run_becomes_a_bundle_that_embeds_alike(data: Path, tmp_path: Path) -> None:
    values = {
        "task": "pretraining", "name": "people", "method": "arcface", "label": "identity", "probe": "identity",
        "options": {"network": "tiny-iresnet", "size": SIDE}, "views": [{"count": 1, "crop": None}], "batch": 10,
        "length": "2 steps", "optimizer": {"lr": 1e-3}, "best": "verification_auroc",
    }  # fmt: skip
    train(Recipe.model_validate(values), data, tmp_path / "run", cpu=True)
    card = export_embedding(tmp_path / "run", tmp_path / "bundle", comparable=("a" * 64,))
    embedder = read_embedder(tmp_path / "bundle")
    assert embedder.card == card == EmbeddingCard.model_validate_json((tmp_path / "bundle" / CARD).read_bytes())
    crops = np.random.default_rng(0).integers(0, 256, (20, SIDE, SIDE, 3), np.uint8)
    np.testing.assert_allclose(np.linalg.norm(embedder(crops), axis=1), 1, atol=1e-5)
    one, other = (run(str(tmp_path / name), data).found[0] for name in ("run", "bundle"))
    assert one.auroc == pytest.approx(other.auroc, abs=1e-6)
    assert restored(tmp_path / "run")[1].name == one.name
    (tmp_path / "bundle/model.onnx").write_bytes(b"other")
    with pytest.raises(BundleError, match="not the file that its card names"):
        read_embedder(tmp_path / "bundle")

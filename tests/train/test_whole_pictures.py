"""From a folder of pictures to a detector of whole pictures: trained, measured, benched, exported; no face anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.media.make import clip
from tests.scanning.make import write_bundle
from unmask.bench.evaluate import Evaluation, chosen, evaluate
from unmask.bench.protocols import Wanted
from unmask.bench.protocols import run as bench
from unmask.bench.scoring import score_faces
from unmask.bundles import load
from unmask.bundles.calibration import log_odds
from unmask.data.index import index
from unmask.data.manifest import Manifest, write
from unmask.data.pictures import read_picture
from unmask.exporting.bundle import export
from unmask.measure import protocol
from unmask.tasks.detection import rows
from unmask.tasks.recipe import Recipe
from unmask.tiling import inputs, tiles
from unmask.train.loop import restore, train
from unmask.types import Pixels, UnmaskError

RECIPE = {
    "name": "rings",
    "method": "radial_spectrum",
    "options": {"size": 32, "rings": 16, "margin": 0, "tiles": 2},
    "sampler": {"name": "by_class"},
    "batch": 8,
    "length": "12 steps",
    "optimizer": {"lr": 0.2},
    "validate": "12 steps",
    "best": "frame_auroc",
    "transforms": [{"flip": {}}],
}


def picture(seed: int, label: int) -> Pixels:
    """Noise of a sensor, or noise that was enlarged by two, of the same mean and spread; sizes differ."""
    rng = np.random.default_rng(seed)
    height, width = 2 * rng.integers(20, 40, 2)
    if label:
        return rng.integers(60, 200, (height // 2, width // 2, 3), np.uint8).repeat(2, 0).repeat(2, 1)
    return rng.integers(60, 200, (height, width, 3), np.uint8)


def numbers(found: Evaluation) -> dict[tuple[str, str], float | None]:
    return {(level, c.metric): c.value for level, c in found.cells}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`unmask data index folder`, as users have it, and splits."""
    root = tmp_path_factory.mktemp("pictures")
    for n in range(60):
        path = root / ("fake" if n % 2 else "real") / f"{n}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture(n, n % 2)).save(path)
    (root / "real" / "v.mp4").write_bytes(clip(count=16))
    found = index("folder", root, root / "index.parquet").manifest
    split = ["train", "train", "train", "val", "val", "test"]
    placed = [r.model_copy(update={"split": split[k // 2 % 6], "method": ""}) for k, r in enumerate(found)]
    return write(root / "media.parquet", placed, {"folder": root} if "folder" in found.roots else found.roots).path


@pytest.fixture(scope="module")
def run(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(Recipe.model_validate(RECIPE), manifest, out, cpu=True)
    return out


@pytest.fixture(scope="module")
def bundle(run: Path, manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "rings"
    export(run, manifest, out)
    return out


def test_it_learns_and_validation_is_of_all_tiles(run: Path, manifest: Path) -> None:
    found = evaluate(str(run), manifest, split="val")
    value = numbers(found)["frame", "auroc"]
    assert value is not None
    assert value > 0.9
    assert found.failed == 0


def test_a_bundle_scores_each_picture_by_the_mean_of_its_tiles(manifest: Path, tmp_path: Path) -> None:
    name = str(write_bundle(tmp_path / "red", margin=0, tiles=4))
    scorer, found = load(name), Manifest(manifest)
    table = score_faces(scorer, manifest, where=lambda rows: chosen(rows, "val"))
    assert table.num_rows > 8
    for row in table.to_pylist():
        path = next(r.relpath for r in found if r.item_id == row["media_id"])
        image = read_picture(found.roots[row["dataset"]], path, "", row["frame"], row["item_id"])
        said = log_odds(scorer.logits(tiles(image, 64, 4)), scorer.card.classes)
        assert row["score"] == pytest.approx(float(np.mean(said)), abs=1e-5)
    assert evaluate(name, manifest, split="val").failed == 0


@pytest.mark.slow
def test_run_and_bundle_give_each_picture_the_mean_of_its_tiles(run: Path, bundle: Path, manifest: Path) -> None:
    detector, recipe = restore(run)
    held = rows(recipe, manifest, detector.input).validate
    scorer = load(str(bundle))
    assert scorer.card.input == detector.input
    assert scorer.card.calibration is not None
    said = [
        float(np.mean(log_odds(scorer.logits(inputs(held.stored(i), detector.input)), scorer.card.classes)))
        for i in range(len(held))
    ]
    # The calibration rests on these numbers, one a picture.
    known = np.sort([*scorer.card.calibration.real, *scorer.card.calibration.fake])
    np.testing.assert_allclose(np.sort(said), known, atol=1e-3)
    by = [numbers(evaluate(d, manifest, split="val")) for d in (str(run), str(bundle))]
    assert by[0]["frame", "auroc"] == by[1]["frame", "auroc"]


@pytest.mark.slow
def test_a_protocol_trains_and_tests_on_media(manifest: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "rings.yaml"
    recipe.write_text(Recipe.model_validate(RECIPE | {"length": "4 steps", "validate": "4 steps"}).as_yaml(), "utf-8")
    found = protocol.load("within")
    wanted = Wanted(
        data=manifest, detectors=(str(recipe), "spectrum"), out=tmp_path / "out", protocol=found, called="within"
    )
    result, _ = bench(wanted)
    assert {c.detector for c in result.cells} == {"rings", "spectrum"}
    assert all(c.value is not None for c in result.cells if c.metric == "auroc")
    (kept,) = (tmp_path / "out" / "rows").glob("*.parquet")
    assert Manifest(kept).kind == "media"


def test_faces_and_whole_pictures_are_not_taken_for_each_other(manifest: Path, tmp_path: Path) -> None:
    faces = Recipe.model_validate(RECIPE | {"options": {"size": 32, "rings": 16}})
    with pytest.raises(UnmaskError, match="lists media, not faces"):
        train(faces, manifest, tmp_path / "run", cpu=True)
    with pytest.raises(UnmaskError, match="is a whole image, and this detector looks at faces"):
        evaluate("embedded", manifest, split="val")
    forging = Recipe.model_validate(RECIPE | {"forge": {"sbi": 0.5}})
    with pytest.raises(UnmaskError, match="leave it out"):
        train(forging, manifest, tmp_path / "run", cpu=True)
    masks = Recipe.model_validate(RECIPE | {"masks": True})
    with pytest.raises(UnmaskError, match="leave out masks"):
        train(masks, manifest, tmp_path / "run", cpu=True)

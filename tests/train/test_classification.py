"""Classification by generator, attack and order of edits, through the loop and by hand; masks in batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.data.crops import face
from tests.train.faces import recipe as of_detection
from tests.train.runs import rows
from unmask.data.loader import FaceSet
from unmask.data.manifest import FaceRow, Manifest, write
from unmask.data.transforms import build
from unmask.errors import RecipeError
from unmask.tasks import detection
from unmask.tasks.classification import answered, metrics
from unmask.tasks.recipe import Recipe
from unmask.train.loop import create, restore, train

pytestmark = pytest.mark.usefixtures("one_thread")
COLOURS = {"real": (60, 60, 60), "swap": (220, 40, 40), "edit": (40, 220, 40), "new": (40, 40, 220)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flat faces in a colour of what made them; validation holds a method that training does not."""
    root, found = tmp_path_factory.mktemp("made"), []
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in [k for k in COLOURS if split == "val" or k != "new"]:
            for n in range(6):
                fake = kind != "real"
                about: dict[str, Any] = {"size": 64, "margin": 1.3, "split": split, "method": kind if fake else ""}
                about["extra"] = {"steps": {"real": "", "swap": "eye", "edit": "eye-nose", "new": "nose"}[kind]}
                row = face(f"{split}-{kind}-{n}", 0, int(fake), **about)
                path = root / row.relpath
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.array(COLOURS[kind]) + rng.integers(-20, 20, (64, 64, 3))
                cv2.imwrite(str(path), pixels.clip(0, 255).astype(np.uint8)[..., ::-1])
                found.append(row)
    return write(root / "faces.parquet", found, {"d": root}, FaceRow).path


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "task": "classification",
        "name": "classes",
        "method": "resnet34",
        "options": {"network": "tiny-resnet", "size": 32},
        "batch": 6,
        "sampler": {"name": "by_class"},
        "length": "5 epochs",
        "optimizer": {"lr": 3e-3},
        "validate": "5 epochs",
    }
    return Recipe.model_validate(values | changes)


def test_it_learns_which_generator_made_an_image(made: Path, tmp_path: Path) -> None:
    train(recipe(), made, tmp_path / "run", cpu=True)
    (row,) = rows(tmp_path / "run")
    detector, resolved = restore(tmp_path / "run")
    assert detector.classes == resolved.classes == ("edit", "real", "swap")  # type: ignore[attr-defined]
    assert detector(torch.rand(2, 3, 32, 32)).logits.shape == (2, 3)
    names = {"loss", "accuracy", "nmi", "ari", "hungarian_accuracy", "auroc", "oscr"}  # "new" is unknown: open set
    assert {k for k in row if k.startswith("val_")} == {f"val_{n}" for n in names}
    assert row["val_accuracy"] > 0.5


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ("attack", {"auroc", "apcer", "bpcer", "acer", "hter"}),
        ("sequence", {"accuracy", "fixed_accuracy", "adaptive_accuracy"}),
    ],
)
def test_every_field_has_its_numbers(made: Path, tmp_path: Path, label: str, names: set[str]) -> None:
    train(recipe(label=label, length="1 epochs", validate="1 epochs"), made, tmp_path / "run", cpu=True)
    (row,) = rows(tmp_path / "run")
    assert {k for k in row if k.startswith("val_")} == {f"val_{n}" for n in names | {"loss"}}


def test_numbers_by_hand() -> None:
    # Three rows of known classes, two right; one of an unknown class. Confidences: 0.73, 0.88, 0.73 and 0.62.
    logits = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.5, 0.0]])
    table = answered(np.array(["a", "b", "b", "c"]), logits, ("a", "b"), ["a", "b", "b", "c"])
    found = metrics(table, "method")
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["auroc"] == 1  # every known row is surer than the unknown one
    assert found["oscr"] == pytest.approx(2 / 3)
    # Orders: (eye, nose) against (eye, none): cells 1 and 0 of 2; none against none: 2 of 2 fixed, 1 of 1 adaptive.
    orders = answered(
        np.array(["eye-nose", ""]), np.array([[0, 1.0, 0], [1.0, 0, 0]]), ("", "eye", "eye-nose"), ["", ""]
    )
    said = metrics(orders, "sequence")
    assert said["fixed_accuracy"] == pytest.approx(3 / 4)
    assert said["adaptive_accuracy"] == pytest.approx(2 / 3)
    assert said["accuracy"] == pytest.approx(1 / 2)


def test_what_does_not_fit_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"best: acer cannot be measured .* there is loss, accuracy"):
        train(recipe(best="acer", length="1 steps"), made, tmp_path / "a", cpu=True)
    with pytest.raises(RecipeError, match=r"data\.train must leave rows of two classes"):
        train(recipe(classes=["real", "other"]), made, tmp_path / "b", cpu=True)


def test_a_mask_moves_with_its_image() -> None:
    """A forged square is marked; after a flip and a turn the mask still covers the square's pixels."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[10:30, 5:25] = 255
    mask = image[..., 0].copy()
    from unmask.data.loader import _moved_mask

    chain = build([{"flip": {"p": 1.0}}, {"affine": {"degrees": 30, "translate": 0.1, "scale": (0.9, 1.1)}}])
    for seed in range(5):
        moved = chain(image, np.random.default_rng(seed))[..., 0]
        found = _moved_mask(mask, chain, image, np.random.default_rng(seed))
        assert np.abs(moved.astype(int) - found).mean() < 4  # but for the edges' interpolation
        assert ((found > 127) & (moved > 127)).sum() > 0.95 * (moved > 127).sum()


def test_batches_hold_masks_where_they_are_known(data: Path, tmp_path: Path) -> None:
    """Real rows have an empty mask, a stored forgery with a mask of its size has that, and others NaN."""
    manifest = Manifest(data)
    root = next(iter(manifest.roots.values()))
    first = next(r for r in manifest if r.label == 1 and r.split == "train")
    stored = np.zeros((64, 64), np.uint8)
    stored[:32] = 255
    (root / "masks").mkdir(exist_ok=True)
    cv2.imwrite(str(root / "masks/one.png"), stored)
    marked = [
        r.model_copy(update={"mask_relpath": "masks/one.png"}) if r.item_id == first.item_id else r for r in manifest
    ]
    path = write(tmp_path / "marked.parquet", marked, manifest.roots, FaceRow).path
    chosen = of_detection(masks=True, sampler={"name": "by_class"})
    spec = create(chosen).input
    held = detection.rows(chosen, path, spec)  # type: ignore[arg-type]
    assert isinstance(held.train, FaceSet)
    (batch,) = held.batches([[(i, 0, 0, i) for i in range(len(held.train))]])
    assert batch.mask is not None
    assert batch.mask.shape == (len(held.train), spec.size, spec.size)
    assert (batch.mask[batch.label == 0] == 0).all()
    unknown = torch.isnan(batch.mask).all((1, 2))
    assert int((~unknown[batch.label == 1]).sum()) == 1
    known = batch.mask[(batch.label == 1) & ~unknown][0]
    assert known[: spec.size // 2 - 2].min() > 0.99
    assert known[spec.size // 2 + 2 :].max() < 0.01


def test_an_open_world_learns_from_unlabelled_rows(made: Path, tmp_path: Path) -> None:
    """ "swap" is known, "edit" is not: its rows train without a label, and validation counts them as new."""
    chosen = recipe(
        method="cpl",
        options={"network": "tiny-resnet", "size": 32, "dropout": 0.0},
        classes=["real", "swap"],
        open_world={"slots": 2, "labelled": 0.6, "kept": 1.0},
        batch=8,
        length="2 epochs",
        sampler={"name": "half_labelled"},
        validate="2 epochs",
    )
    train(chosen, made, tmp_path / "run", cpu=True)
    (row,) = rows(tmp_path / "run")
    detector, _ = restore(tmp_path / "run")
    assert detector.classes == ("real", "swap", "new-1", "new-2")
    names = {"known", "novel", "novel_nmi", "novel_ari", "all", "all_nmi", "all_ari"}
    assert names <= {k.removeprefix("val_") for k in row}
    assert {"train_cls", "train_voting", "train_pseudo", "train_entropy"} <= row.keys()

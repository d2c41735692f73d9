"""Runs on captioned images and on sentences, and what can be measured of them afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from tests.train.runs import rows
from unmask.app.cli import app
from unmask.bench.image_text import evaluate_zero_shot, open_model, read_prompts
from unmask.data import tokens
from unmask.data.manifest import Manifest, SentenceRow, write
from unmask.data.scenes import write_scenes
from unmask.exporting.encoder import export_encoder
from unmask.registry import FAMILIES
from unmask.tasks.recipe import Recipe
from unmask.train.loop import train
from unmask.types import UnmaskError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"), 100, size=32, seed=1).path


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    found = [
        SentenceRow(
            dataset="s", item_id=f"s/{n}", relpath="", group_id=f"g{n}", text=f"a car number {n}", other=f"car {n % 5}",
            score=float(n % 5), split="val" if n > 15 else "train",
        )
        for n in range(24)
    ]  # fmt: skip
    return write(folder / "s.parquet", found, {"s": folder}, SentenceRow).path


def recipe(method: str, **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "task": "pretraining", "name": "small", "method": method, "batch": 8, "length": "2 steps",
        "validate": "2 steps", "optimizer": {"lr": 1e-3}, "views": [{"count": 1, "crop": None, "flip": 0}],
        "options": FAMILIES["objective"].card(method).small, "probe": "identity",
    }  # fmt: skip
    return Recipe.model_validate(values | changes)


@pytest.fixture(scope="module")
def run(scenes: Path) -> Path:
    tokens.train(["a red circle at the top"], 400).save(scenes.parent / "tokeniser")
    options = FAMILIES["objective"].card("clip").small
    text = {**options["text"], "tokeniser": str(scenes.parent / "tokeniser")}
    train(recipe("clip", options={**options, "text": text}), scenes, scenes.parent / "run", cpu=True)
    return scenes.parent / "run"


def test_a_run_on_captions_is_validated_by_retrieval(run: Path) -> None:
    (row,) = rows(run)
    assert {
        "val_image_to_text_r1",
        "val_text_to_image_r10",
        "val_centroid_distance",
        "val_loss",
        "val_spread",
    } <= row.keys()
    assert 0 <= row["val_text_to_image_r1"] <= row["val_text_to_image_r5"] <= 1


def test_an_export_embeds_as_the_run_does_and_is_measured_by_the_commands(
    run: Path, scenes: Path, tmp_path: Path
) -> None:
    export_encoder(run, tmp_path / "out")
    found, image = [], torch.rand(2, 3, 32, 32)
    for source in (run, tmp_path / "out"):
        model = open_model(source)
        assert model.images is not None
        with torch.no_grad():
            found.append(torch.cat([model.images(image), model.texts(["a red circle", "rain"])]))
    torch.testing.assert_close(*found)
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"templates": ["a {}", "one {} here"], "classes": ["red circle", "blue cross"]}))
    done = CliRunner().invoke(
        app, ["eval", "retrieval", str(tmp_path / "out"), str(scenes), "--split", "val", "--json"]
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    (row,) = rows(run)
    assert said["numbers"]["image_to_text_r5"]["value"] == pytest.approx(row["val_image_to_text_r5"])
    assert (
        said["numbers"]["image_to_text_r5"]["low"]
        <= row["val_image_to_text_r5"]
        <= said["numbers"]["image_to_text_r5"]["high"]
    )
    names = {r.identity for r in Manifest(scenes)}
    prompts.write_text(json.dumps({name: [f"a {name}"] for name in sorted(names)}))
    done = CliRunner().invoke(
        app,
        [
            "eval",
            "zero-shot",
            str(run),
            str(scenes),
            "--prompts",
            str(prompts),
            "--column",
            "identity",
            "--split",
            "all",
        ],
    )
    assert done.exit_code == 0, done.output
    assert "balanced_accuracy" in done.output
    with pytest.raises(UnmaskError, match="two classes or more"):
        evaluate_zero_shot(open_model(run), scenes, {"one": ["a"]}, "identity")
    prompts.write_text('{"cat": "a cat"}')
    with pytest.raises(UnmaskError, match="must hold"):
        read_prompts(prompts)


def test_a_run_is_pinned_to_its_tokeniser(run: Path, scenes: Path) -> None:
    held = (scenes.parent / "tokeniser" / tokens.FILE).read_text("utf-8")
    tokens.train(["other words"], 300).save(scenes.parent / "tokeniser")
    try:
        with pytest.raises(UnmaskError, match="not the tokeniser that this was trained with"):
            open_model(run)
    finally:
        (scenes.parent / "tokeniser" / tokens.FILE).write_text(held, "utf-8")


def test_sentences_are_validated_by_what_people_said(pairs: Path, tmp_path: Path) -> None:
    train(recipe("simcse", best="sts"), pairs, tmp_path / "run", cpu=True)
    (row,) = rows(tmp_path / "run")
    assert -1 <= row["val_sts"] <= 1
    done = CliRunner().invoke(app, ["eval", "sts", str(tmp_path / "run"), str(pairs), "--split", "val", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)["numbers"]
    assert said["spearman"]["value"] == pytest.approx(row["val_sts"])
    assert said.keys() == {"spearman", "spearman_controlled"}
    train(recipe("text_contrast", texts=[{}, {"of": "other"}]), pairs, tmp_path / "pairs", cpu=True)


def test_captions_alone_and_whole_images_alone_are_data_too(scenes: Path, tmp_path: Path) -> None:
    train(recipe("close"), scenes, tmp_path / "close", cpu=True)
    assert "val_loss" in rows(tmp_path / "close")[0]
    train(recipe("simclr", views=[{"crop": [0.5, 1.0]}]), scenes, tmp_path / "simclr", cpu=True)
    assert "val_alignment" in rows(tmp_path / "simclr")[0]


def test_what_does_not_fit_is_said(scenes: Path, pairs: Path, tmp_path: Path) -> None:
    for method, data, changes, said in (
        ("clip", pairs, {}, "clip learns from images, and .* lists sentences"),
        ("clip", scenes, {"texts": [{"of": "other"}]}, "texts.of 'other' is a column of sentence tables"),
        ("simcse", pairs, {"texts": [{"of": "negative"}]}, "16 of the chosen rows have no negative"),
        ("clip", scenes, {"data": {"frames": 2}}, "data.frames chooses frames of videos"),
    ):
        with pytest.raises(UnmaskError, match=said):
            train(recipe(method, **changes), data, tmp_path / said[:6], cpu=True)

"""From a run to a bundle that scans, and the gate that keeps back one that answers otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from tests.conftest import REPOSITORY
from tests.train.faces import lay, recipe
from unmask.app.cli import app
from unmask.base.predict import predict, to_tensor
from unmask.bench.evaluate import evaluate
from unmask.bundles import Scorer, load, read, read_card
from unmask.bundles import write as write_bundle
from unmask.bundles.calibration import log_odds, probabilities
from unmask.data.manifest import FaceRow, Manifest, write
from unmask.exporting import bundle as exporting_bundle
from unmask.exporting.bundle import export
from unmask.exporting.parity import BOUNDS, check_parity, parity_crops
from unmask.tasks.detection import rows
from unmask.train.loop import create, restore, train
from unmask.types import UnmaskError

LORA = {"backbone": "tiny-dinov2", "adaptation": "lora", "rank": 2, "head": "linear"}


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(recipe(options=LORA, optimizer={"lr": 3e-3}), data, out, cpu=True)
    return out


@pytest.fixture(scope="module")
def bundle(run: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "bundle"
    card, parity = export(run, data, out, runtime="openvino")
    assert parity.worst <= parity.bound == BOUNDS["fp32"]
    assert parity.runtimes == ("onnx", "openvino")
    assert card == read_card(out / "card.json")
    return out


def test_the_bundle_answers_as_the_run_in_every_runtime(run: Path, bundle: Path, data: Path) -> None:
    detector, chosen = restore(run)
    faces = rows(chosen, data, detector.input).validate
    crops = np.stack([faces[i].image for i in range(len(faces))])
    with torch.inference_mode():
        want = detector(to_tensor(crops)).logits.numpy()
    for runtime in ("onnx", "openvino", "torch"):  # low-rank updates are folded in: torch builds a detector without
        np.testing.assert_allclose(Scorer(read(bundle), runtime).logits(crops), want, atol=1e-4)


def test_its_card_says_what_it_is_and_what_it_rests_on(bundle: Path, data: Path) -> None:
    card = read_card(bundle / "card.json")
    assert (card.name, card.method, card.options["adaptation"]) == ("small", "gend", "ln")
    assert card.recipe["options"]["adaptation"] == "lora"
    assert card.recipe["data_digest"] == Manifest(data).digest
    assert {(m.split, m.level, m.name) for m in card.metrics} == {
        ("val", level, name) for level in ("frame", "video") for name in ("AUROC", "EER", "Cllr")
    }
    assert all("validation" in m.seen for m in card.metrics)
    assert card.calibration is not None
    assert len(card.calibration.real) == len(card.calibration.fake) == 9  # 3 people of validation, 3 frames each
    assert str(data.parent) not in (bundle / "card.json").read_text("utf-8")


def test_a_face_unlike_its_training_data_ends_uncertain(bundle: Path, tmp_path: Path) -> None:
    """It learnt from made-up pictures, and a portrait is none; with a threshold beyond all it would have a score."""
    found = scanned(bundle, tmp_path)
    assert (found["state"], found["detector"]["name"]) == ("uncertain", "small")
    assert any("unlike those this detector was trained on" in r for f in found["faces"] for r in f["reasons"])
    card = read_card(bundle / "card.json")
    assert card.ood_threshold is not None
    assert 0.5 < card.ood_threshold < 5  # distances are about 1 for training faces
    files = {name: bundle / name for name in card.files}
    write_bundle(tmp_path / "blind", card.model_copy(update={"ood_threshold": 1e9}), files)
    found = scanned(tmp_path / "blind", tmp_path)
    assert 0 <= found["score"] <= 1
    assert not any("unlike" in r for f in found["faces"] for r in f["reasons"])


def scanned(bundle: Path, folder: Path) -> dict[str, Any]:
    """What a scan of a portrait says of the file."""
    image, report = REPOSITORY / "samples" / "portrait-forged.jpg", folder / "report.json"
    asked = ["scan", str(image), "--detector", str(bundle), "--json", str(report), "--quiet", "--no-checks"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    files: list[dict[str, Any]] = json.loads(report.read_text("utf-8"))["files"]
    return files[0]


@pytest.mark.slow
def test_bfloat16_is_half_as_large_and_stays_in_its_bound(run: Path, data: Path, bundle: Path, tmp_path: Path) -> None:
    _, parity = export(run, data, tmp_path / "b", precision="bf16")
    assert 0 < parity.worst <= parity.bound
    for name in ("model.onnx", "model.safetensors"):
        assert (tmp_path / "b" / name).stat().st_size < 0.6 * (bundle / name).stat().st_size
    crops = np.random.default_rng(0).integers(0, 256, (5, 56, 56, 3), np.uint8)
    one, other = (Scorer(read(tmp_path / "b"), r).logits(crops) for r in ("onnx", "torch"))
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.slow
def test_int8_is_a_file_for_onnx_alone_and_worse_by_what_is_said(run: Path, data: Path, tmp_path: Path) -> None:
    card, parity = export(run, data, tmp_path / "lax", precision="int8", bound=0.9)
    assert list(card.files) == ["model.onnx"]
    assert parity.worst > 1e-4
    detector, chosen = restore(run)
    crops = parity_crops(rows(chosen, data, detector.input).validate)
    assert card.calibration is not None
    scorer, exact = Scorer(read(tmp_path / "lax")), log_odds(predict(detector, crops).logits, detector.classes)
    with pytest.raises(UnmaskError, match=r"on onnx at batch 1, P\(fake\) is off by up to .* choose a higher"):
        check_parity(scorer, crops, exact, card.calibration, parity.worst * 0.9)


def test_a_model_that_was_exported_wrongly_is_kept_back(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the kind that exporters have: one tensor is not what it was."""
    right = exporting_bundle.write_onnx

    def wrong(model: torch.nn.Module, *arguments: Any) -> None:
        with torch.no_grad():
            model.detector.head.weight[1, ::2] += 0.2  # type: ignore[union-attr, index]
        right(model, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(exporting_bundle, "write_onnx", wrong)
    with pytest.raises(UnmaskError, match="not exported"):
        export(run, data, tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_the_gate_by_hand(bundle: Path) -> None:
    scorer = load(str(bundle))
    calibration = scorer.card.calibration
    assert calibration is not None
    crops = np.random.default_rng(0).integers(0, 256, (7, 56, 56, 3), np.uint8)
    exact = log_odds(scorer.logits(crops), scorer.card.classes)
    assert check_parity(scorer, crops, exact, calibration, 0.001) < 1e-5
    moved = exact.copy()
    moved[6] += 1.0
    want = np.abs(probabilities(calibration, moved) - probabilities(calibration, exact)).max()
    assert check_parity(scorer, crops, moved, calibration, 1.0) == pytest.approx(want, abs=1e-5)
    with pytest.raises(UnmaskError, match="not exported"):
        check_parity(scorer, crops, moved, calibration, float(want) * 0.9)


def test_other_data_calibrate_nothing(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match=r"is not the manifest that .* was trained with"):
        export(run, lay(tmp_path / "other", people=7), tmp_path / "out")
    with pytest.raises(UnmaskError, match="is no run folder"):
        export(tmp_path, lay(tmp_path / "again", people=7), tmp_path / "out")


def test_a_checkpoint_of_another_model_is_refused_by_name(run: Path, tmp_path: Path) -> None:
    for file in run.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    best = tmp_path / "best.safetensors"
    kept = {k: v for k, v in load_file(best).items() if k != "head.bias"}
    save_file(kept, best, {"unmask": "unmask.checkpoint/1", "facts": "{}"})
    with pytest.raises(UnmaskError, match=r"differs in head\.bias \(1 tensors\)"):
        restore(tmp_path)
    save_file(kept, best)
    with pytest.raises(UnmaskError, match="is no checkpoint of `unmask train`"):
        restore(tmp_path)
    best.write_bytes(b"\x80\x04pickle")
    with pytest.raises(UnmaskError, match="cannot read the checkpoint"):
        restore(tmp_path)


def test_a_bundle_is_trained_on(bundle: Path) -> None:
    """Its weights are where the next training starts; those of another model are refused by name."""
    weights = bundle / "model.safetensors"
    boxed, card = load_file(weights), read_card(bundle / "card.json")
    begun = create(recipe(options=card.options, start=str(weights), seed=9)).state_dict()
    assert {f"detector.{k}" for k in begun} == boxed.keys() - {"whiten", "centres"}
    assert all(torch.equal(value, boxed[f"detector.{k}"]) for k, value in begun.items())
    with pytest.raises(UnmaskError, match=r"model\.safetensors is of another model: it differs in "):
        create(recipe(method="meso4", options={}, start=str(weights)))
    embedded = REPOSITORY / "src/unmask/bundles/embedded/model.safetensors"
    first = create(recipe(method="mobilenet", options={}, start=str(embedded))).state_dict()
    assert torch.equal(first["head.weight"], load_file(embedded)["detector.head.weight"].float())


@pytest.mark.slow
def test_scores_that_run_against_the_labels_are_not_calibrated(data: Path, tmp_path: Path) -> None:
    manifest = Manifest(data)
    turned = [r.model_copy(update={"label": 1 - int(r.label or 0)}) if r.split == "val" else r for r in manifest]
    path = write(tmp_path / "turned.parquet", turned, manifest.roots, FaceRow).path
    train(recipe(optimizer={"lr": 1e-3}, length="4 steps"), path, tmp_path / "run", cpu=True)
    with pytest.raises(UnmaskError, match="higher scores go with real faces in the validation rows"):
        export(tmp_path / "run", path, tmp_path / "out")


# --- evaluate ---------------------------------------------------------------------------------------------------------


def test_evaluate_counts_frames_and_clips_by_hand(bundle: Path, run: Path, data: Path, tmp_path: Path) -> None:
    """Six test people under two methods, of which "odd" wears real faces: its AUROC is that of chance or below."""
    manifest = Manifest(data)
    found = [r.model_copy(update={"split": "test"}) for r in manifest]
    odd = [
        r.model_copy(update={
            "item_id": f"odd/{r.item_id}", "media_id": f"odd/{r.media_id}", "label": 1, "method": "odd",
        })
        for r in found if r.label == 0
    ]  # fmt: skip
    path = write(tmp_path / "made.parquet", [*found, *odd], manifest.roots, FaceRow).path
    for name in (bundle, run):
        got = evaluate(str(name), path, by=["method"])
        assert (got.rows, got.failed, got.data) == (72, 0, Manifest(path).digest)
        values = {(level, c.column, c.metric): c for level, c in got.cells}
        assert values["frame", "swap", "auroc"].value == 1.0
        # The same images on both sides: ties, but for the last bit, which may depend on the place in a batch.
        assert values["frame", "odd", "auroc"].value == pytest.approx(0.5, abs=0.02)
        assert values["frame", "all", "auroc"].value == pytest.approx(0.75, abs=0.02)
        assert values["video", "odd", "eer"].value == pytest.approx(0.5, abs=0.13)  # one of eight videos
        assert (values["frame", "swap", "auroc"].real, values["video", "swap", "auroc"].real) == (24, 8)
        assert values["video", "all", "auroc"].groups == 8
    assert values["frame", "all", "ece"].why == "no calibration"


def test_evaluate_says_what_is_not_there(bundle: Path, data: Path) -> None:
    with pytest.raises(UnmaskError, match="no labelled rows of the split 'test'; its splits: train, val"):
        evaluate(str(bundle), data)
    with pytest.raises(UnmaskError, match="cannot count by 'person': there is dataset, method, compression"):
        evaluate(str(bundle), data, split="val", by=["person"])


def test_the_commands_in_one_go(data: Path, tmp_path: Path) -> None:
    text, out = recipe(length="9 steps").as_yaml(), tmp_path / "run"
    (tmp_path / "recipe.yaml").write_text(text, "utf-8")
    call = CliRunner().invoke
    done = call(app, ["train", str(tmp_path / "recipe.yaml"), str(data), "-o", str(out), "--cpu", "seed=4"])
    assert done.exit_code == 0, done.output
    assert "best video_auroc" in done.output
    done = call(
        app, ["eval", "evaluate", str(out), str(data), "--split", "val", "--by", "dataset,method", "--json", "--quiet"]
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert {c["column"] for c in told["cells"]} == {"all", "d/swap"}
    assert told["interval"]["method"] == "group_bootstrap"
    done = call(app, ["eval", "evaluate", str(out), str(data), "--split", "val"])
    assert "all" in done.output
    assert "auroc" in done.output
    done = call(app, ["export", str(out), str(data), "-o", str(tmp_path / "bundle")])
    assert done.exit_code == 0, done.output
    assert "at batch 1 and 5" in done.output
    done = call(app, ["train", str(tmp_path / "recipe.yaml"), str(data), "-o", str(out), "sede=4"])
    assert done.exit_code == 2

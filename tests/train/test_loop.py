"""The loop: it learns, it resumes after a kill as if nothing had happened, and two processes are one."""

from __future__ import annotations

import csv
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.train.faces import lay, recipe
from tests.train.runs import ALONE, command, in_processes, rows, stopped, unlike
from unmask.base.detector import Batch, Detector
from unmask.base.method import Engine
from unmask.data.manifest import FaceRow, Manifest, write
from unmask.registry import FAMILIES
from unmask.tasks import detection
from unmask.tasks.task import Compute
from unmask.train import loop
from unmask.train.checkpoint import frozen, learnt
from unmask.train.loop import restore, train
from unmask.train.run import Folder
from unmask.types import UnmaskError

pytestmark = pytest.mark.usefixtures("one_thread")
ODD = {  # everything that could be forgotten on the way through a checkpoint
    "method": "mobilenet",  # batch statistics, dropout
    "options": {},
    "transforms": "degrade",
    "accumulate": 2,
    "batch": 4,
    "data": {"frames": 2},
    "ema": 0.9,
    "sam": 0.05,
    "clip": 1.0,
    "length": "5 steps",
    "validate": "1 steps",
}


def test_it_learns_and_keeps_what_validation_likes_best(data: Path, tmp_path: Path) -> None:
    done = train(recipe(best="loss", optimizer={"lr": 1e-4}), data, tmp_path / "run", cpu=True)
    found = rows(tmp_path / "run")
    assert [row["step"] for row in found] == [3, 6, 9, 12]
    assert found[-1]["val_frame_auroc"] == found[-1]["val_video_auroc"] == 1
    assert found[-1]["val_loss"] < found[0]["val_loss"]
    best = min(found, key=lambda row: row["val_loss"])
    assert (done.best, done.best_step, done.over) == (best["val_loss"], best["step"], True)
    table = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open(encoding="utf-8")))
    assert [float(row["val_loss"]) for row in table] == [row["val_loss"] for row in found]
    detector, _ = restore(tmp_path / "run")
    again = detection.rows(recipe(), data, detector.input).measure(detector, Compute(loop.Accelerator(cpu=True), 10))
    assert again["loss"] == pytest.approx(best["val_loss"], abs=1e-6)


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(data: Path, tmp_path: Path) -> None:
    chosen, whole, cut = recipe(**ODD), tmp_path / "whole", tmp_path / "cut"
    train(chosen, data, whole, cpu=True)
    process = subprocess.Popen(command(chosen, data, cut), env=ALONE)
    while process.poll() is None and not (cut / "metrics.jsonl").is_file():
        time.sleep(0.01)
    time.sleep(0.05)  # somewhere in a step
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(rows(cut))
    assert 0 < before < 5
    train(chosen, data, cut, cpu=True)
    assert rows(cut) == rows(whole)
    for name in ("best.safetensors", "last.safetensors", "frozen.safetensors"):
        assert not unlike(whole / name, cut / name), name


def test_a_checkpoint_in_the_middle_of_an_epoch_and_of_the_rows(data: Path, tmp_path: Path) -> None:
    """Stopped after every single step: the same as never stopped."""
    chosen = recipe(length="5 steps", validate="2 steps", save="1 step", ema=0.5)
    train(chosen, data, tmp_path / "whole", cpu=True)
    stopped(chosen, data, tmp_path / "cut", times=4)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_are_one(data: Path, tmp_path: Path) -> None:
    alone = {"backbone": "tiny-dinov2", "adaptation": "ln", "uniform": 0, "align": 0}  # no loss over pairs of images
    chosen = recipe(options=alone, sampler={"name": "by_class"}, batch=12, accumulate=2, clip=0.5, length="2 epochs")
    in_processes(chosen, data, tmp_path / "two")
    train(chosen, data, tmp_path / "one", cpu=True)
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == len(two) == 2
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)


def test_a_folder_of_another_run_is_refused(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(recipe(length="1 steps"), data, out, cpu=True)
    held = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(UnmaskError, match=r"another recipe or other data \(ema, seed differ\)"):
        train(recipe(length="1 steps", seed=1, ema=0.5), data, out, cpu=True)
    other = lay(tmp_path / "other", people=7)
    with pytest.raises(UnmaskError, match=r"\(data differ\)"):
        train(recipe(length="1 steps"), other, out, cpu=True)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == held
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    with pytest.raises(UnmaskError, match="holds files and is no run folder"):
        train(recipe(), data, tmp_path / "full", cpu=True)


def test_data_that_would_mislead_is_refused(data: Path, tmp_path: Path) -> None:
    manifest = Manifest(data)
    leaking = [row.model_copy(update={"group_id": "all one"}) for row in manifest]
    path = write(tmp_path / "leaking.parquet", leaking, manifest.roots, FaceRow).path
    with pytest.raises(UnmaskError, match=r"1 leakage groups stand in data\.train and in data\.validate"):
        train(recipe(), path, tmp_path / "a", cpu=True)
    torn = [r.model_copy(update={"flags": ("straddles-source",)}) if r.split == "train" else r for r in leaking]
    path = write(tmp_path / "torn.parquet", [*manifest, *torn], manifest.roots, FaceRow).path
    assert len(detection.rows(recipe(), path, loop.create(recipe()).input).train) == 30  # the flagged ones stay out
    with pytest.raises(UnmaskError, match=r"data\.validate must leave real and forged rows .* it leaves 0 rows"):
        train(recipe(data={"validate": {"split": ["test"]}}), data, tmp_path / "b", cpu=True)
    assert not (tmp_path / "a").exists()


def test_patience_ends_a_run_that_gets_no_better(data: Path, tmp_path: Path) -> None:
    still = recipe(optimizer={"name": "sgd", "lr": 1e-30}, patience=2, length="50 epochs", best="loss")
    done = train(still, data, tmp_path / "run", cpu=True)
    assert (done.best_step, done.step) == (3, 9)
    assert train(still, data, tmp_path / "run", cpu=True).step == 9  # it is over, and stays so


def test_frozen_weights_are_stored_once(data: Path, tmp_path: Path) -> None:
    probe = recipe(options={"backbone": "tiny-dinov2", "adaptation": "probe"}, length="2 steps")
    train(probe, data, tmp_path / "run", cpu=True)
    detector, _ = restore(tmp_path / "run")
    assert load_file(tmp_path / "run" / "best.safetensors").keys() == learnt(detector).keys()
    assert load_file(tmp_path / "run" / "frozen.safetensors").keys() == frozen(detector).keys()
    assert {k.split(".")[0] for k in learnt(detector)} == {"head"}


def test_accumulated_batches_are_one_large_one(data: Path, tmp_path: Path) -> None:
    """By hand: the gradient of two batches of 5 is that of one of 10, where the loss is a mean over images."""
    detector = loop.create(recipe(options={"backbone": "tiny-dinov2", "uniform": 0, "align": 0}))
    spec, moved = detector.input, []
    image, label = torch.rand(10, 3, spec.size, spec.size), torch.arange(10) % 2
    for parts in (1, 2):
        chosen = recipe(accumulate=parts, options={"backbone": "tiny-dinov2", "uniform": 0, "align": 0})
        detector = loop.create(chosen)
        engine = loop.Engine(detector, chosen, loop.Accelerator(cpu=True))
        batches = [Batch(i, y) for i, y in zip(image.chunk(parts), label.chunk(parts), strict=True)]
        engine.learn(batches, 0, 0.1)
        moved.append(detector.head.weight.detach().clone())
    torch.testing.assert_close(moved[0], moved[1])


def test_a_method_may_write_its_own_step(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def step(self: Detector, batch: Batch, engine: Engine) -> dict[str, torch.Tensor]:
        for sign in (1.0, -1.0):
            with engine.autocast():
                odd = sign * self(batch.image).logits.square().mean()
            engine.backward(odd)
            engine.update()
        calls.append(batch)
        return {"odd": odd}

    monkeypatch.setattr(FAMILIES["detector"].kind("gend"), "step", step)
    train(recipe(length="2 steps"), data, tmp_path / "run", cpu=True)
    assert len(calls) == 2
    assert "train_odd" in rows(tmp_path / "run")[0]
    assert load_file(tmp_path / "run" / "last.safetensors")["optimizer.0.step"].item() == 4


def test_tensorboard_gets_the_rows_or_its_lack_is_said(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    if find_spec("tensorboard"):
        train(recipe(length="1 steps"), data, out, cpu=True, tensorboard=True)
        assert list((out / "tensorboard").glob("events.*"))
        return
    with pytest.raises(UnmaskError, match="--tensorboard needs that package: pip install tensorboard"):
        train(recipe(length="1 steps"), data, out, cpu=True, tensorboard=True)


def test_half_precision_trains(data: Path, tmp_path: Path) -> None:
    done = train(recipe(precision="bf16", length="2 steps"), data, tmp_path / "run", cpu=True)
    assert done.step == 2
    assert Folder(tmp_path / "run").recipe().precision == "bf16"


def test_a_run_that_leaves_the_numbers_says_so(data: Path, tmp_path: Path) -> None:
    wild = recipe(optimizer={"name": "sgd", "lr": 1e30}, schedule={"name": "constant"})
    with pytest.raises(UnmaskError, match=r"not finite any more: lower optimizer\.lr"):
        train(wild, data, tmp_path / "run", cpu=True)

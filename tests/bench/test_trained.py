"""Recipes in a table: trained on the rows that the protocol says, several seeds, once, and not lost to a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from tests.bench.patterns import lay
from tests.train.runs import unlike
from unmask.app.cli import app
from unmask.bench import protocols
from unmask.bench import trained as recipe_run
from unmask.bench.evaluate import entry_of
from unmask.bench.maps import of_run, sample, spectra
from unmask.bench.scorers import Sides
from unmask.bench.scoring import score_rows
from unmask.bench.trained import TrainedRecipe
from unmask.data.manifest import FaceRow, Manifest, write
from unmask.detectors.resnet34 import ResNet34
from unmask.measure.metrics import auroc
from unmask.measure.protocol import load
from unmask.measure.tables import Result, read
from unmask.train.run import Folder

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = 12
RECIPE = {
    "name": "tiny",
    "method": "resnet34",
    "options": {"network": "tiny-resnet", "size": 32},
    "sampler": {"name": "by_class"},
    "batch": 8,
    "length": f"{STEPS} steps",
    "optimizer": {"lr": 1e-2},
    "validate": "4 steps",
    "best": "frame_auroc",
}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay(tmp_path_factory.mktemp("taught"))


@pytest.fixture(scope="module")
def recipe(faces: Path) -> Path:
    return written(faces.parent / "tiny.yaml")


@pytest.fixture(scope="module")
def run(faces: Path, recipe: Path) -> Path:
    out = faces.parent / "out"
    code, said = bench("cross-dataset", recipe, faces, out, "--seeds", "0,1")
    assert code == 0, said
    return out


def written(path: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump(RECIPE | changes), "utf-8")
    return path


def words(protocol: str, recipe: Path, faces: Path, out: Path) -> list[str]:
    named = ["--detectors", f"{recipe},spectrum", str(faces), "-o", str(out)]
    return ["eval", "bench", protocol, *named, "--no-plots", "--cpu", "--threads", "1"]


def bench(protocol: str, recipe: Path, faces: Path, out: Path, *more: str) -> tuple[int, str]:
    env = {"COLUMNS": "250", "NO_COLOR": "1"}
    result = CliRunner().invoke(app, [*words(protocol, recipe, faces, out), *more], env=env)
    return result.exit_code, result.output


def runs(out: Path) -> dict[str, Path]:
    """Name and seed -> run folder."""
    return {p.name.rpartition("-")[0]: p for p in sorted((out / "runs").glob("[!.]*-s*"))}


def values(out: Path) -> list[tuple[str, str, float | None, float | None, float | None]]:
    return [(c.detector, c.column, c.value, c.low, c.high) for c in read(out).cells]


def test_a_recipe_is_trained_for_each_seed_and_its_mean_is_what_its_runs_say(run: Path, faces: Path) -> None:
    each = []
    for folder in (runs(run)["tiny-s0"], runs(run)["tiny-s1"]):
        table = score_rows(entry_of(str(folder))[1], faces, where=lambda t: np.array(t["split"].to_pylist()) == "test")
        kept = table["score"].is_valid()
        table = table.filter(kept)
        each.append(auroc(table["label"].to_numpy(), table["score"].to_numpy()))
    found = read(run).at("tiny", "made", "auroc")
    assert found.value == pytest.approx(np.mean(each), abs=1e-12)
    assert (found.least, found.most, found.seeds) == (min(each), max(each), 2)
    assert f"({min(each):.3f}–{max(each):.3f})" in (run / "table.md").read_text()
    assert "tiny: trained here on 36 crops, seeds 0, 1" in (run / "table.md").read_text()


def test_a_run_cannot_see_a_test_row(run: Path) -> None:
    (rows,) = (run / "rows").glob("*.parquet")
    seen = [r for r in Manifest(rows) if isinstance(r, FaceRow)]
    assert {r.split for r in seen} == {"train", "val"}
    assert {r.group_id for r in seen} == {f"g{n}" for s in (0, 100) for n in range(s, s + 12)}
    assert Folder(runs(run)["tiny-s1"]).facts()["data"] == Manifest(rows).digest


def test_rows_follow_the_crops_where_they_are_moved(faces: Path, tmp_path: Path) -> None:
    manifest = Manifest(faces)
    table = manifest.table(list(manifest.arrow_schema.names))
    split = np.array(table["split"].to_pylist())
    (tmp_path / "faces.parquet").write_bytes(faces.read_bytes())  # its root is the folder that it lies in
    for moved, root in ((manifest, faces.parent), (Manifest(tmp_path / "faces.parquet"), tmp_path)):
        rows = recipe_run.written(moved, table, split == "train", split == "val", tmp_path / "rows")
        assert Manifest(rows.path).roots == {"made": root.resolve()}
    assert len(list((tmp_path / "rows").iterdir())) == 1


def test_what_is_finished_is_not_trained_again(run: Path, faces: Path, recipe: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*.safetensors")}
    was = values(run)
    code, said = bench("cross-dataset", recipe, faces, run, "--seeds", "0,1")
    assert code == 0, said
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*.safetensors")} == before
    assert values(run) == was


def test_what_changes_no_weight_changes_no_hash_and_what_does_is_refused(run: Path, faces: Path) -> None:
    line = read(run).rebuild.split()
    expected = [w for i, w in enumerate(line) if "--expect-bundle" in line[max(0, i - 1) : i + 1]]
    assert line[line.index("--seeds") + 1] == "0,1"
    renamed = written(faces.parent / "renamed.yaml", about="other words", seed=5, landmarks="face.tflite")
    code, said = bench("cross-dataset", renamed, faces, run, "--seeds", "0,1", *expected)
    assert code == 0, said
    other = written(faces.parent / "other.yaml", clip=1.0)
    for changed, seeds in ((other, "0,1"), (renamed, "0,2")):
        code, said = bench("cross-dataset", changed, faces, run, "--seeds", seeds, *expected)
        assert code == 2
        assert "not those of that table" in said


def test_a_method_left_out_trains_and_chooses_nothing(faces: Path, recipe: Path) -> None:
    out = faces.parent / "left"
    code, said = bench("leave-one-method-out", recipe, faces, out)
    assert code == 0, said
    assert read(out).columns == ("made/smooth", "made/stripes")
    seen = [{r.method for r in Manifest(p)} for p in (out / "rows").glob("*.parquet")]
    assert sorted(map(sorted, seen)) == [["", "smooth"], ["", "stripes"]]  # validation rows too
    assert len(list((out / "runs").glob("tiny-s0-*"))) == 2


def test_a_forger_left_out_makes_no_forgeries_while_training_either(faces: Path) -> None:
    path = written(faces.parent / "forging.yaml", forge={"sbi": 0.5, "fwa": 0.2})
    manifest = Manifest(faces)
    of = TrainedRecipe(path, manifest, manifest.table(list(manifest.arrow_schema.names)), faces.parent / "forging")
    split = np.array(manifest.table(["split"])["split"].to_pylist())
    sides = [Sides(split == "train", split == "val", held_out) for held_out in ((), ("smooth",), ("sbi",))]
    all_of_it, as_well, without = of.runs(sides[:1]), of.runs(sides[1:2]), of.runs(sides[2:])
    assert all_of_it == as_well != without
    assert set(all_of_it[0].recipe.forge) == {"sbi", "fwa"}
    assert set(without[0].recipe.forge) == {"fwa"}
    assert len({of.digest([one]) for one in sides}) == 2


def test_what_was_forged_of_another_set_is_tested_beside_its_own_originals(faces: Path) -> None:
    rows = [r for r in Manifest(faces) if isinstance(r, FaceRow)]
    made = [r.model_copy(update={"dataset": "forged"}) for r in rows if r.method == "smooth" and r.split == "test"]
    mine = {r.pair_key for r in made[:5]}
    kept = [r for r in rows if r.method != "smooth"] + made[:5]
    path = faces.parent / "forged.parquet"
    write(path, kept, {"made": faces.parent, "forged": faces.parent}, FaceRow)
    table = Manifest(path).table(list(Manifest(path).arrow_schema.names))
    found = {c.name: c for c in protocols._columns(load("leave-one-method-out"), table)}
    assert set(found) == {"made/stripes", "forged/smooth"}
    tested = [kept[i] for i in np.flatnonzero(found["forged/smooth"].test)]
    assert {r.media_id for r in tested if not r.label} == mine
    assert len(tested) == 10
    assert found["forged/smooth"].sides.held_out == ("smooth",)


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_numbers(run: Path, faces: Path, recipe: Path) -> None:
    out = faces.parent / "killed"
    command = [sys.executable, "-m", "unmask", *words("cross-dataset", recipe, faces, out), "--seeds", "0,1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(out.glob("runs/tiny-s1-*/last.safetensors")):  # in the middle of the second training
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "result.json").exists()
    first = runs(out)["tiny-s0"] / "best.safetensors"
    kept = first.stat().st_mtime_ns
    code, said = bench("cross-dataset", recipe, faces, out, "--seeds", "0,1")
    assert code == 0, said
    assert first.stat().st_mtime_ns == kept
    for name, folder in runs(run).items():
        assert not unlike(runs(out)[name] / "best.safetensors", folder / "best.safetensors")
    assert values(out) == values(run)


@pytest.mark.slow
def test_processes_of_their_own_come_to_the_same_weights(run: Path, faces: Path, recipe: Path) -> None:
    out = faces.parent / "processes"
    code, said = bench("cross-dataset", recipe, faces, out, "--seeds", "0,1", "--jobs", "2")
    assert code == 0, said
    assert values(out) == values(run)
    assert "2 trainings, 2 at a time" in said


def test_a_training_that_fails_is_named_and_the_others_are_kept(faces: Path, recipe: Path) -> None:
    out = faces.parent / "failed"
    bad = written(faces.parent / "bad.yaml", name="bad", options={"network": "no-such"})
    code, said = bench("cross-dataset", Path(f"{bad},{recipe}"), faces, out)
    assert code == 2
    assert "1 of 2 trainings failed" in said
    assert "bad, seed 0" in said
    assert Folder(runs(out)["tiny-s0"]).recipe().name == "tiny"
    assert not (out / "result.json").exists()


def test_a_fault_of_a_methods_code_is_kept_in_full(faces: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: ResNet34, image: torch.Tensor) -> None:
        raise ZeroDivisionError("no good")

    monkeypatch.setattr(ResNet34, "forward", broken)
    out = faces.parent / "broken"
    code, said = bench("cross-dataset", recipe, faces, out)
    assert code == 2
    assert "unexpected ZeroDivisionError: no good" in said
    (told,) = (out / "runs").glob("*.error.txt")
    assert "in broken" in told.read_text()
    monkeypatch.undo()
    code, said = bench("cross-dataset", recipe, faces, out)
    assert code == 0, said
    assert not told.exists()


def test_a_run_folder_is_a_detector(run: Path, faces: Path) -> None:
    out, folder = faces.parent / "folder", runs(run)["tiny-s0"]
    code, said = bench("cross-dataset", folder, faces, out)
    assert code == 0, said
    assert read(out).at(str(folder), "made", "auroc").value in (
        read(run).at("tiny", "made", "auroc").least,
        read(run).at("tiny", "made", "auroc").most,
    )


def test_maps_are_drawn_of_runs_and_spectra_of_all(run: Path, faces: Path, recipe: Path) -> None:
    out = faces.parent / "maps"
    code, said = bench("cross-dataset", recipe, faces, out, "--runs", str(run), "--maps", "8")
    assert code == 0, said
    assert not (out / "runs").exists()
    drawn = {p.name for p in out.glob("*.png")}
    assert drawn == {"frequencies-0.png", "features-0-tiny.png"}
    svg = (out / "features-0-tiny.svg").read_text()
    assert all(f"<!-- {kind} -->" in svg for kind in ("real", "smooth", "stripes", "tiny, made"))
    found = sample(Manifest(faces), np.ones(len(Manifest(faces)), bool), 8)
    assert (found.kinds.count("real"), found.kinds.count("stripes"), len(found.crops)) == (8, 8, 24)
    power = spectra(found)
    edge = power["stripes"][16, 0]  # stripes of two pixels: half a cycle a pixel, along x
    assert edge == power["stripes"].max() > power["real"][16, 0] + 1
    assert of_run(runs(run)["tiny-s0"], found).shape[0] == 24


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--seeds", "0,x"), "no list of whole numbers"),
        (("--detectors", "TWICE,RECIPE"), "two detectors are called tiny"),
        (("--detectors", "gone.yaml"), "cannot be read as a recipe"),
    ],
)
def test_what_cannot_be_trained_is_said_at_once(faces: Path, recipe: Path, more: tuple[str, str], why: str) -> None:
    twice = written(faces.parent / "twice.yaml", batch=16)
    option, value = more
    value = value.replace("TWICE", str(twice)).replace("RECIPE", str(recipe))
    code, said = bench("cross-dataset", recipe, faces, faces.parent / "no", option, value)
    assert code == 2
    assert why in " ".join(said.split())


def test_old_results_are_still_read(run: Path, tmp_path: Path) -> None:
    """A table from before recipes were trained knows nothing of seeds."""
    values = json.loads((run / "result.json").read_bytes())
    del values["trained"]
    for cell in values["cells"]:
        for key in ("seeds", "least", "most"):
            del cell[key]
    (tmp_path / "result.json").write_text(json.dumps(values))
    assert isinstance(read(tmp_path), Result)

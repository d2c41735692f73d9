"""A delta bundle: what training changed, put together with the encoder that it goes into."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.numpy import load_file

from tests.train.faces import recipe
from unmask.base.predict import predict
from unmask.bundles import delta, encoders, load, onnx_weights, read, read_card, write
from unmask.exporting.bundle import export
from unmask.exporting.parity import parity_crops
from unmask.nn.backbones import Encoder, save
from unmask.tasks.detection import rows
from unmask.train.loop import restore, train
from unmask.types import Pixels, UnmaskError

TUNED = {"backbone": "tiny-dinov2", "adaptation": "ln", "head": "linear"}


def lay_encoder(cache: Path, encoder: Encoder, name: str = "tiny") -> Path:
    """The encoder as `unmask pull` would leave it below `cache`, under names of its own."""
    path = cache / "unmask" / "encoders" / name / "model.safetensors"
    path.parent.mkdir(parents=True)
    named = {f"vision_model.{k}": v.numpy() for k, v in encoder.body.state_dict().items()}
    path.write_bytes(encoders.safetensors(named))
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("cache")
    encoder = Encoder("tiny-dinov2")
    save(encoder, root / "start.safetensors")
    lay_encoder(root, encoder)
    return root


@pytest.fixture(autouse=True)
def cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(scope="module")
def run(data: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    chosen = recipe(options=TUNED, start=str(cache / "start.safetensors"), optimizer={"lr": 3e-3})
    train(chosen, data, out, cpu=True)
    return out


@pytest.fixture(scope="module")
def bundle(run: Path, data: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "delta"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(cache))
        export(run, data, out, base="tiny", runtime="openvino")
    return out


@pytest.fixture(scope="module")
def crops(run: Path, data: Path) -> Pixels:
    detector, chosen = restore(run)
    return parity_crops(rows(chosen, data, detector.input).validate)


def test_it_holds_what_training_changed_and_nothing_else(bundle: Path, cache: Path) -> None:
    card = read_card(bundle / "card.json")
    assert card.base is not None
    assert card.base.name == "tiny"
    base = delta.tensors((cache / "unmask/encoders/tiny/model.safetensors").read_bytes())
    held = load_file(bundle / "model.safetensors")
    tuned = {k for k in held if k.startswith("detector.encoder")}
    assert tuned
    assert all("norm" in k for k in tuned)
    assert held.keys() - tuned == {"detector.head.weight", "detector.head.bias", "whiten", "centres"}
    graph = onnx.load(bundle / "model.onnx").graph
    large = [t.name for t in graph.initializer if numpy_helper.to_array(t).size >= 64 and t.name not in ("whiten",)]
    assert all("norm" in n or "head" in n or "centres" in n for n in large), large
    assert sum(p.stat().st_size for p in bundle.glob("model.*")) < 0.5 * sum(v.nbytes for v in base.values())


@pytest.mark.parametrize("runtime", ["onnx", "openvino", "torch"])
def test_it_answers_as_the_run(run: Path, bundle: Path, crops: Pixels, runtime: str) -> None:
    scorer = load(str(bundle), runtime=runtime)
    np.testing.assert_allclose(scorer.logits(crops), predict(restore(run)[0], crops).logits, atol=1e-4)


def test_it_runs_without_torch_and_onnx(bundle: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'onnx', 'safetensors')));"
        "import numpy as np; from unmask.bundles import load;"
        "scorer = load(sys.argv[1]);"
        "print(scorer.runtime, scorer.score(np.zeros((1, 56, 56, 3), np.uint8)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, timeout=120)
    assert done.stdout.split(maxsplit=1) == ["onnx", "(1,)\n"], done.stderr


@pytest.mark.slow
def test_int8_takes_the_encoder_s_matrices_as_they_are_quantised(run: Path, data: Path, tmp_path: Path) -> None:
    card, _ = export(run, data, tmp_path / "int8", base="tiny", precision="int8", bound=0.9)
    assert list(card.files) == ["model.onnx"]
    names = onnx_weights.inputs((tmp_path / "int8" / "model.onnx").read_bytes())
    assert {delta.named(n)[1] for n in names if n.startswith(delta.MARK)} >= {"int8", "scales"}
    graph = onnx.load(tmp_path / "int8" / "model.onnx").graph
    assert not [t.name for t in graph.initializer if t.data_type == onnx.TensorProto.INT8 and np.prod(t.dims) > 256]


def test_an_encoder_that_is_not_there_or_another_one(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UnmaskError, match="needs the encoder tiny: run `unmask pull tiny` once"):
        load(str(bundle))
    torch.manual_seed(1)
    lay_encoder(tmp_path, Encoder("tiny-dinov2"))
    with pytest.raises(UnmaskError, match="holds other weights than those that this detector was tuned on"):
        load(str(bundle))


def test_a_delta_for_an_encoder_with_other_tensors_is_refused(bundle: Path, tmp_path: Path, cache: Path) -> None:
    path = cache / "unmask/encoders/other/model.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content := encoders.safetensors({"a": np.zeros(3, np.float32)}))
    held = read(bundle).card
    assert held.base is not None
    other = held.base.model_copy(update={"name": "other", "sha256": encoders.sha256(content)})
    files = {name: bundle / name for name in held.files}
    write(tmp_path / "bundle", held.model_copy(update={"base": other}), files)
    for runtime in ("onnx", "torch"):
        with pytest.raises(UnmaskError, match="the encoder has no tensor vision_model"):
            load(str(tmp_path / "bundle"), runtime=runtime)
    bad = json.loads((tmp_path / "bundle/card.json").read_text())
    bad["base"]["name"] = "../../etc"
    (tmp_path / "bundle/card.json").write_text(json.dumps(bad))
    with pytest.raises(UnmaskError, match="cannot be the name of an encoder"):
        load(str(tmp_path / "bundle"))


@pytest.mark.slow
def test_a_run_that_kept_nothing_of_the_encoder_gives_no_delta(data: Path, tmp_path: Path) -> None:
    train(recipe(length="4 steps"), data, tmp_path / "run", cpu=True)  # random weights, all of them trained
    with pytest.raises(UnmaskError, match="no weight of this detector is one of tiny"):
        export(tmp_path / "run", data, tmp_path / "out", base="tiny")
    with pytest.raises(UnmaskError, match="run `unmask pull missing` once"):
        export(tmp_path / "run", data, tmp_path / "out", base="missing")


def test_the_forms_by_hand() -> None:
    weight = np.array([[64.0, -32.0, 1.6], [0.0, 0.0, 0.0]], np.float32)
    np.testing.assert_array_equal(delta.scales(weight), [1, 1])  # 64 / 64; a row of zeros has the step 1
    np.testing.assert_array_equal(delta.int8(weight), [[64, 0], [-32, 0], [2, 0]])  # (in, out), rounded
    np.testing.assert_array_equal(delta.transposed(weight), [[64, 0], [-32, 0], [np.float32(1.6), 0]])


def test_initialisers_that_are_appended_are_part_of_the_graph() -> None:
    from onnx import TensorProto, helper

    node = helper.make_node("Add", ["x", "base b"], ["y"])
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [200]) for n in "xy")
    model = helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=[helper.make_opsetid("", 17)])
    content = model.SerializeToString()
    assert onnx_weights.inputs(content) == {"x", "base b"}
    value = np.arange(200, dtype=np.float32)
    whole = onnx.load_from_string(onnx_weights.with_initializers(content, {"base b": value}))
    onnx.checker.check_model(whole)
    np.testing.assert_array_equal(numpy_helper.to_array(whole.graph.initializer[0]), value)

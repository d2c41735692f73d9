"""The scorer against the network's own arithmetic, and the same decision from each runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unmask.bundles import load, write
from unmask.bundles.calibration import log_odds, probabilities
from unmask.types import Pixels, UnmaskError

from .conftest import CALIBRATION, CARD, SIZE


def by_hand(folder: Path, crops: Pixels) -> tuple[np.ndarray, np.ndarray]:
    """The small net in numpy, from the weights in the file: (logits, distance)."""
    import onnx
    from onnx import numpy_helper

    weights = {w.name: numpy_helper.to_array(w) for w in onnx.load(folder / "model.onnx").graph.initializer}
    x = crops.astype(np.float64).transpose(0, 3, 1, 2) / 255
    for w, b in (("w1", "b1"), ("w2", "b2")):
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
        x = np.maximum(np.einsum("nchwij,ocij->nohw", windows, weights[w]) + weights[b][:, None, None], 0)
    features = x.mean(axis=(2, 3))
    return features @ weights["head"], (features**2).sum(axis=1)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_logits_and_distances_are_the_network_s(make: Callable[..., Path], crops: Pixels, runtime: str) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is an extra")
    folder = make()
    scorer = load(str(folder), runtime=runtime)
    reading = scorer.read(crops)
    logits, distance = by_hand(folder, crops)
    assert reading.logits.dtype == np.float32
    np.testing.assert_allclose(reading.logits, logits, atol=1e-4)
    assert reading.features_distance is not None
    np.testing.assert_allclose(reading.features_distance, distance, rtol=1e-4)
    assert scorer.weights_sha256 == scorer.card.files["model.onnx"]
    assert scorer.runtime == runtime


def test_runtimes_decide_alike(make: Callable[..., Path], crops: Pixels) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is an extra")
    folder = make()
    one, other = (load(str(folder), runtime=runtime).score(crops) for runtime in ("onnx", "openvino"))
    np.testing.assert_allclose(one, other, atol=1e-4)
    np.testing.assert_array_equal(one > np.median(one), other > np.median(one))
    assert one.std() > 0.01  # the crops differ, so that agreement means something


def test_a_crop_s_score_does_not_depend_on_its_neighbours(make: Callable[..., Path], crops: Pixels) -> None:
    scorer = load(str(make()))
    together = scorer.logits(crops)
    alone = np.concatenate([scorer.logits(crops[i : i + 1]) for i in range(len(crops))])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_score_is_the_calibrated_margin(make: Callable[..., Path], crops: Pixels) -> None:
    scorer = load(str(make()))
    expected = probabilities(CALIBRATION, log_odds(scorer.logits(crops), ("real", "fake")))
    np.testing.assert_array_equal(scorer.score(crops), expected)


@pytest.mark.parametrize("distance", [True, False])
def test_no_crops_give_no_scores(make: Callable[..., Path], distance: bool) -> None:
    scorer = load(str(make(distance=distance)))
    reading = scorer.read(np.zeros((0, SIZE, SIZE, 3), np.uint8))
    assert reading.logits.shape == (0, 2)
    assert scorer.score(np.zeros((0, SIZE, SIZE, 3), np.uint8)).shape == (0,)
    assert (reading.features_distance is not None) == distance


def test_more_classes(make: Callable[..., Path], crops: Pixels) -> None:
    card = CARD.model_copy(update={"calibration": CALIBRATION, "classes": ("real", "swap", "gan")})
    scorer = load(str(make(card, classes=3)))
    assert scorer.logits(crops).shape == (37, 3)
    assert ((scorer.score(crops) >= 0) & (scorer.score(crops) <= 1)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, SIZE, SIZE, 3), np.float32),
        np.zeros((SIZE, SIZE, 3), np.uint8),
        np.zeros((2, 3, SIZE, SIZE), np.uint8),
        np.zeros((2, SIZE, SIZE + 1, 3), np.uint8),
    ],
)
def test_crops_of_another_kind_are_refused(make: Callable[..., Path], wrong: Pixels) -> None:
    with pytest.raises(UnmaskError, match=r"scores crops of uint8 \(N, 32, 32, 3\)"):
        load(str(make())).read(wrong)


def test_without_a_calibration_there_is_no_score(make: Callable[..., Path], crops: Pixels) -> None:
    scorer = load(str(make(CARD)))
    assert scorer.logits(crops).shape == (37, 2)
    with pytest.raises(UnmaskError, match="no calibration"):
        scorer.score(crops)


def test_networks_that_are_not_as_the_card_says_are_refused(make: Callable[..., Path]) -> None:
    with pytest.raises(UnmaskError, match=r"gives logits \(1, 5\)"):
        load(str(make(classes=5)))
    with pytest.raises(UnmaskError, match="must take 'image'"):
        load(str(make(inputs="x")))
    with pytest.raises(UnmaskError, match="not finite"):
        load(str(make(scale=float("inf"))))
    with pytest.raises(UnmaskError, match="fails on crops of its own card"):
        load(str(make(CARD.model_copy(update={"input": CARD.input.model_copy(update={"size": 48})}))))


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_junk_with_a_true_hash_is_refused(make: Callable[..., Path], tmp_path: Path, runtime: str) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is an extra")
    (tmp_path / "junk").write_bytes(b"junk" * 100)
    write(tmp_path / "bundle", CARD, {"model.onnx": tmp_path / "junk"})
    with pytest.raises(UnmaskError, match=r"cannot read model\.onnx"):
        load(str(tmp_path / "bundle"), runtime=runtime)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_weights_outside_the_verified_file_are_refused(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    import onnx

    make()
    model = onnx.load(tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)  # where the runtimes look for them
    onnx.save(model, "outside.onnx", save_as_external_data=True, location="outside.bin", size_threshold=0)
    write(tmp_path / "outside", CARD, {"model.onnx": tmp_path / "outside.onnx"})
    with pytest.raises(UnmaskError, match="weights in other files"):
        load(str(tmp_path / "outside"), runtime=runtime)


def test_unknown_runtimes_and_bundles_without_a_network(make: Callable[..., Path], tmp_path: Path) -> None:
    folder = make()
    with pytest.raises(UnmaskError, match="there is auto, onnx, openvino, torch"):
        load(str(folder), runtime="tensorrt")

    (tmp_path / "w.safetensors").write_bytes(b"x")
    write(tmp_path / "torch", CARD, {"w.safetensors": tmp_path / "w.safetensors"})
    with pytest.raises(UnmaskError, match=r"holds w\.safetensors, but the runtime onnx needs model\.onnx"):
        load(str(tmp_path / "torch"), runtime="onnx")
    with pytest.raises(
        UnmaskError, match=r"holds w\.safetensors, and nothing that a runtime could run: model\.onnx or"
    ):
        load(str(tmp_path / "torch"))


def test_the_runtime_is_what_the_bundle_and_the_installation_can_serve(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(str(make())).runtime == "onnx"
    (tmp_path / "w").write_bytes(b"x")
    write(tmp_path / "torch", CARD, {"model.safetensors": tmp_path / "w"})
    monkeypatch.setattr("unmask.bundles.runtime.find_spec", lambda name: None)  # nothing is installed
    with pytest.raises(
        UnmaskError, match=r'holds model\.safetensors, which needs an extra: pip install "unmask\[train'
    ):
        load(str(tmp_path / "torch"))


def test_openvino_tells_nobody(make: Callable[..., Path]) -> None:
    """Its package sends usage statistics from a forked process unless it is kept from loading the module for it."""
    pytest.importorskip("openvino")
    code = (
        "import sys; from unmask.bundles import load; load(sys.argv[1], runtime='openvino');"
        "assert not [n for n, m in sys.modules.items() if n.startswith('openvino_telemetry') and m is not None]"
    )
    subprocess.run([sys.executable, "-c", code, str(make())], check=True, timeout=120)


def test_onnx_runtime_tells_nobody(make: Callable[..., Path], tmp_path: Path) -> None:
    """Left alone, it writes a device id and a queue of reports below the home folder."""
    code = "import sys; from unmask.bundles import load; load(sys.argv[1])"
    kept = {
        name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    subprocess.run(
        [sys.executable, "-c", code, str(make())], check=True, timeout=120, env=kept | {"HOME": str(tmp_path)}
    )
    assert not [path for path in tmp_path.rglob("*") if "Microsoft" in path.parts]

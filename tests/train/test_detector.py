"""The detector learns, starts from ImageNet without losing it, and leaves training as the ONNX file that scans run."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import unmask  # noqa: E402
from unmask.base.detector import Batch, Output  # noqa: E402
from unmask.base.predict import to_tensor  # noqa: E402
from unmask.detectors.mobilenet import MobileNet  # noqa: E402
from unmask.nn.mobilenet import load_tflite, rescale  # noqa: E402
from unmask.types import Card, Pixels, UnmaskError  # noqa: E402

CARD = Card(
    name="test", version="0", summary="", method="mobilenet", input=MobileNet.input, licence="Apache-2.0", files={}
)


@pytest.fixture(scope="module")
def eight() -> Batch:
    """Four noisy images and four with a bright square."""
    torch.manual_seed(0)
    image = torch.rand(8, 3, 64, 64) * 0.3
    image[4:, :, 20:40, 20:40] += 0.4
    return Batch(image, torch.tensor([0] * 4 + [1] * 4))


@pytest.mark.slow
def test_it_learns_eight_pictures(eight: Batch) -> None:
    torch.manual_seed(0)
    net = MobileNet(dropout=0).train()
    optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], 2e-3)
    losses = []
    for _ in range(12):
        loss = sum(net.loss(eight).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters() if p.requires_grad)
    assert all(p.grad is None for p in net.body.layers[0].parameters())


def test_a_score_does_not_depend_on_its_neighbours(eight: Batch) -> None:
    torch.manual_seed(0)
    net = MobileNet().eval()
    with torch.no_grad():
        together = net(eight.image).logits
        alone = torch.cat([net(x[None]).logits for x in eight.image])
        odd = net(torch.rand(1, 3, 75, 91)).logits
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert odd.shape == (1, 2)


def test_imagenet_survives_the_start(shared_weights: Path) -> None:
    """Rescaled batch norms compute what the file's folded ones did, in evaluation and nearly so in training."""
    pytest.importorskip("ai_edge_litert")
    data = pytest.importorskip("skimage.data")
    net = MobileNet()
    load_tflite(net.body, shared_weights / "coral_tf2_mobilenet_v2_1.0_224_ptq.tflite")
    names = ("astronaut", "coffee", "cat", "rocket")
    crops = [torch.from_numpy(getattr(data, n)()[:224, :224].copy()).permute(2, 0, 1) / 255 for n in names]
    pictures = net.normalise(torch.stack(crops))
    with torch.no_grad():
        before = net.body.eval()(pictures)
        rescale(net.body, pictures)
        after = net.body(pictures)
        moving = copy.deepcopy(net.body).train()(pictures)
    torch.testing.assert_close(before, after, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(before, moving, rtol=0.05, atol=0.05)


def test_dequantised_features_are_those_of_the_file(shared_weights: Path) -> None:
    """Oracle: LiteRT runs the int8 file itself; the pooled features must point the same way."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    picture = pytest.importorskip("skimage.data").astronaut()[:224, :224]
    path = shared_weights / "coral_tf2_mobilenet_v2_1.0_224_ptq.tflite"
    reader = litert.Interpreter(model_path=str(path), experimental_preserve_all_tensors=True)
    reader.allocate_tensors()
    reader.set_tensor(reader.get_input_details()[0]["index"], picture[None])
    reader.invoke()
    mean = next(op for op in reader._get_ops_details() if op["op_name"] == "MEAN")["outputs"][0]
    detail = next(d for d in reader.get_tensor_details() if d["index"] == mean)
    want = (reader.get_tensor(mean).astype(np.float32) - detail["quantization"][1]) * detail["quantization"][0]
    net = MobileNet()
    load_tflite(net.body, path)
    # The file pads right and bottom where PyTorch pads all round: one more row of zeros lines the grids up.
    image = net.normalise(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 255)
    with torch.no_grad():
        got = net.body.eval()(image).mean((2, 3)).numpy()
    cosine = float((got * want).sum() / np.linalg.norm(got) / np.linalg.norm(want))
    assert cosine > 0.8


def awake(crops: Pixels) -> MobileNet:
    """Random weights whose batch norms have the statistics of `crops`; otherwise signals die out on their way."""
    net = MobileNet(dropout=0).train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    net(to_tensor(crops))
    return net.eval()


@pytest.mark.slow
def test_every_runtime_decides_as_the_detector_does(tmp_path: Path) -> None:
    """The contract of a bundle: PyTorch, ONNX Runtime and OpenVINO answer alike on the same crops."""
    pytest.importorskip("onnxscript")
    from unmask.bundles import load, write
    from unmask.bundles.distance import fit_mahalanobis, save
    from unmask.exporting.onnx import write_onnx
    from unmask.exporting.precision import quantize, round_weights

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 1280)).astype(np.float32)
    low = rng.integers(0, 256, (7, 5, 5, 3)).astype(np.uint8)
    crops: Pixels = low.repeat(32, 1).repeat(32, 2)
    model = round_weights(fit_mahalanobis(awake(crops), features, rng.integers(0, 2, 100)), "fp16").eval()
    write_onnx(model, tmp_path / "model.onnx", to_tensor(crops[:2]))
    quantize(tmp_path / "model.onnx", "fp16")
    save(model, str(tmp_path / "model.safetensors"))
    names = ("model.onnx", "model.safetensors")
    assert all((tmp_path / n).stat().st_size < 5.2e6 for n in names)  # two bytes for nearly each of 2.3 million weights
    assert str(Path(unmask.__file__).parent).encode() not in (tmp_path / "model.onnx").read_bytes()
    write(tmp_path / "bundle", CARD, {n: tmp_path / n for n in names})

    with torch.no_grad():
        image = to_tensor(crops)
        want, far = (t.numpy() for t in model(image))
    assert np.ptp(want) > 0.05  # the crops do differ
    for runtime in ("torch", "onnx", "openvino"):
        if runtime == "openvino" and importlib.util.find_spec("openvino") is None:
            continue
        got = load(str(tmp_path / "bundle"), runtime=runtime).read(crops)
        np.testing.assert_allclose(got.logits, want, atol=0.01 * np.ptp(want))
        assert got.features_distance is not None
        np.testing.assert_allclose(got.features_distance, far, rtol=1e-2)
        assert (got.logits.argmax(1) == want.argmax(1)).all()


def test_weights_of_another_method_are_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from unmask.bundles import load, write

    tensors = {"whiten": torch.zeros(3, 2), "centres": torch.zeros(2, 2), "layer": torch.zeros(3)}
    save_file(tensors, tmp_path / "model.safetensors")
    write(tmp_path / "bundle", CARD, {"model.safetensors": tmp_path / "model.safetensors"})
    with pytest.raises(UnmaskError, match="does not fit the detector 'mobilenet'"):
        load(str(tmp_path / "bundle"))  # torch is what can run it
    with pytest.raises(UnmaskError, match=r"the runtime onnx needs model\.onnx"):
        load(str(tmp_path / "bundle"), runtime="onnx")


def test_a_wrong_method_suggests_the_right_one() -> None:
    from unmask.registry import FAMILIES

    assert "mobilenet" in FAMILIES["detector"].names()
    with pytest.raises(UnmaskError, match="did you mean 'mobilenet'"):
        FAMILIES["detector"].create("mobilnet")


def test_distance_is_one_for_the_typical_and_large_for_the_strange() -> None:
    from unmask.bundles.distance import DIRECTIONS, fit_mahalanobis

    rng = np.random.default_rng(0)
    scale = np.linspace(5, 0.1, 200).astype(np.float32)
    features = rng.normal(size=(4000, 200)).astype(np.float32) * scale
    model = fit_mahalanobis(MobileNet(), features, rng.integers(0, 2, 4000))
    typical = model.distance(torch.from_numpy(features[:500]))
    assert model.whiten.shape == (200, DIRECTIONS)
    assert abs(typical.mean().item() - 1) < 0.1
    strange = features[:500].copy()
    strange[:, 0] += 60  # twelve standard deviations along the widest direction
    assert (model.distance(torch.from_numpy(strange)) > typical.max()).all()


def test_a_tie_may_fall_either_way_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from unmask.bundles.distance import ExportWrapper
    from unmask.exporting.onnx import to_onnx

    class Line(torch.nn.Module):
        """Real by 0, forged by a hair, which is less than half precision sees."""

        def __init__(self, steep: float) -> None:
            super().__init__()
            self.weight, self.steep = torch.nn.Parameter(torch.full((4096,), 1.0003)), steep

        def forward(self, image: torch.Tensor) -> Output:
            score = ((image[:, 0].flatten(1) * self.weight).mean(1) - 1.0002) * self.steep
            return Output(torch.stack([torch.zeros_like(score), score], 1), score[:, None])

    crops: Pixels = np.full((5, 64, 64, 3), 255, np.uint8)
    assert 0 < to_onnx(ExportWrapper(Line(1.0)), tmp_path / "model.onnx", crops, precision="fp16") < 0.001
    with pytest.raises(UnmaskError, match="answers otherwise"):
        to_onnx(ExportWrapper(Line(1000.0)), tmp_path / "model.onnx", crops, precision="fp16")

"""The detector learns, starts from ImageNet without losing it, and leaves training as the ONNX file that scans run."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from unmask.bases import Batch  # noqa: E402
from unmask.detectors.mobilenet import MobileNet  # noqa: E402
from unmask.nn.mobilenet import load_tflite, rescale  # noqa: E402
from unmask.nouns import Pixels  # noqa: E402


@pytest.fixture(scope="module")
def eight() -> Batch:
    """Four noisy pictures and four with a bright square."""
    torch.manual_seed(0)
    image = torch.rand(8, 3, 64, 64) * 0.3
    image[4:, :, 20:40, 20:40] += 0.4
    return Batch(image, torch.tensor([0] * 4 + [1] * 4))


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


def test_the_export_decides_as_the_detector_does(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from unmask.train.export import WithDistance, to_onnx

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 1280)).astype(np.float32)
    crops: Pixels = rng.integers(0, 256, (7, 160, 160, 3)).astype(np.uint8)
    model = WithDistance(MobileNet().eval(), features, rng.integers(0, 2, 100))
    assert to_onnx(model, tmp_path / "model.onnx", crops) < 1e-3


def test_distance_is_one_for_the_typical_and_large_for_the_strange() -> None:
    from unmask.train.export import DIRECTIONS, WithDistance

    rng = np.random.default_rng(0)
    scale = np.linspace(5, 0.1, 200).astype(np.float32)
    features = rng.normal(size=(4000, 200)).astype(np.float32) * scale
    model = WithDistance(MobileNet(), features, rng.integers(0, 2, 4000))
    typical = model.distance(torch.from_numpy(features[:500]))
    assert model.whiten.shape == (200, DIRECTIONS)
    assert abs(typical.mean().item() - 1) < 0.1
    strange = features[:500].copy()
    strange[:, 0] += 60  # twelve standard deviations along the widest direction
    assert (model.distance(torch.from_numpy(strange)) > typical.max()).all()

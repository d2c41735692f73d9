"""The authors' own Meso files, and NPR's layout, against forward passes that share nothing with ours but the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.models.resnet import Bottleneck, ResNet

from unmask.bundles import load
from unmask.exporting.checkpoints.published import published, to_bundle
from unmask.registry import FAMILIES
from unmask.types import UnmaskError

Array = np.ndarray[Any, Any]


# --- MesoNet, in numpy -----------------------------------------------------------------------------------------------


class Keras:
    """The layers of a Keras file as functions of (H, W, C), as Keras defines them."""

    def __init__(self, path: Path) -> None:
        h5py = pytest.importorskip("h5py", reason="h5py is not installed")
        with h5py.File(path) as file:
            self.held = {k: {n.split(":")[0]: v[()] for n, v in g[k].items()} for k, g in file.items() if len(g)}
        self.first = 5 if "conv2d_5" in self.held and "conv2d_1" not in self.held else 1

    def conv(self, number: int, x: Array, dilation: int = 1) -> Array:
        kernel, bias = (self.held[f"conv2d_{number}"][k].astype(np.float64) for k in ("kernel", "bias"))
        reach = dilation * (len(kernel) // 2)
        padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)))
        height, width = x.shape[:2]
        total = np.zeros((height, width, kernel.shape[3]))
        for i in range(len(kernel)):
            for j in range(len(kernel)):
                y, z = i * dilation, j * dilation
                total += padded[y : y + height, z : z + width] @ kernel[i, j]
        return np.maximum(total + bias, 0)

    def norm(self, number: int, x: Array) -> Array:
        w = self.held[f"batch_normalization_{number}"]
        return (x - w["moving_mean"]) / np.sqrt(w["moving_variance"] + 1e-3) * w["gamma"] + w["beta"]

    def tail(self, x: Array) -> float:
        """P(real)."""
        first, second = sorted(k for k in self.held if k.startswith("dense_"))
        hidden = x.reshape(-1) @ self.held[first]["kernel"] + self.held[first]["bias"]
        hidden = np.where(hidden > 0, hidden, 0.1 * hidden)
        (logit,) = hidden @ self.held[second]["kernel"] + self.held[second]["bias"]
        return float(1 / (1 + np.exp(-logit)))


def pooled(x: Array, side: int) -> Array:
    height, width, channels = x.shape
    return x.reshape(height // side, side, width // side, side, channels).max((1, 3))


def meso4(net: Keras, x: Array) -> float:
    for n, side in enumerate((2, 2, 2, 4)):
        x = pooled(net.norm(5 + n, net.conv(5 + n, x)), side)
    return net.tail(x)


def meso_inception4(net: Keras, x: Array) -> float:
    for n, first in enumerate((1, 8)):
        parts = [net.conv(first, x)]
        parts += [net.conv(first + k + 1, net.conv(first + k, x), d) for k, d in ((1, 1), (3, 2), (5, 3))]
        x = pooled(net.norm(n + 1, np.concatenate(parts, 2)), 2)
    for n, side in ((3, 2), (4, 4)):
        x = pooled(net.norm(n, net.conv(12 + n, x)), side)
    return net.tail(x)


@pytest.mark.parametrize(
    ("method", "file", "theirs"),
    [
        ("meso4", "Meso4_DF.h5", meso4),
        ("meso4", "Meso4_F2F.h5", meso4),
        ("meso_inception4", "MesoInception_DF.h5", meso_inception4),
        ("meso_inception4", "MesoInception_F2F.h5", meso_inception4),
    ],
)
def test_the_authors_files_answer_as_they_do_in_numpy(
    method: str, file: str, theirs: Any, shared_weights: Path, tmp_path: Path
) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    path = shared_weights / file
    crops = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
    crops[1] = 255 - np.arange(256)[:, None, None] // 2  # an image that is not noise
    want = np.array([theirs(Keras(path), c / 255.0) for c in crops])
    to_bundle(method, path, tmp_path / "box")
    logits = load(str(tmp_path / "box"), runtime="torch").logits(crops)
    real = 1 / (1 + np.exp(logits[:, 1] - logits[:, 0]))
    np.testing.assert_allclose(real, want, atol=1e-5)


def test_files_of_another_kind_are_refused(shared_weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    with pytest.raises(UnmaskError, match="has 16 convolutions, 4 norms and 2 dense layers, not 4, 4 and 2"):
        published("meso4", shared_weights / "MesoInception_DF.h5")
    (tmp_path / "junk.h5").write_bytes(b"no h5")
    with pytest.raises(UnmaskError, match="cannot read"):
        published("meso4", tmp_path / "junk.h5")
    with pytest.raises(UnmaskError, match=r"no published layout of 'gend' is known; there is .*meso4"):
        published("gend", tmp_path / "junk.h5")


# --- NPR -------------------------------------------------------------------------------------------------------------


def test_nprs_layout_answers_as_its_formula(tmp_path: Path) -> None:
    """torchvision's ResNet under the published names, the residual by loops, one logit."""
    torch.manual_seed(0)
    net = ResNet(Bottleneck, [3, 4, 1, 1])
    net.conv1 = torch.nn.Conv2d(3, 64, 3, 2, 1, bias=False)
    net.fc = torch.nn.Linear(512, 1)
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand_like(value) * 0.05)
    net.eval()
    state = {k: v for k, v in net.state_dict().items() if not k.startswith(("layer3", "layer4", "fc."))}
    state |= {"fc1.weight": net.fc.weight.detach(), "fc1.bias": net.fc.bias.detach()}
    assert sum(v.numel() for k, v in state.items() if "running" not in k and "tracked" not in k) == 1_437_761
    for form in (state, {"model": {f"module.{k}": v for k, v in state.items()}}):
        torch.save(form, tmp_path / "NPR.pth")
        detector = published("npr", tmp_path / "NPR.pth")
        image = torch.rand(2, 3, 33, 40)
        x = (image - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
            3, 1, 1
        )
        n = torch.zeros(2, 3, 32, 40)
        for i in range(32):
            for j in range(40):
                n[..., i, j] = x[..., i, j] - x[..., i // 2 * 2, j // 2 * 2]
        with torch.no_grad():
            maps = net.layer2(net.layer1(net.maxpool(F.relu(net.bn1(net.conv1(n * 2.0 / 3.0))))))
            fake = torch.sigmoid(net.fc(maps.mean((2, 3))))[:, 0]
            torch.testing.assert_close(detector(image).logits.softmax(1)[:, 1], fake, atol=1e-5, rtol=1e-5)
    torch.save({k: v for k, v in state.items() if k != "bn1.weight"}, tmp_path / "NPR.pth")
    with pytest.raises(UnmaskError, match=r"missing: body\.bn1\.weight"):
        published("npr", tmp_path / "NPR.pth")


def test_import_detector_writes_a_bundle(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from unmask.app.cli import app

    detector = FAMILIES["detector"].create("npr")
    body = {k.removeprefix("body."): v for k, v in detector.state_dict().items() if k.startswith("body.")}
    torch.save({**body, "fc1.weight": torch.ones(1, 512), "fc1.bias": torch.ones(1)}, tmp_path / "NPR.pth")
    done = CliRunner().invoke(
        app, ["import", "detector", "npr", str(tmp_path / "NPR.pth"), "-o", str(tmp_path / "box")]
    )
    assert done.exit_code == 0, done.output
    assert "not calibrated" in done.output
    assert load(str(tmp_path / "box"), runtime="torch").logits(np.zeros((1, 224, 224, 3), np.uint8)).tolist() == [
        [0.0, 1.0]
    ]

"""Patch forensics: moments over places, how far a place sees, where it starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unmask.detectors.patch_forensics import PatchForensics, moments
from unmask.types import UnmaskError


def test_moments_by_hand() -> None:
    # Channel 0: 1, 3, 5, 7 -> mean 4, squared deviations 9, 1, 1, 9 -> variance 5. Channel 1: constant 2.
    maps = torch.tensor([[[1.0, 3], [5, 7]], [[2, 2], [2, 2]]])[None]
    want = torch.tensor([[4, 2, 5**0.5, 1e-5**0.5]])
    torch.testing.assert_close(moments(maps), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("blocks", "field"), [(1, 3), (2, 7), (4, 19)])
def test_a_place_sees_a_patch_of_the_image(blocks: int, field: int) -> None:
    """Kernels of 3 at strides 2, 1, 2, 1: 3, then + 2 * 2 = 7, + 2 * 2 = 11 at stride 4, + 2 * 4 = 19."""
    torch.manual_seed(0)
    body = PatchForensics(size=64, blocks=blocks).eval().body
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    maps = body(image)
    middle = maps.shape[-1] // 2
    (gradient,) = torch.autograd.grad(maps[0, :, middle, middle].square().sum(), image)
    seen = gradient[0].abs().sum(0) > 0
    assert max(int(seen.any(d).sum()) for d in (0, 1)) <= field
    assert min(int(seen.any(d).sum()) for d in (0, 1)) >= field - 2  # a ReLU may close at the border


def test_the_score_is_the_mean_of_the_places_where_means_alone_are_read() -> None:
    """A linear classifier at each place, averaged, is the classifier of the averaged maps."""
    torch.manual_seed(0)
    detector = PatchForensics(size=32, blocks=1).eval()
    torch.nn.init.zeros_(detector.head.weight[:, 32:])  # the deviations
    image = torch.rand(1, 3, 32, 32)
    maps = detector.body((image - detector.mean) / detector.std)
    weight = detector.head.weight[:, :32] / (1 + detector.standardise.eps) ** 0.5  # of mean 0 and variance 1
    places = torch.einsum("kc,bchw->bkhw", weight, maps) + detector.head.bias[None, :, None, None]
    torch.testing.assert_close(detector(image).logits, places.mean((2, 3)))


def test_it_starts_from_torchvisions_weights(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = torchvision.models.mobilenet_v2().eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # no two tensors of one shape alike
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.uniform_(0.5, 1.5)
    save_file(theirs.state_dict(), tmp_path / "mobilenet.safetensors")
    detector = PatchForensics(size=32).eval()
    detector.load_pretrained(tmp_path / "mobilenet.safetensors")
    image = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(detector.body(image), theirs.features[:8](image), atol=1e-4, rtol=1e-4)

    save_file({"features.0.0.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(UnmaskError, match="no mobilenet_v2"):
        detector.load_pretrained(tmp_path / "other.safetensors")

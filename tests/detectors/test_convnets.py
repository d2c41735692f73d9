"""Plain networks: they compute what timm computes, and ImageNet weights arrive where they belong."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from unmask.detectors import family
from unmask.nn.convnets import NETWORKS, ConvNet
from unmask.nouns import UnmaskError

TIMM = {"xception": "legacy_xception", "efficientnet_b4": "efficientnet_b4", "resnet34": "resnet34"}
MILLIONS = {"xception": 20.81, "efficientnet_b4": 17.55, "resnet34": 21.29}  # with two classes, as published


@pytest.mark.parametrize("name", TIMM)
def test_the_default_is_the_published_network(name: str) -> None:
    with torch.device("meta"):
        detector = family.create(name)
        theirs = timm.create_model(TIMM[name], num_classes=2)
    count = sum(p.numel() for p in detector.parameters())
    assert count == sum(p.numel() for p in theirs.parameters())
    assert count / 1e6 == pytest.approx(MILLIONS[name], abs=0.01)


def test_it_answers_as_timm_does_and_starts_from_timms_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("test_efficientnet", num_classes=2).eval()
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    detector = family.create("efficientnet_b4", {"network": "tiny-efficientnet", "size": 64}).eval()
    detector.start(tmp_path / "model.safetensors")
    detector.head.load_state_dict(theirs.get_classifier().state_dict())
    image = torch.rand(3, 3, 64, 64)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(detector(image).logits, theirs((image - mean) / std), atol=1e-5, rtol=1e-5)


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    save_file(ConvNet("tiny-resnet").body.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(UnmaskError, match=r"model\.safetensors does not fit: missing: blocks"):
        ConvNet("tiny-efficientnet").start(tmp_path / "model.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(UnmaskError, match="cannot read the weights"):
        ConvNet("tiny-resnet").start(tmp_path / "junk.safetensors")
    with pytest.raises(UnmaskError, match="there is no network 'vgg'; there is xception"):
        ConvNet("vgg")


@pytest.mark.parametrize("name", [n for n in NETWORKS if n.startswith("tiny")])
def test_maps_have_the_channels_it_says(name: str) -> None:
    net = ConvNet(name).eval()
    maps = net(torch.rand(1, 3, 65, 70))
    assert maps.shape[:2] == (1, net.features)

"""Plain networks: they compute what timm computes, and ImageNet weights arrive where they belong."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from unmask.nn.convnets import NETWORKS, ConvNet
from unmask.registry import FAMILIES
from unmask.types import UnmaskError

TIMM = {"xception": "legacy_xception", "efficientnet_b4": "efficientnet_b4", "resnet34": "resnet34"}
MILLIONS = {"xception": 20.81, "efficientnet_b4": 17.55, "resnet34": 21.29}  # with two classes, as published


@pytest.mark.parametrize("name", TIMM)
def test_the_default_is_the_published_network(name: str) -> None:
    with torch.device("meta"):
        detector = FAMILIES["detector"].create(name)
        theirs = timm.create_model(TIMM[name], num_classes=2)
    count = sum(p.numel() for p in detector.parameters())
    assert count == sum(p.numel() for p in theirs.parameters())
    assert count / 1e6 == pytest.approx(MILLIONS[name], abs=0.01)


def test_it_answers_as_timm_does_and_starts_from_timms_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("test_efficientnet", num_classes=2).eval()
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    detector = FAMILIES["detector"].create("efficientnet_b4", {"network": "tiny-efficientnet", "size": 64}).eval()
    detector.load_pretrained(tmp_path / "model.safetensors")
    detector.head.load_state_dict(theirs.get_classifier().state_dict())
    image = torch.rand(3, 3, 64, 64)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(detector(image).logits, theirs((image - mean) / std), atol=1e-5, rtol=1e-5)


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    save_file(ConvNet("tiny-resnet").body.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(UnmaskError, match=r"model\.safetensors does not fit: missing: blocks"):
        ConvNet("tiny-efficientnet").load_pretrained(tmp_path / "model.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(UnmaskError, match="cannot read the weights"):
        ConvNet("tiny-resnet").load_pretrained(tmp_path / "junk.safetensors")
    with pytest.raises(UnmaskError, match="there is no network 'vgg'; there is xception"):
        ConvNet("vgg")


@pytest.mark.parametrize("name", [n for n in NETWORKS if n.startswith("tiny")])
def test_maps_have_the_channels_it_says(name: str) -> None:
    net = ConvNet(name).eval()
    maps = net(torch.rand(1, 3, 65, 70))
    assert maps.shape[:2] == (1, net.features)


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "resnet-50"])
def test_its_steps_are_the_whole_network_and_can_be_run_in_pieces(name: str) -> None:
    torch.manual_seed(0)
    net = ConvNet(name).eval()
    image = torch.rand(1, 3, 64, 64)
    x = net.normalised(image)
    with torch.inference_mode():
        want = net.body.forward_features(x)  # type: ignore[operator]
        assert torch.equal(net(image), want)
        middle = list(net.steps)[len(net.steps) // 2]
        half = net.run(x, until=middle)
        assert torch.equal(net.run(half, after=middle), want)
        assert net.run(half, after=middle, until=middle) is half
    assert (net.width(), net.width(middle)) == (want.shape[1], half.shape[1])


def test_steps_left_out_are_not_there_and_other_inputs_start_from_repeated_filters(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("test_resnet", num_classes=2).eval()
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    net = ConvNet("tiny-resnet", inside=6, without=("layer3", "layer4")).eval()
    net.load_pretrained(tmp_path / "model.safetensors")
    assert not [n for n, _ in net.named_parameters() if "layer3" in n or "layer4" in n]
    assert net.features == net.width("layer2")
    x = torch.rand(2, 3, 32, 32)
    want = theirs.layer2(theirs.layer1(theirs.maxpool(theirs.act1(theirs.bn1(theirs.conv1(x))))))
    # Six channels, RGB twice: filters at half their size, laid over both, give what the three give.
    torch.testing.assert_close(net.run(torch.cat([x, x], 1)), want, atol=1e-5, rtol=1e-5)

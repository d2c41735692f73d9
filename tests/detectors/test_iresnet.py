"""ArcFace's network: it computes what its published layout means, by plain functions of the named tensors."""

from __future__ import annotations

from itertools import count

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.nn.iresnet import IResNet
from unmask.types import UnmaskError


def shaken(name: str) -> IResNet:
    """Random weights and statistics, so that no norm is an identity."""
    torch.manual_seed(0)
    network = IResNet(name).eval()  # type: ignore[arg-type]
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) * 0.2 + (0.1 if value.ndim == 1 else -0.1))
    return network


def by_hand(state: dict[str, Tensor], image: Tensor) -> Tensor:
    def norm(x: Tensor, at: str) -> Tensor:
        mean, var, weight, bias = (state[f"{at}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-5)

    x = F.conv2d(2 * image - 1, state["conv1.weight"], padding=1)
    x = F.prelu(norm(x, "bn1"), state["prelu.weight"])
    for stage in range(1, 5):
        for block in count():
            at = f"layer{stage}.{block}"
            if f"{at}.conv1.weight" not in state:
                break
            stride = 2 if block == 0 else 1
            y = F.conv2d(norm(x, f"{at}.bn1"), state[f"{at}.conv1.weight"], padding=1)
            y = F.prelu(norm(y, f"{at}.bn2"), state[f"{at}.prelu.weight"])
            y = norm(F.conv2d(y, state[f"{at}.conv2.weight"], stride=stride, padding=1), f"{at}.bn3")
            if block == 0:
                x = norm(F.conv2d(x, state[f"{at}.downsample.0.weight"], stride=2), f"{at}.downsample.1")
            x = x + y
    return norm(x, "bn2")


def test_it_computes_what_its_layout_means() -> None:
    network, image = shaken("tiny-iresnet"), torch.rand(2, 3, 37, 32)
    torch.testing.assert_close(network(image), by_hand(network.state_dict(), image), rtol=1e-4, atol=1e-4)
    assert network(image).shape == (2, 32, 3, 2)
    torch.testing.assert_close(network.embedding(image).norm(dim=1), torch.ones(2))


def test_the_published_sizes() -> None:
    """iResNet-100 has 65.16 million weights with its readout of 512 x 25088 + 512 and norm of 1024."""
    with torch.device("meta"):
        network = IResNet("iresnet-100")
    count = sum(p.numel() for p in network.parameters())
    assert (count + 512 * 25088 + 512 + 1024) / 1e6 == pytest.approx(65.16, abs=0.01)
    assert [len(network.get_submodule(f"layer{n}")) for n in range(1, 5)] == [3, 13, 30, 3]  # type: ignore[arg-type]


def test_a_checkpoint_arrives_without_its_readout_and_another_is_refused_by_name() -> None:
    network, other = shaken("tiny-iresnet"), IResNet("tiny-iresnet").eval()
    state = {k: v for k, v in network.state_dict().items() if k not in ("mean", "std")}
    readout = {"fc.weight": torch.rand(4, 4), "features.running_mean": torch.rand(4)}
    other.load(state | readout, "backbone.pth")
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(other(image), network(image))
    with pytest.raises(UnmaskError, match=r"backbone.pth does not fit: missing: bn2\.bias"):
        other.load({k: v for k, v in state.items() if not k.startswith("bn2")}, "backbone.pth")

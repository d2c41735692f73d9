"""The two tracks of ImagiNet, and which gradient goes where."""

from __future__ import annotations

import pytest
import torch

from unmask.base.detector import Batch
from unmask.detectors import selfcon
from unmask.nn.contrastive import selfcon_loss
from unmask.types import UnmaskError


def small(**options: object) -> selfcon.SelfCon:
    torch.manual_seed(0)
    return selfcon.SelfCon("tiny-resnet-full", 32, hidden=16, dim=8, **options)  # type: ignore[arg-type]


def test_tracks_by_hand() -> None:
    image = torch.zeros(4, 3, 1, 1)
    binary = Batch(image, torch.tensor([0, 1, 1, 0]), method=torch.tensor([3, 0, 2, 3]))
    origin, family = selfcon.tracks(binary, ("real", "fake"))
    assert origin.tolist() == [0, 1, 1, 0]
    assert family.tolist() == [-1, 0, 2, -1]  # what "made" a real image is not looked at
    named = Batch(image, torch.tensor([1, 0, 2, 1]))
    origin, family = selfcon.tracks(named, ("ProGAN", "real", "SDXL"))
    assert origin.tolist() == [0, 1, 1, 0]
    assert family.tolist() == [-1, 0, 2, -1]
    with pytest.raises(UnmaskError, match=r"options\.family=0"):
        selfcon.tracks(Batch(image, binary.label), ("real", "fake"))
    with pytest.raises(UnmaskError, match="named 'real'"):
        selfcon.tracks(named, ("a", "b", "c"))


def test_a_contrast_of_two_images_by_hand() -> None:
    # Exits (1,0), (0,1) of image 0 and (1,0), (0,1) of image 1, one label, temperature 1: each anchor has one equal
    # and two orthogonal others, log(e + 2) - mean(1, 0, 0) = 1.5514 - 0.3333 = 1.2181.
    exits = [torch.tensor([[1.0, 0], [1, 0]]), torch.tensor([[0.0, 1], [0, 1]])]
    label = torch.zeros(2, dtype=torch.long)
    assert selfcon_loss(exits, label, 1.0).item() == pytest.approx(1.2181, abs=1e-4)
    assert selfcon_loss(exits[::-1], label, 1.0).item() == pytest.approx(1.2181, abs=1e-4)


def test_terms_and_where_the_gradient_of_the_classifier_stops() -> None:
    detector = small(contrast=0.5, family=0.25)
    batch = Batch(torch.rand(6, 3, 32, 32), torch.tensor([0, 0, 1, 1, 1, 1]), method=torch.tensor([9, 9, 0, 0, 1, 1]))
    terms = detector.loss(batch)
    exits = detector.exits(*detector.exits.features(detector.body, batch.image))  # type: ignore[misc,union-attr]
    family = torch.tensor([-1, -1, 0, 0, 1, 1])
    torch.testing.assert_close(terms["origin"], 0.5 * selfcon_loss(exits, batch.label))
    torch.testing.assert_close(terms["family"], 0.125 * selfcon_loss(exits, family))
    terms["cls"].backward()
    assert all(p.grad is None for p in detector.body.parameters())
    assert detector.classifier[1].weight.grad is not None
    frozen = small(contrast=0.0)
    assert set(frozen.loss(batch)) == {"cls"}
    assert not any(p.requires_grad for p in frozen.body.parameters())


def test_without_early_strides_maps_have_four_times_the_side() -> None:
    from unmask.nn.convnets import ConvNet

    image = torch.rand(1, 3, 64, 64)
    full, plain = ConvNet("tiny-resnet-full").eval(), ConvNet("tiny-resnet").eval()
    assert full.state_dict().keys() == plain.state_dict().keys()
    assert full(image).shape[-1] == 4 * plain(image).shape[-1] == 8

"""ADDNet-3D: frames share the weights of the ADD block, and a frame's mask reaches that frame alone."""

from __future__ import annotations

import torch

from unmask.detectors.addnet3d import ADDNet3D
from unmask.nn.attention_mask import masked_maps, pyramid


def test_frames_are_masked_alike_and_each_by_its_own_mask() -> None:
    torch.manual_seed(0)
    detector = ADDNet3D("tiny-xception", size=32, frames=3, widths=(8, 16)).eval()
    frames = torch.rand(3, 3, 32, 32)
    mask = torch.rand(3, 1, 32, 32, requires_grad=True)
    maps = masked_maps(detector.body, detector.cuts, frames, pyramid(mask, detector.sides))
    turned = masked_maps(detector.body, detector.cuts, frames.flip(0), pyramid(mask.flip(0), detector.sides))
    torch.testing.assert_close(turned, maps.flip(0))
    maps[1].sum().backward()
    assert mask.grad is not None
    assert [bool(g.any()) for g in mask.grad] == [False, True, False]


def test_nothing_lies_behind_the_masked_block() -> None:
    detector = ADDNet3D("tiny-xception", size=32, frames=3, widths=(8, 16))
    names = {name.split(".")[3] for name, _ in detector.named_parameters() if name.startswith("body.body.blocks")}
    assert names <= {"0"}


def test_the_order_of_frames_matters_and_the_mask_too() -> None:
    torch.manual_seed(0)
    detector = ADDNet3D("tiny-xception", size=32, frames=4, widths=(8, 16)).eval()
    video = torch.rand(1, 4, 3, 32, 32)
    with torch.no_grad():
        forward, backward = detector(video).logits, detector(video.flip(1)).logits
        masks = [getattr(detector, f"mask{n}") for n in range(1 + len(detector.sides))]
        bare = detector.seen(video, [torch.ones_like(mask) for mask in masks]).logits
    assert not torch.allclose(forward, backward)
    assert not torch.allclose(forward, bare)

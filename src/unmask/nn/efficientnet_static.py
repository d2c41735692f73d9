"""EfficientNet-B4 as efficientnet_pytorch 0.7 pads it: for images of 380 pixels, whatever comes.

TensorFlow pads a strided convolution by what its input's size asks for, more on the right and below. That library works
the pads out once, for the size that the network was scaled to. DeepfakeBench's checkpoints were trained so, on 256
pixels, with a first layer of its own that pads nothing; other pads shift the maps by up to a pixel in each group.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

SCALED_TO = 380


def build(inside: int, stem: bool = False) -> nn.Module:
    """timm's efficientnet_b4 with those pads and TensorFlow's epsilon; names of the weights are timm's.

    Args:
        stem: whether the first layer is the library's own, and pads too (SBI's checkpoints).
    """
    import timm

    body: nn.Module = timm.create_model(
        "efficientnet_b4", pretrained=False, num_classes=0, in_chans=inside, bn_eps=1e-3
    )
    side = SCALED_TO
    for name, module in list(body.named_modules()):
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            out = -(-side // 2)
            pads = max((out - 1) * 2 + module.kernel_size[0] - side, 0)
            first = name == "conv_stem" and not stem
            body.set_submodule(name, _Padded(module, (0, 0) if first else (pads // 2, pads - pads // 2)))
            side = out
    return body


class _Padded(nn.Conv2d):
    """That convolution, with `pads` = (left and above, right and below) instead of its own."""

    def __init__(self, like: nn.Conv2d, pads: tuple[int, int]) -> None:
        channels, size, stride = (like.in_channels, like.out_channels), like.kernel_size[0], like.stride[0]
        super().__init__(*channels, size, stride, groups=like.groups, bias=like.bias is not None)
        self.weight, self.pads = like.weight, pads

    def forward(self, x: Tensor) -> Tensor:
        low, high = self.pads
        return super().forward(F.pad(x, (low, high, low, high)))

"""MobileNetV2's convolutional body, and how to start it from ImageNet weights: torchvision's, or quantised ones.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unmask.errors import BundleError

# (expansion, channels, repeats, first stride): table 2 of the paper
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
FEATURES = 1280


def conv(
    inside: int, outside: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Sequential:
    """Convolution, normalisation and, unless it ends a bottleneck, ReLU6."""
    layers: list[nn.Module] = [
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
    ]
    if act:
        layers.append(nn.ReLU6(inplace=True))
    return nn.Sequential(*layers)


class Bottleneck(nn.Module):
    """Widen, filter each channel, narrow again without an activation; add the input where the shapes agree."""

    def __init__(self, inside: int, outside: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        first = [] if expansion == 1 else [conv(inside, wide)]
        self.body = nn.Sequential(*first, conv(wide, wide, 3, stride, wide), conv(wide, outside, act=False))
        self.add = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.add else y


class MobileNetV2(nn.Module):
    """(B, 3, H, W) normalised -> (B, 1280, H/32, W/32)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(3, 32, 3, 2)]
        inside = 32
        for expansion, channels, repeats, stride in STAGES:
            for i in range(repeats):
                layers.append(Bottleneck(inside, channels, stride if i == 0 else 1, expansion))
                inside = channels
        layers.append(conv(inside, FEATURES))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.layers(x)
        return maps


def load_torchvision(layers: nn.Sequential, path: Path) -> None:
    """Fill the first blocks of a MobileNetV2, or all of them, from a safetensors file of torchvision's `mobilenet_v2`.

    Raises: UnmaskError for a file that cannot be read, or that holds another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"cannot read the weights {path}: {error}") from error
    for name, own in layers.state_dict().items():
        other = state.get(f"features.{_theirs(layers, name)}")
        if other is None or other.shape != own.shape:
            raise BundleError(f"{path} is no mobilenet_v2 of torchvision's: its block {name} is missing or unlike ours")
        own.copy_(other)


def _theirs(layers: nn.Sequential, name: str) -> str:
    """The name of our tensor there: the last convolution of a bottleneck and its normalisation have no group."""
    block, _, inner = name.partition(".body.")
    if not inner:
        return name
    unit, part, tensor = inner.split(".")
    body = layers[int(block)].body
    assert isinstance(body, nn.Sequential)
    last = len(body) - 1
    return f"{block}.conv.{last + int(part)}.{tensor}" if int(unit) == last else f"{block}.conv.{unit}.{part}.{tensor}"


def load_tflite(body: MobileNetV2, path: Path) -> None:
    """Start `body` from an int8 TFLite MobileNetV2 (Coral's `tf2_mobilenet_v2_1.0_224_ptq`, Apache-2.0, ImageNet).

    The file's convolutions have their batch norm folded in. Each is read as scale * int8, and its bias becomes the
    shift of a batch norm that is the identity otherwise; `rescale` then makes that norm a real one. The network pads as
    PyTorch does (symmetrically), TensorFlow's SAME pads the right and bottom at stride 2: half a pixel of shift, which
    fine-tuning absorbs.

    Raises:
        ValueError: the file's convolutions are not those of a MobileNetV2 of width 1.
    """
    from ai_edge_litert.interpreter import Interpreter

    reader = Interpreter(model_path=str(path))
    details = {d["index"]: d for d in reader.get_tensor_details()}

    def real(index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        q = details[index]["quantization_parameters"]
        shape = [1] * len(details[index]["shape"])
        if len(q["scales"]) > 1:
            shape[q["quantized_dimension"]] = -1
        whole: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = reader.get_tensor(index).astype(np.float32)
        return np.asarray(whole * q["scales"].reshape(shape), np.float32)

    ops = [op for op in reader._get_ops_details() if op["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    units = [m for m in body.modules() if isinstance(m, nn.Sequential) and len(m) >= 2 and isinstance(m[0], nn.Conv2d)]
    if len(ops) < len(units):
        raise ValueError(f"{path} has {len(ops)} convolutions, MobileNetV2 needs {len(units)}")
    for op, unit in zip(ops, units, strict=False):
        weight = real(op["inputs"][1])  # (out, h, w, in), or (1, h, w, channels) where each channel has its own filter
        order = (3, 0, 1, 2) if op["op_name"] == "DEPTHWISE_CONV_2D" else (0, 3, 1, 2)
        kernel = torch.from_numpy(np.ascontiguousarray(weight.transpose(order)))
        convolution, norm = unit[0], unit[1]
        assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        if kernel.shape != convolution.weight.shape:
            raise ValueError(
                f"{path}: a convolution of shape {tuple(kernel.shape)} where {tuple(convolution.weight.shape)} belongs"
            )
        with torch.no_grad():
            convolution.weight.copy_(kernel)
            nn.init.ones_(norm.weight)
            norm.bias.copy_(torch.from_numpy(real(op["inputs"][2])))
            norm.running_mean.zero_()  # type: ignore[union-attr]
            norm.running_var.fill_(1 - norm.eps)  # type: ignore[union-attr]


@torch.no_grad()
def rescale(body: MobileNetV2, images: Tensor) -> None:
    """Give each identity batch norm of `load_tflite` the statistics of `images`; what the network computes stays.

    Without this the first training step would normalise with batch statistics and throw the pre-trained scale away.

    Args:
        images: (B, 3, H, W), normalised as in training; some dozens of typical crops.
    """

    def adopt(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        mean, var = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3), unbiased=False).clamp_min(1e-4)
        module.bias.add_(module.weight * mean)
        module.weight.mul_((var + module.eps).sqrt())
        module.running_mean.copy_(mean)  # type: ignore[union-attr]
        module.running_var.copy_(var)  # type: ignore[union-attr]

    hooks = [m.register_forward_pre_hook(adopt) for m in body.modules() if isinstance(m, nn.BatchNorm2d)]
    was = body.training
    body.eval()(images)
    body.train(was)
    for hook in hooks:
        hook.remove()

"""Starting weights for the small detector: ImageNet's, in the layout that a recipe's `start` reads.

    python -m training.imagenet MOBILENET.tflite FACES.parquet -o imagenet.safetensors

The network comes quantised (Coral's `tf2_mobilenet_v2_1.0_224_ptq`, Apache-2.0), with its normalisation folded in; some
crops of the training split say what its normalisation is to be on faces. Labels are not read, and no other split. The
head is drawn anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from unmask.bundles.distance import ExportWrapper
from unmask.data.loader import FaceSet
from unmask.data.manifest import Manifest
from unmask.detectors.mobilenet import MobileNet
from unmask.nn.mobilenet import load_tflite, rescale
from unmask.types import UnmaskError

CROPS = 64  # that say how the activations are scaled


def imagenet(tflite: Path, faces: Path, size: int) -> MobileNet:
    """The detector with the weights of `tflite`. Raises: UnmaskError for a manifest without training crops."""
    torch.manual_seed(0)
    detector = MobileNet(size=size)
    load_tflite(detector.body, tflite)
    split = Manifest(faces).table(["split"])["split"].to_pylist()
    crops = FaceSet(faces, detector.input, where=np.array([s == "train" for s in split], bool))
    if not len(crops):
        raise UnmaskError(f"{faces} has no crops of the training split to scale the network by")
    some = np.linspace(0, len(crops) - 1, min(CROPS, len(crops))).round().astype(int)
    pixels = np.stack([crops[int(i)].image for i in some]).transpose(0, 3, 1, 2)
    rescale(detector.body, detector.normalise(torch.from_numpy(pixels.copy()).float() / 255))
    return detector


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.imagenet", description=__doc__.splitlines()[0])
    parser.add_argument("tflite", type=Path, help="Coral's int8 MobileNetV2")
    parser.add_argument("faces", type=Path, help="of `unmask data extract`")
    parser.add_argument("--size", type=int, default=160, help="side of the crops that it will be trained on, pixels")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # or sums, and the file with them, depend on the machine
    detector = imagenet(arguments.tflite, arguments.faces, arguments.size)
    save_file({k: v.contiguous() for k, v in ExportWrapper(detector).state_dict().items()}, arguments.out)
    print(f"ImageNet weights for crops of {arguments.size} pixels: {arguments.out}")


if __name__ == "__main__":
    main()

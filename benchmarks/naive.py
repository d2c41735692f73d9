"""What one would write in an afternoon, as the baseline of scan.py: OpenCV, MTCNN, and a large ViT in eager torch.

Its packages are not dependencies of the project. facenet-pytorch carries MTCNN's weights and asks for an old torch that
it does not need, hence --no-deps; in an environment of its own:

    pip install torch torchvision opencv-python-headless requests tqdm -e . && pip install --no-deps facenet-pytorch
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np
import torch
from common import Times
from facenet_pytorch import MTCNN
from torchvision.models import VisionTransformer

from unmask.types import Pixels

SIDE, BATCH, MARGIN = 224, 16, 1.3


class Naive:
    """Ready for any number of clips. The ViT is L/14 in size; its weights are random, which changes no time."""

    def __init__(self) -> None:
        self.face_detector = MTCNN(keep_all=True, device="cpu")
        torch.manual_seed(0)
        self.net = VisionTransformer(
            image_size=SIDE, patch_size=14, num_layers=24, num_heads=16, hidden_dim=1024, mlp_dim=4096, num_classes=2
        ).eval()

    @torch.inference_mode()
    def scan(self, clip: Path, wanted: Collection[int]) -> tuple[Times, int]:
        """Seconds by stage, and the number of crops that were scored."""
        marks = [time.perf_counter()]
        frames = read_all(clip, wanted)
        marks.append(time.perf_counter())
        found = [self.face_detector.detect(frame)[0] for frame in frames]
        marks.append(time.perf_counter())
        crops = [
            cut(frame, box)
            for frame, boxes in zip(frames, found, strict=True)
            for box in ([] if boxes is None else boxes)
        ]
        marks.append(time.perf_counter())
        for start in range(0, len(crops), BATCH):
            batch = torch.from_numpy(np.stack(crops[start : start + BATCH])).permute(0, 3, 1, 2).float() / 255
            self.net(batch).softmax(-1)
        marks.append(time.perf_counter())
        spent = dict(zip(("decode", "detect", "align", "score"), np.diff(marks).tolist(), strict=True))
        return {"all": marks[-1] - marks[0], **spent}, len(crops)


def read_all(clip: Path, wanted: Collection[int]) -> list[Pixels]:
    """Every frame is decoded and converted; those wanted are kept."""
    capture, frames, index = cv2.VideoCapture(str(clip)), [], 0
    while True:
        more, frame = capture.read()
        if not more:
            break
        if index in wanted:
            frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        index += 1
    capture.release()
    return frames


def cut(frame: Pixels, box: np.ndarray) -> Pixels:
    """The box, widened by MARGIN, as a square crop."""
    (x0, y0, x1, y1), (height, width) = box, frame.shape[:2]
    half = MARGIN * max(x1 - x0, y1 - y0) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    left, top = int(np.clip(x - half, 0, width - 2)), int(np.clip(y - half, 0, height - 2))
    right, bottom = int(np.clip(x + half, left + 1, width)), int(np.clip(y + half, top + 1, height))
    return cv2.resize(frame[top:bottom, left:right], (SIDE, SIDE), interpolation=cv2.INTER_AREA)

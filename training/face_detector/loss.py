"""Which grid points answer for which face, and how wrong they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as fn

from training.face_detector.net import Found

NEAR = 2.0  # strides from a face's centre within which a grid point may answer for it
VOTES = 10  # best boxes whose IoU decides how many grid points answer for a face
WEIGHTS = {"obj": 1.0, "cls": 1.0, "box": 4.0, "points": 32.0}
ROUGH = 24.0  # px: points of smaller faces cannot be exact and must not drown those that can


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4) that broadcast against each other."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    common = (high - low).clamp_min(0).prod(-1)
    areas = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    return common / (areas - common).clamp_min(1e-6)


def eiou_loss(a: Tensor, b: Tensor) -> Tensor:
    """1 - IoU + distance of the centres + differences of the sides, each over the hull's (Zhang et al. 2021, eq. 6)."""
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp_min(1e-6)
    apart = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    sides = (a[..., 2:] - a[..., :2]) - (b[..., 2:] - b[..., :2])
    return 1 - iou(a, b) + apart.square().sum(-1) / hull.square().sum(-1) + (sides / hull).square().sum(-1)


@torch.no_grad()
def assign(score: Tensor, boxes: Tensor, grid: Tensor, faces: Tensor) -> Tensor:
    """SimOTA (Ge et al., "YOLOX", 2021, section 2.3) for one image: each grid point's face by index, -1 for none.

    Args:
        score: (P,) probability; boxes: (P, 4) as predicted; grid: (P, 3) x, y, stride; faces: (G, 4).
    """
    answers = torch.full((len(grid),), -1, dtype=torch.long)
    if not len(faces):
        return answers
    xy, stride = grid[:, :2], grid[:, 2]
    centre = (faces[:, None, :2] + faces[:, None, 2:]) / 2
    near = (
        ((xy - centre).abs().amax(-1) < NEAR * stride)
        & (xy > faces[:, None, :2]).all(-1)
        & (xy < faces[:, None, 2:]).all(-1)
    )
    near |= (xy - centre).norm(dim=-1) < 0.75 * stride  # a face smaller than a cell has no grid point inside
    candidates = near.any(0).nonzero()[:, 0]
    overlap = iou(faces[:, None], boxes[candidates])
    cost = -score[candidates].clamp_min(1e-6).log() - 3 * overlap.clamp_min(1e-6).log() + 1e4 * ~near[:, candidates]
    chosen = torch.zeros_like(cost, dtype=torch.bool)
    counts = overlap.topk(min(VOTES, len(candidates)), dim=1).values.sum(1).int().clamp_min(1)
    for face, count in enumerate(counts.tolist()):
        chosen[face, cost[face].topk(count, largest=False).indices] = True
    chosen &= near[:, candidates]
    best = cost.masked_fill(~chosen, torch.inf).min(0)
    taken = best.values < torch.inf
    answers[candidates[taken]] = best.indices[taken]
    return answers


def loss(
    found: Found, boxes: Sequence[Tensor], points: Sequence[Tensor], ignore: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Weighted terms for a batch; boxes[i] (G, 4), points[i] (G, 5, 2), ignore[i] (I, 4) are the truth of image i."""
    probability = (found.cls.detach().sigmoid() * found.obj.detach().sigmoid()).sqrt()
    picture, cell, true_boxes, true_points = [], [], [], []
    counted = torch.ones_like(found.obj)
    for i, (faces, marks, hidden) in enumerate(zip(boxes, points, ignore, strict=True)):
        answers = assign(probability[i], found.boxes[i].detach(), found.grid, faces)
        cells = (answers >= 0).nonzero()[:, 0]
        xy = found.grid[:, None, :2]
        counted[i] -= ((xy >= hidden[None, :, :2]) & (xy <= hidden[None, :, 2:])).all(-1).any(1).float()
        counted[i, cells] = 1
        picture.append(torch.full_like(cells, i))
        cell.append(cells)
        true_boxes.append(faces[answers[cells]])
        true_points.append(marks[answers[cells]])
    at = torch.cat(picture), torch.cat(cell)
    truth, marks = torch.cat(true_boxes), torch.cat(true_points)
    predicted = found.boxes[at]
    answering = max(len(truth), 1)
    is_face = torch.zeros_like(found.obj)
    is_face[at] = 1
    size = (truth[:, 2:] - truth[:, :2]).prod(-1).sqrt().clamp_min(ROUGH)[:, None, None]
    return {
        "obj": WEIGHTS["obj"]
        * (fn.binary_cross_entropy_with_logits(found.obj, is_face, reduction="none") * counted).sum()
        / answering,
        "cls": WEIGHTS["cls"]
        * fn.binary_cross_entropy_with_logits(
            found.cls[at], iou(predicted.detach(), truth).clamp(0, 1), reduction="sum"
        )
        / answering,
        "box": WEIGHTS["box"] * eiou_loss(predicted, truth).sum() / answering,
        # 2 % of the face's side is where the teacher's own noise begins: below it the loss turns quadratic
        "points": WEIGHTS["points"]
        * fn.smooth_l1_loss(found.points[at] / size, marks / size, beta=0.02, reduction="sum")
        / (10 * answering),
    }

"""PixPro and PixContrast on faces: dense matching, and where a patch was pasted, beside image-level SimSiam.

    python experiments/objectives/pixpro_faces.py --faces faces.parquet --out docs/tables/pretraining-pixpro.md

`faces.parquet`: crops of the research collection (`unmask data index`, `extract`). Real faces of DFDC's training actors
are learnt from, those of its test actors are measured on. All objectives: one small network, equal steps and images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from crop_views import boxes, cropped, crops, pretrain, two_crops
from probing import publish, spread, table
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from unmask.nn.convnets import ConvNet
from unmask.nn.correspondence import bin_distance
from unmask.registry import FAMILIES

SIZE, NETWORK, STEPS, BATCH, LR = 96, "tiny-resnet", 200, 16, 1e-3
ARMS = {  # name in the table: (objective, its options besides the network)
    "PixPro": ("pixpro", {"width": 64, "hidden": 256}),
    "PixContrast": ("pixcontrast", {"width": 64, "hidden": 256}),
    "SimSiam": ("simsiam", {"dim": 256, "bottleneck": 64}),
}
C4 = "layer3"  # maps of 6 x 6 places; the last ones have 3 x 3


def matching(maps: tuple[Tensor, Tensor], box: tuple[Tensor, Tensor]) -> float:
    """AUC of the cosine, over images: pairs of places that show one spot against other places of the same image."""
    one, two = (F.normalize(m.flatten(2), dim=1) for m in maps)
    cosine = one.transpose(1, 2) @ two
    positive = bin_distance(*box, *maps[0].shape[2:]) < 0.7
    auc = [roc_auc_score(p.flatten(), c.flatten()) for p, c in zip(positive, cosine, strict=True) if p.any()]
    return sum(auc) / len(auc)


def pixels(image: Tensor, places: int) -> Tensor:
    """Each place's own pixels, less their mean: what matching must beat."""
    block = F.avg_pool2d(image, 4).unfold(2, SIZE // 4 // places, SIZE // 4 // places)
    block = block.unfold(3, SIZE // 4 // places, SIZE // 4 // places).permute(0, 1, 4, 5, 2, 3).flatten(1, 3)
    return block - block.mean(1, keepdim=True)


def pasted(image: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """A rectangle of another face at its own place, its edge blended over four pixels; and the mask (B, S, S)."""
    side = (0.2 + 0.25 * torch.rand(len(image), 2)) * SIZE
    low = torch.rand(len(image), 2) * (SIZE - side)
    line = torch.arange(SIZE) + 0.5
    inside = [torch.minimum(line - low[:, k, None], (low + side)[:, k, None] - line) for k in (0, 1)]
    mask = (torch.minimum(inside[0][:, None], inside[1][:, :, None]) / 4 + 0.5).clamp(0, 1)
    return image + mask[:, None] * (other - image), mask


@torch.no_grad()
def localisation(network: ConvNet, train: Tensor, test: Tensor, seed: int) -> float:
    """AUC over places of a linear probe of C4 that was told which places were pasted."""
    torch.manual_seed(1000 + seed)
    found = []
    for images in (train, test):
        image, mask = pasted(images, images.roll(1, 0))
        maps = network.run(network.normalised(image), until=C4)
        where = F.avg_pool2d(mask[:, None], SIZE // maps.shape[-1]).flatten()
        clear = (where < 0.1) | (where > 0.5)
        found += [maps.permute(0, 2, 3, 1).flatten(0, 2)[clear].numpy(), (where[clear] > 0.5).numpy()]
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, class_weight="balanced"))
    return float(roc_auc_score(found[3], probe.fit(found[0], found[1]).decision_function(found[2])))


@torch.no_grad()
def measured(network: ConvNet, test: Tensor, train: Tensor, seed: int) -> dict[str, float]:
    network.eval()
    torch.manual_seed(2000 + seed)
    box = boxes(len(test)), boxes(len(test))
    views = [cropped(test, b, SIZE) for b in box]
    last = tuple(network(v) for v in views)
    middle = tuple(network.run(network.normalised(v), until=C4) for v in views)
    return {
        "C5": matching(last, box),
        "C4": matching(middle, box),
        "pixels": matching(tuple(pixels(v, 3) for v in views), box),
        "pasted": localisation(network, train[:400], test, seed),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    train, test = (
        crops(asked.faces, SIZE, count, label=0, dataset="dfdc_faces224", split=split)
        for count, split in ((2000, "train"), (300, "test"))
    )
    small, held = train.float() / 255, test.float() / 255
    runs: dict[str, list[dict[str, float]]] = {"random network": [], **{name: [] for name in ARMS}}
    for seed in range(asked.seeds):
        torch.manual_seed(seed)
        runs["random network"].append(measured(ConvNet(NETWORK), held, small, seed))
        for name, (objective, options) in ARMS.items():
            torch.manual_seed(seed)
            model = FAMILIES["objective"].create(objective, {"network": NETWORK, "size": SIZE, **options})
            ended = pretrain(model, train, two_crops(SIZE), BATCH, STEPS, LR)
            runs[name].append(measured(model.encoder, held, small, seed))
            print(seed, name, ended, runs[name][-1], flush=True)
    rows = [[name, *(spread(r[k] for r in found) for k in ("C5", "C4", "pasted"))] for name, found in runs.items()]
    plain = spread(r["pixels"] for r in runs["random network"])
    rows.append(["the pixels of each place", plain, "–", "–"])
    said = f"""
{asked.seeds} seeds, mean ± standard deviation. {NETWORK}, {STEPS} steps of {BATCH} at {SIZE} pixels, AdamW at {LR:g},
{len(train)} real faces of DFDC's training actors; measured on {len(test)} of its test actors. Matching: AUC of the
cosine of corresponding places of two crops against other places of the same image; chance 0.5. Pasted: a linear probe
says which places of C4 come from another face; AUC over places, chance 0.5.
"""
    head = ["pre-training", "matching, C5 (3 x 3)", "matching, C4 (6 x 6)", "pasted patch, C4"]
    command = (
        "python experiments/objectives/pixpro_faces.py --faces faces.parquet --out docs/tables/pretraining-pixpro.md"
    )
    publish(asked.out, "PixPro and PixContrast on faces", " ".join(said.split()), command, [table(head, rows)])


if __name__ == "__main__":
    main()

"""FSFM on faces: does covering regions teach more than hiding random patches, or than nothing?

    python experiments/objectives/fsfm_faces.py --faces faces.parquet --out docs/tables/pretraining-fsfm.md

`faces.parquet`: crops of the research collection (`unmask data index`, `extract`). A small ViT learns from real faces
of DFDC's training actors, then a few labelled images teach a classifier of one kind of forgery, of which the rest is
measured: DFDC's swaps (test actors), StyleGAN's faces. Equal images and steps in all arms.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from crop_views import as_it_is, crops, pretrain
from probing import publish, spread, table
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.nn.backbones import Encoder
from unmask.registry import FAMILIES

SIZE, STEPS, BATCH, LR, SHOTS = 64, 200, 32, 1e-3, 64
SMALL = {"backbone": "tiny-fsfm", "decoder": (2, 96, 4), "summary": (1, 4), "head": (256, 64)}
ARMS = {
    "CRFR-P": {"mask": "crfr-p"},
    "random patches": {"mask": "random"},
}
KINDS = ("dfdc_faces224", "140k_stylegan256")


def few(images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """SHOTS random ones, and the others."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images[order[:SHOTS]], images[order[SHOTS:]]


@torch.no_grad()
def features(encoder: Encoder, images: Tensor) -> Tensor:
    return torch.cat([encoder(part.float() / 255) for part in images.split(128)])


def probe(encoder: Encoder, shots: tuple[Tensor, Tensor], rest: tuple[Tensor, Tensor]) -> float:
    """AUC of a logistic regression on frozen features."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    model.fit(features(encoder, torch.cat(shots)), [0] * len(shots[0]) + [1] * len(shots[1]))
    scores = model.decision_function(features(encoder, torch.cat(rest)))
    return float(roc_auc_score([0] * len(rest[0]) + [1] * len(rest[1]), scores))


def tuned(encoder: Encoder, shots: tuple[Tensor, Tensor], rest: tuple[Tensor, Tensor], steps: int = 60) -> float:
    """AUC after the whole encoder learnt from the few images."""
    model = nn.Sequential(encoder, nn.Linear(encoder.kind.features, 2))
    images, label = torch.cat(shots).float() / 255, torch.tensor([0] * len(shots[0]) + [1] * len(shots[1]))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 3e-4, weight_decay=0.05)
    for _ in range(steps):
        rows = torch.randperm(len(images))[:32]
        loss = F.cross_entropy(model(images[rows]), label[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        logits = torch.cat([model(part.float() / 255) for part in torch.cat(rest).split(128)])
    return float(roc_auc_score([0] * len(rest[0]) + [1] * len(rest[1]), logits[:, 1] - logits[:, 0]))


def measured(encoder: Encoder, sets: dict[str, tuple[Tensor, Tensor]], seed: int) -> dict[str, float]:
    found, encoder = {}, encoder.eval()
    start = {name: value.clone() for name, value in encoder.state_dict().items()}
    for kind, (real, fake) in sets.items():
        (real_shots, real_rest), (fake_shots, fake_rest) = few(real, seed), few(fake, seed)
        shots, rest = (real_shots, fake_shots), (real_rest, fake_rest)
        encoder.load_state_dict(start)
        found[f"{kind} probe"] = probe(encoder, shots, rest)
        torch.manual_seed(3000 + seed)
        found[f"{kind} tuned"] = tuned(encoder, shots, rest)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    train = crops(asked.faces, SIZE, 3000, label=0, dataset="dfdc_faces224", split="train")
    sets = {}
    for kind in KINDS:
        where = {"dataset": kind} | ({"split": "test"} if kind == "dfdc_faces224" else {})
        sets[kind] = tuple(crops(asked.faces, SIZE, 400, label=label, **where) for label in (0, 1))
    runs: dict[str, list[dict[str, float]]] = {"no pre-training": [], **{name: [] for name in ARMS}}
    for seed in range(asked.seeds):
        torch.manual_seed(seed)
        runs["no pre-training"].append(measured(Encoder("tiny-fsfm"), sets, seed))
        for name, options in ARMS.items():
            torch.manual_seed(seed)
            model = FAMILIES["objective"].create("fsfm", SMALL | options)
            ended = pretrain(model, train, as_it_is, BATCH, STEPS, LR)
            runs[name].append(measured(model.encoder, sets, seed))
            print(seed, name, ended, runs[name][-1], flush=True)
    columns = [f"{kind} {how}" for kind in KINDS for how in ("probe", "tuned")]
    rows = [[name, *(spread(r[c] for r in found) for c in columns)] for name, found in runs.items()]
    counts = "; ".join(f"{kind}: {len(real)} real, {len(fake)} fake" for kind, (real, fake) in sets.items())
    said = f"""
{asked.seeds} seeds (start, batches and choice of the few images), mean ± standard deviation of the AUROC. A ViT of 4
blocks, {SIZE} pixels, patches of 8, {STEPS} steps of {BATCH}, {len(train)} real faces of DFDC's training actors. Then
{SHOTS} real and {SHOTS} fake images of a kind teach a classifier, by a linear probe or by tuning all weights for 60
steps; the rest of {counts} is measured.
"""
    command = "python experiments/objectives/fsfm_faces.py --faces faces.parquet --out docs/tables/pretraining-fsfm.md"
    head = ["pre-training", *columns]
    publish(asked.out, "FSFM on faces", " ".join(said.split()), command, [table(head, rows)])


if __name__ == "__main__":
    main()

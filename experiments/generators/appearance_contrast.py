"""MACL beside InfoNCE on drawn subjects: does similarity scaling keep distances proportional?

    python experiments/generators/appearance_contrast.py [--seeds 5] [--steps 250]

A subject is an ellipse of some shape, colours and stripes (6 numbers); position, turn and background (6 numbers) are
nuisance. A small network is trained on 120 subjects and measured on 60 others, 4 views each:

    retrieval   share of views whose nearest other view is of the same subject
    nuisance    R^2 of a ridge regression of the nuisance on the embedding, fitted on half of the views; low is good
    order       Spearman's correlation of cosine distance with the true distance of the subjects' attributes

`permuted` has the real similarities of other subjects: what is gained must go with it.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.nn.contrastive import supervised_contrastive
from unmask.objectives.customcontrast import macl_soft, macl_weighted

SIDE, SUBJECTS, TEST, VIEWS, BATCH = 32, 120, 60, 4, 32
FORMS = ("reconstruction", "InfoNCE", "weighted", "soft", "weighted, permuted", "soft, permuted")


def drawn(subject: np.ndarray, nuisance: np.ndarray) -> np.ndarray:
    """(3, 32, 32) in 0..1 of six attributes and six nuisances in 0..1."""
    y, x = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE - 0.5
    x, y = x - 0.3 * (nuisance[0] - 0.5), y - 0.3 * (nuisance[1] - 0.5)
    turn = np.pi * nuisance[2]
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    wide, high = 0.18 + 0.16 * subject[0], 0.34 - 0.16 * subject[0]
    inside = (along / wide) ** 2 + (across / high) ** 2 < 1
    stripes = 0.5 + 0.5 * subject[5] * np.sin(2 * np.pi * along * (4 + 12 * subject[4]))
    image = nuisance[3:, None, None] * np.ones((3, SIDE, SIDE))
    return np.where(inside, subject[1:4, None, None] * stripes, image).astype(np.float32)


def network() -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in ((3, 24), (24, 48), (48, 64)):
        layers += [nn.Conv2d(n_in, n_out, 3, 2, 1), nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 16, 32))


def trained(form: str, attributes: np.ndarray, steps: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    rng, net = np.random.default_rng((seed, 1)), network()
    decoder = nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 3 * SIDE * SIDE), nn.Sigmoid())
    optimizer = torch.optim.AdamW([*net.parameters(), *decoder.parameters()], 2e-3)
    order = rng.permutation(len(attributes)) if "permuted" in form else np.arange(len(attributes))
    for _ in range(steps):
        chosen = rng.choice(len(attributes), BATCH, replace=False)
        who = np.repeat(chosen, 2)
        image = torch.from_numpy(np.stack([drawn(attributes[n], rng.random(6)) for n in who]))
        z, subject = net(image), torch.from_numpy(who)
        known = torch.from_numpy(attributes[order[who]])
        real = 1 - torch.cdist(known, known).float() / 6**0.5
        if form == "reconstruction":
            loss = F.mse_loss(decoder(z), image.flatten(1))
        elif form == "InfoNCE":
            loss = supervised_contrastive(z, subject, 0.1)
        elif form.startswith("weighted"):
            loss = macl_weighted(z, subject, real, 0.1)
        else:
            loss = macl_soft(z, real, 0.1, 0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def measured(net: nn.Module, attributes: np.ndarray, seed: int) -> tuple[float, float, float]:
    rng, who = np.random.default_rng((seed, 2)), np.repeat(np.arange(len(attributes)), VIEWS)
    nuisance = rng.random((len(who), 6))
    image = np.stack([drawn(attributes[n], nuisance[k]) for k, n in enumerate(who)])
    with torch.no_grad():
        z: Tensor = F.normalize(net(torch.from_numpy(image)), dim=1)
    near = (z @ z.T).fill_diagonal_(-2)
    retrieval = float((who[near.argmax(1).numpy()] == who).mean())
    x, half = np.c_[z.numpy(), np.ones(len(z))], np.arange(len(z)) % 2 == 0
    fit = np.linalg.solve(x[half].T @ x[half] + 0.01 * np.eye(x.shape[1]), x[half].T @ nuisance[half])
    left = np.square(nuisance[~half] - x[~half] @ fit).mean(0) / nuisance[~half].var(0)
    upper = np.triu_indices(len(who), 1)
    true = np.sqrt(np.square(attributes[who[upper[0]]] - attributes[who[upper[1]]]).sum(1))
    apart = true > 0
    order = spearmanr(1 - (z @ z.T).numpy()[upper][apart], true[apart]).statistic
    return retrieval, float(1 - left.mean()), float(order)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=250)
    asked = parser.parse_args()
    print(f"{asked.seeds} seeds, {asked.steps} steps; mean ± standard deviation over seeds")
    for form in FORMS:
        rows = []
        for seed in range(asked.seeds):
            attributes = np.random.default_rng(seed).random((SUBJECTS + TEST, 6))
            net = trained(form, attributes[:SUBJECTS], asked.steps, seed)
            rows.append(measured(net, attributes[SUBJECTS:], seed))
        values = [f"{m:.3f} ± {s:.3f}" for m, s in zip(np.mean(rows, 0), np.std(rows, 0, ddof=1), strict=True)]
        print(f"| {form} | {' | '.join(values)} |", flush=True)


if __name__ == "__main__":
    main()

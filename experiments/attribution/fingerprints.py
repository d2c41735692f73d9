"""Open-world attribution on made-up fingerprints: does voting help, are voted pairs purer, is the cue the generator?

    python experiments/attribution/fingerprints.py

Six "generators" leave a periodic trace of 2 % on crops of scikit-image's photographs; four are known, two are new.
An encoder of the spectra of nine cells stands in for a network's maps. Five seeds; a few seconds each.
"""

from __future__ import annotations

import io
import json

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from torch import Tensor, nn

from unmask.detectors.cpl import Voting, local_similarity, partners, soft_pseudo_loss, vote
from unmask.detectors.rankstats import pair_loss, same_ranks
from unmask.measure.attribution import nmi, open_world
from unmask.measure.interval import bootstrap
from unmask.measure.metrics import share
from unmask.nn.open_world import mean_entropy, nearest, same_class, slowed_cross_entropy

SIDE, CELLS, EACH, KNOWN, NEW = 63, 3, 100, 4, 2
STRENGTH = 0.02  # of the range of pixels
STEPS, BATCH, SEEDS = 150, 128, 5
PHOTOS = (
    data.astronaut,
    data.coffee,
    data.chelsea,
    data.rocket,
    data.camera,
    data.coins,
    data.moon,
    data.brick,
    data.grass,
)
FREQUENCIES = ((8, 0), (0, 8), (8, 8), (16, 4), (4, 16), (12, 12))  # cycles over the crop


def crops(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """(count, SIDE, SIDE) grey crops in 0..1, of photographs by turns."""
    photos = [np.asarray(Image.fromarray(photo()).convert("L"), np.float64) / 255 for photo in PHOTOS]
    found = []
    for n in range(count):
        photo = photos[n % len(photos)]
        y, x = (int(rng.integers(side - SIDE)) for side in photo.shape)
        found.append(photo[y : y + SIDE, x : x + SIDE])
    return np.stack(found)


def marked(image: NDArray[np.float64], kind: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """The crop with the trace of a generator, at a phase of its own."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    fy, fx = FREQUENCIES[kind]
    trace = np.sin(2 * np.pi * (fy * y + fx * x) + rng.uniform(0, 2 * np.pi))
    return np.clip(image + STRENGTH * trace, 0, 1)


def jpeg(image: NDArray[np.float64], quality: int) -> NDArray[np.float64]:
    held = io.BytesIO()
    Image.fromarray((image * 255).round().astype(np.uint8)).save(held, "JPEG", quality=quality)
    return np.asarray(Image.open(held), np.float64) / 255


def spectra(image: NDArray[np.float64]) -> NDArray[np.float32]:
    """(CELLS^2, D): log magnitudes of each cell's spectrum, less the crop's mean one would be too much help."""
    side = SIDE // CELLS
    cells = image.reshape(CELLS, side, CELLS, side).swapaxes(1, 2).reshape(-1, side, side)
    cells = cells - cells.mean((1, 2), keepdims=True)
    return (
        np.log(np.abs(np.fft.rfft2(cells * np.hanning(side)[:, None] * np.hanning(side))) + 1e-3)
        .reshape(CELLS**2, -1)
        .astype(np.float32)
    )


class Net(nn.Module):
    """Nine spectra -> parts (B, 9, 64), their mean through a batch norm, a linear head."""

    def __init__(self, wide: int, classes: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(wide, 128), nn.ReLU(), nn.Linear(128, 64))
        self.neck, self.head = nn.BatchNorm1d(64), nn.Linear(64, classes, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = self.encoder(x)
        features = self.neck(parts.mean(1))
        return self.head(features), features, parts


def loss_of(method: str, net: Net, x: Tensor, label: Tensor) -> Tensor:
    logits, features, parts = net(x)
    total = slowed_cross_entropy(logits, label) - mean_entropy(logits)
    if method == "rankstats":
        free = label < 0
        return total + pair_loss(logits[free], same_ranks(parts[free].mean(1).detach()))
    if method == "cross-entropy + entropy":
        return total
    rules: dict[str, Voting] = {"CPL, code's vote": "code", "CPL, vote on the pair": "pair", "CPL, no vote": "global"}
    partner, accepted = partners(features.detach(), parts.detach(), label, rules[method])
    return total + 0.5 * same_class(logits, partner) + 0.5 * soft_pseudo_loss(logits, label < 0, accepted)


METHODS = ("cross-entropy + entropy", "rankstats", "CPL, no vote", "CPL, code's vote", "CPL, vote on the pair")


def trained(method: str, x: Tensor, label: Tensor, seed: int, steps: int = STEPS) -> Net:
    torch.manual_seed(seed)
    net = Net(x.shape[2], KNOWN + NEW)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-5)
    named, free = (torch.nonzero(of)[:, 0] for of in (label >= 0, label < 0))
    for _ in range(steps):
        half = [of[torch.randint(len(of), (BATCH // 2,))] for of in (named, free)]
        rows = torch.cat(half)
        loss = loss_of(method, net.train(), x[rows], label[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def world(seed: int, shortcut: bool = False) -> tuple[Tensor, NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Spectra, the generator, the cue (JPEG quality) and whether a row is a test row, of EACH crops by each."""
    rng = np.random.default_rng(seed)
    kind = np.repeat(np.arange(KNOWN + NEW), EACH)
    cue = np.tile(np.arange(2), len(kind) // 2)
    image = [marked(c, int(k), rng) for c, k in zip(crops(rng, len(kind)), kind, strict=True)]
    if shortcut:
        image = [jpeg(i, (60, 90)[q]) for i, q in zip(image, cue, strict=True)]
    x = np.stack([spectra(i) for i in image])
    x = (x - x.mean((0, 1))) / (x.std((0, 1)) + 1e-6)
    return torch.from_numpy(x), kind, cue, rng.random(len(kind)) < 0.2


def labels(kind: NDArray[np.int64], test: NDArray[np.bool_], seed: int) -> Tensor:
    """Of training rows: three quarters of the known ones keep their label."""
    named = (kind < KNOWN) & (np.random.default_rng(seed).random(len(kind)) < 0.75) & ~test
    return torch.from_numpy(np.where(named, kind, -1))


def purity(net: Net, x: Tensor, kind: NDArray[np.int64]) -> dict[str, list[float]]:
    """Share of nearest neighbours that are of the same generator: all, and those that each rule accepts or rejects."""
    with torch.no_grad():
        _, features, parts = net(x)
        neighbour, local = nearest(features), local_similarity(parts)
    same = (kind[neighbour.numpy()] == kind).astype(float)
    found = {"all neighbours": np.ones(len(kind), bool)}
    for rule in ("code", "pair"):
        accepted = vote(neighbour, local, rule).numpy()  # type: ignore[arg-type]
        found |= {f"{rule}: accepted": accepted, f"{rule}: rejected": ~accepted}
    row = np.arange(len(kind))
    got = {n: bootstrap(share, np.zeros(k.sum(), int), same[k], row[k]) for n, k in found.items() if k.sum() > 1}
    return {n: [b.value, b.low, b.high, int(found[n].sum())] for n, b in got.items()}


def main() -> None:
    torch.set_num_threads(1)
    table: dict[str, list[list[float]]] = {m: [] for m in METHODS}
    for seed in range(SEEDS):
        x, kind, _, test = world(seed)
        label, train = labels(kind, test, seed), torch.from_numpy(~test)
        for method in METHODS:
            net = trained(method, x[train], label[train], seed)
            with torch.no_grad():
                said = net(x[~train])[0].argmax(1).numpy()
            got = open_world(kind[test], said, kind[test] < KNOWN)
            table[method].append([got.known, got.novel, got.all, got.novel_ari])
    for method, rows in table.items():
        values = np.array(rows)
        error = values.std(0, ddof=1) / SEEDS**0.5
        print(f"{method:26}", *(f"{m:.3f} +- {e:.3f}" for m, e in zip(values.mean(0), error, strict=True)))
    base = np.array(table[METHODS[0]])[:, 1]
    for method in METHODS[1:]:
        gain = np.array(table[method])[:, 1] - base
        error = gain.std(ddof=1) / SEEDS**0.5
        passes = "passes" if gain.mean() > 2 * error else "does not pass"
        print(f"gain on new classes, {method}: {gain.mean():+.3f}, 2 SE {2 * error:.3f}: {passes}")
    x, kind, _, test = world(0)
    label = labels(kind, test, 0)
    net = trained(METHODS[0], x, label, 0, 40)
    free = torch.nonzero(label < 0)[:, 0].numpy()
    print("purity after 40 steps of cross-entropy + entropy:", json.dumps(purity(net, x[free], kind[free])))
    x, kind, cue, test = world(0, shortcut=True)
    for method in (METHODS[0], METHODS[3]):
        net = trained(method, x[~test], labels(kind, test, 0)[~test], 0)
        with torch.no_grad():
            said = net(x[test])[0].argmax(1).numpy()
        of_kind, of_cue = nmi(kind[test], said), nmi(cue[test], said)
        print(f"JPEG cue, {method}: NMI with the generator {of_kind:.3f}, with the quality {of_cue:.3f}")


if __name__ == "__main__":
    main()

"""A network that knows people, trained in minutes: the teacher of real faces that LSDA starts from.

    python -m training.identity --faces faces.parquet --out RUN
    python -m training.identity --arcface backbone.pth --image model.safetensors --out RUN

The first command trains a small one on the real faces of training people that a face manifest names (DFDC's actors,
LFW), with ArcFace's margin, and says how well it tells people of validation apart, beside what their pixels do. The
second takes published weights: ArcFace's for the teacher of real faces, ImageNet's in timm's layout for all others.

Either writes `RUN/start.safetensors`, which a recipe of `lsda` names as `start`. The network serves to tell forged
faces from real ones, and no command here says who somebody is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.data.loader import FaceSet
from unmask.data.manifest import Manifest
from unmask.exporting.checkpoints import layouts
from unmask.measure.metrics import auroc
from unmask.nn import iresnet
from unmask.nn.iresnet import IResNet
from unmask.types import InputSpec, Pixels, UnmaskError

NETWORK: iresnet.Name = "small-iresnet"
SIDE = 64
BATCH, RATE, DECAY = 64, 2e-3, 0.05
SCALE, MARGIN = 24.0, 0.2  # ArcFace has 64 and 0.5 for 85,000 people and a large network; with these a small one learns


@dataclass(frozen=True)
class People:
    """Faces (N, S, S, 3) uint8, whose they are (N,) and from which data set (N,): codes from 0."""

    faces: Pixels
    person: NDArray[np.int64]
    dataset: NDArray[np.str_]


def main() -> None:
    arguments = parse()
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "start.safetensors"
    if arguments.arcface:
        save_file(packed(arguments.arcface, arguments.image), file)
    else:
        torch.set_num_threads(arguments.threads)
        taught, held = (people(arguments.faces, split) for split in ("train", "val"))
        torch.manual_seed(arguments.seed)
        network = IResNet(NETWORK)
        report(network, held, "untrained")
        train(network, taught, arguments.epochs, arguments.seed)
        report(network, held, "trained")
        save_file({f"real.{k}": v.contiguous() for k, v in network.state_dict().items()}, file)
    print(f"written to {file}")


def people(manifest: Path, split: str) -> People:
    """Real, unflagged faces of a split, of people with two images or more.

    Raises: UnmaskError where fewer than two people are left.
    """
    table = Manifest(manifest).table(["label", "split", "reason", "flags", "dataset", "identity"]).to_pylist()
    name = np.array([f"{r['dataset']}/{r['identity']}" if r["identity"] else "" for r in table])
    fits = [r["label"] == 0 and r["split"] == split and not r["reason"] and not r["flags"] for r in table]
    able = np.array(fits, bool) & (name != "")
    names, counts = np.unique(name[able], return_counts=True)
    able &= np.isin(name, names[counts > 1])
    if (counts > 1).sum() < 2:
        raise UnmaskError(f"{manifest} names fewer than two people of split {split} with two real faces or more")
    faces = FaceSet(manifest, InputSpec(size=SIDE, margin=1.3), where=able)
    _, person = np.unique(name[able], return_inverse=True)
    dataset = np.array([faces.datasets[d] for d in faces.dataset])
    return People(np.stack([faces[i].image for i in range(len(faces))]), person.astype(np.int64), dataset)


def train(network: IResNet, taught: People, epochs: int, seed: int) -> None:
    """AdamW with a cosine on faces and their mirror images, brighter and darker; an epoch's order is its seed's."""
    people, steps = int(taught.person.max()) + 1, epochs * (len(taught.faces) // BATCH)
    centres = nn.Parameter(F.normalize(torch.randn(people, network.features), dim=1))
    optimiser = torch.optim.AdamW([*network.parameters(), centres], RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, max(2, steps), pct_start=0.1)
    started = time.monotonic()
    network.train()
    for epoch in range(epochs):
        losses = []
        for image, person in batches(taught, np.random.default_rng((seed, epoch))):
            cosine = network.embedding(image) @ F.normalize(centres, dim=1).T
            loss = F.cross_entropy(with_margin(cosine, person, MARGIN) * SCALE, person)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_([*network.parameters(), centres], 5.0)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        minutes = (time.monotonic() - started) / 60
        print(f"epoch {epoch + 1}  loss {np.mean(losses):.3f}  minutes {minutes:.1f}", flush=True)


def batches(taught: People, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """(B, 3, S, S) in 0..1 and (B,), each face once; what fills no batch is left out by chance."""
    order = rng.permutation(len(taught.faces))
    for n in range(len(order) // BATCH):
        chosen = order[n * BATCH : (n + 1) * BATCH]
        image = pictures(taught.faces[chosen])
        mirrored = torch.from_numpy(rng.random(len(chosen)) < 0.5)[:, None, None, None]
        light = torch.from_numpy(rng.uniform(0.7, 1.3, (len(chosen), 1, 1, 1)).astype(np.float32))
        yield (torch.where(mirrored, image.flip(3), image) * light).clamp(0, 1), torch.from_numpy(taught.person[chosen])


def with_margin(cosine: Tensor, label: Tensor, margin: float) -> Tensor:
    """cos(theta + margin) for each face's own person, cos(theta) for the others (ArcFace, eq. 3, before its scale).

    Where theta + margin passes pi, cos(theta) - margin sin(margin) goes on falling, as in the authors' code.

    Args:
        cosine: (N, people) in -1..1; label: (N,).
    """
    own = cosine.gather(1, label[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
    turned = torch.cos(torch.acos(own) + margin)
    past = own <= -np.cos(margin)
    return cosine.scatter(1, label[:, None], torch.where(past, own - margin * np.sin(margin), turned))


@torch.no_grad()
def report(network: IResNet, held: People, what: str) -> dict[str, tuple[float, float]]:
    """Print and return, for each data set, the AUROC of "one person or two" over all pairs: by network, by pixels."""
    network.eval()
    image = pictures(held.faces)
    z = torch.cat([network.embedding(part) for part in image.split(BATCH)])
    grey = F.adaptive_avg_pool2d(image.mean(1, keepdim=True), 16).flatten(1)
    flat = F.normalize(grey - grey.mean(1, keepdim=True), dim=1)
    found = {}
    for name in np.unique(held.dataset).tolist():
        here = np.flatnonzero(held.dataset == name)
        one, other = np.triu_indices(len(here), 1)
        same = held.person[here[one]] == held.person[here[other]]
        by = [(v[here[one]] * v[here[other]]).sum(1).double().numpy() for v in (z, flat)]
        found[name] = (auroc(same, by[0]), auroc(same, by[1]))
        people = len(np.unique(held.person[here]))
        print(f"{what}: {name}, {people} people, {same.sum()} pairs of one: AUROC {found[name][0]:.3f}, "
              f"pixels {found[name][1]:.3f}", flush=True)  # fmt: skip
    return found


def packed(arcface: Path, image: Path | None) -> dict[str, Tensor]:
    """Published weights under the names that `LSDA.start` reads. Raises: UnmaskError for files that cannot be read."""
    state = {f"real.{k}": v for k, v in layouts.weights(layouts.read(arcface), arcface).items()}
    if image is not None:
        state |= {f"image.{k}": v for k, v in layouts.weights(layouts.read(image), image).items()}
    return {k: v.contiguous() for k, v in state.items()}


def pictures(faces: Pixels) -> Tensor:
    """uint8 (N, S, S, 3) -> (N, 3, S, S) in 0..1."""
    return torch.from_numpy(faces).permute(0, 3, 1, 2).float().div_(255)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m training.identity", description=sys.modules[__name__].__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--faces", type=Path, help="face manifest whose rows name people")
    source.add_argument("--arcface", type=Path, help="published weights in ArcFace's layout, instead of training")
    parser.add_argument("--image", type=Path, help="with --arcface: ImageNet weights in timm's layout")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""One training step of each pre-training objective: ours beside the same step of lightly's or PML's parts, in turns.

    python benchmarks/objectives.py --network small-resnet --size 64 --batch 64

Encoder, batch, widths and optimiser are the same; the library's side has its own heads, losses, memory bank and
momentum update, put together as its examples do. Memory is the peak of a process that does two steps of one variant
and nothing else. Time is CPU time of the process on a CPU, wall time on a GPU. PML is pytorch-metric-learning.
"""

from __future__ import annotations

import argparse
import copy
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from common import Times, machine, take_turns
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.objective import Objective, Views
from unmask.nn.convnets import ConvNet
from unmask.objectives.byol import BYOL
from unmask.objectives.facenet import FaceNet
from unmask.objectives.moco import MoCo
from unmask.objectives.selfcon import SelfCon
from unmask.objectives.simclr import SimCLR
from unmask.objectives.simsiam import SimSiam
from unmask.objectives.supcon import SupCon
from unmask.objectives.swav import SwAV

HIDDEN, DIM, QUEUE, PROTOTYPES = 512, 128, 4096, 300
VARIANTS = ("unmask", "library")
Step = Callable[[Views], Tensor]


@dataclass
class Task:
    """What `Objective.updated` asks of an engine, in the middle of a run."""

    step: int = 1
    steps: int = 2
    per_epoch: int = 1
    done: float = 0.5


def ours(name: str, network: str, size: int) -> Objective:
    kinds: dict[str, Callable[[], Objective]] = {
        "simclr": lambda: SimCLR(network, size, HIDDEN, DIM),
        "moco": lambda: MoCo(network, size, dim=DIM, queue=QUEUE),
        "byol": lambda: BYOL(network, size, HIDDEN, DIM),
        "simsiam": lambda: SimSiam(network, size, HIDDEN, DIM),
        "swav": lambda: SwAV(network, size, HIDDEN, DIM, PROTOTYPES),
        "supcon": lambda: SupCon(network, size, HIDDEN, DIM),
        "selfcon": lambda: SelfCon(network, size, "layer2", HIDDEN, DIM),
        "facenet": lambda: FaceNet(network, size, DIM),
    }
    return kinds[name]()


class Library(nn.Module):
    """The same objectives of other parts; `loss` gives the loss of a batch, `updated` what follows a step."""

    def __init__(self, name: str, network: str) -> None:
        super().__init__()
        from lightly.loss import NegativeCosineSimilarity, NTXentLoss, SwaVLoss
        from lightly.models import modules
        from pytorch_metric_learning.distances import LpDistance
        from pytorch_metric_learning.losses import SupConLoss, TripletMarginLoss
        from pytorch_metric_learning.miners import TripletMarginMiner

        self.name, self.body = name, ConvNet(network)
        wide = self.body.features
        self.predictor: nn.Module = nn.Identity()
        if name == "simclr":
            self.projector, self.of = modules.SimCLRProjectionHead(wide, HIDDEN, DIM), NTXentLoss(0.5)
        elif name == "moco":
            self.projector = modules.MoCoProjectionHead(wide, wide, DIM)
            self.of = NTXentLoss(0.2, memory_bank_size=(QUEUE, DIM))
        elif name == "byol":
            self.projector = modules.BYOLProjectionHead(wide, HIDDEN, DIM)
            self.predictor, self.of = modules.BYOLPredictionHead(DIM, HIDDEN, DIM), NegativeCosineSimilarity()
        elif name == "simsiam":
            self.projector = modules.SimSiamProjectionHead(wide, HIDDEN, HIDDEN)
            self.predictor, self.of = modules.SimSiamPredictionHead(HIDDEN, DIM, HIDDEN), NegativeCosineSimilarity()
        elif name == "swav":
            self.projector, self.of = modules.SwaVProjectionHead(wide, HIDDEN, DIM), SwaVLoss()
            self.prototypes = modules.SwaVPrototypes(DIM, PROTOTYPES)
        elif name in ("supcon", "selfcon"):
            self.projector, self.of = modules.MoCoProjectionHead(wide, HIDDEN, DIM), SupConLoss(0.1)
            if name == "selfcon":
                self.sub_network = nn.Linear(self.body.width("layer2"), wide)
                self.early = modules.MoCoProjectionHead(wide, HIDDEN, DIM)
        else:
            distance = LpDistance(p=2, power=2, normalize_embeddings=True)
            self.projector = nn.Linear(wide, DIM)
            self.of = TripletMarginLoss(0.2, distance=distance)
            self.miner = TripletMarginMiner(0.2, "semihard", distance=distance)
        if name in ("moco", "byol"):
            self.slow_body = copy.deepcopy(self.body).requires_grad_(False)
            self.slow_projector = copy.deepcopy(self.projector).requires_grad_(False)

    def embed(self, image: Tensor) -> Tensor:
        found: Tensor = self.projector(self.body.pooled(image))
        return found

    def slow(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = self.slow_projector(self.slow_body.pooled(image))
        return found

    def loss(self, batch: Views) -> Tensor:
        (one, other), label = batch.images, batch.label.repeat(2)
        found: Tensor
        if self.name == "moco":
            found = self.of(self.embed(one), self.slow(other))
        elif self.name in ("byol", "simsiam"):
            z1, z2 = self.embed(one), self.embed(other)
            p1, p2 = self.predictor(z1), self.predictor(z2)
            t1, t2 = (self.slow(one), self.slow(other)) if self.name == "byol" else (z1.detach(), z2.detach())
            found = (self.of(p1, t2) + self.of(p2, t1)) / 2
        elif self.name == "selfcon":
            image = torch.cat([one, other])
            early = self.body.run(self.body.normalised(image), until="layer2")
            late = self.body.run(early, after="layer2").mean((2, 3))
            exits = [self.early(self.sub_network(early.mean((2, 3)))), self.projector(late)]
            found = self.of(torch.cat(exits), label.repeat(2))
        else:
            z = self.embed(torch.cat([one, other]))
            if self.name == "simclr":
                found = self.of(*z.chunk(2))
            elif self.name == "swav":
                self.prototypes.normalize()
                found = self.of(list(self.prototypes(F.normalize(z, dim=1)).chunk(2)), []).squeeze()
            else:
                found = self.of(z, label, self.miner(z, label)) if self.name == "facenet" else self.of(z, label)
        return found

    def updated(self) -> None:
        from lightly.models.utils import update_momentum

        if self.name in ("moco", "byol"):
            update_momentum(self.body, self.slow_body, 0.99)
            update_momentum(self.projector, self.slow_projector, 0.99)


def stepper(variant: str, name: str, asked: argparse.Namespace) -> Callable[[], Times]:
    """A function that does one step and gives its time."""
    torch.manual_seed(0)
    method = ours(name, asked.network, asked.size) if variant == "unmask" else Library(name, asked.network)
    method.to(asked.device).train()
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], 0.01, 0.9)
    images = tuple(torch.rand(asked.batch, 3, asked.size, asked.size, device=asked.device) for _ in range(2))
    index = torch.arange(asked.batch, device=asked.device)
    batch = Views(images, (), index, index % 8)

    clock = time.process_time if asked.device == "cpu" else time.perf_counter  # others may use the same cores

    def step() -> Times:
        start = clock()
        optimiser.zero_grad(set_to_none=True)
        loss = method.loss(batch)
        (torch.stack(list(loss.values())).sum() if isinstance(loss, dict) else loss).backward()
        optimiser.step()
        if isinstance(method, Library):
            method.updated()
        else:
            method.updated(Task())  # type: ignore[arg-type]
        if asked.device != "cpu":
            torch.cuda.synchronize()
        return {"all": clock() - start}

    step()
    return step


def peak(variant: str, name: str, asked: argparse.Namespace) -> float:
    """MB: of the process on a CPU, of the device's allocator on a GPU."""
    options = {"network": asked.network, "size": asked.size, "batch": asked.batch, "device": asked.device,
               "threads": asked.threads}  # fmt: skip
    command = [sys.executable, __file__, "--alone", variant, "--only", name]
    command += [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])


NAMES = ("simclr", "moco", "byol", "simsiam", "swav", "supcon", "selfcon", "facenet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="small-resnet")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=NAMES, nargs="+", default=NAMES)
    parser.add_argument("--alone", choices=VARIANTS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.alone:
        stepper(asked.alone, asked.only[0], asked)()
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(used if asked.device == "cpu" else torch.cuda.max_memory_allocated() / 2**20)
        return
    print(machine("torch", "lightly", "pytorch-metric-learning"))
    print(f"{asked.network}, {asked.size} pixels, batch {asked.batch}, {asked.device}, {asked.threads} threads, "
          f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")  # fmt: skip
    print(f"{'':10}{'ours, ms':>10}{'library':>10}{'ratio':>8}{'ours, MB':>10}{'library':>10}{'ratio':>8}")
    for name in asked.only:
        memory = [peak(variant, name, asked) for variant in VARIANTS]
        times = take_turns({v: stepper(v, name, asked) for v in VARIANTS}, asked.repeat)
        ms = [1000 * times[v]["all"] for v in VARIANTS]
        print(f"{name:10}{ms[0]:10.1f}{ms[1]:10.1f}{ms[0] / ms[1]:8.3f}"
              f"{memory[0]:10.0f}{memory[1]:10.0f}{memory[0] / memory[1]:8.3f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

"""The parity board: each objective beside the same one made of lightly's or pytorch-metric-learning's parts.

    python experiments/objectives/parity.py --out docs/tables/pretraining-parity.md

Three columns of evidence: the largest difference of the loss and of its gradient on ten random batches in float64, and
kNN accuracy on digits after 20 epochs with five seeds each. The library's side is written as its users write it: its
heads, losses, memory bank and momentum update. The encoder, the views, the optimiser and the seeds are the same.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss, SwaVLoss
from lightly.models import modules as lightly
from lightly.models.utils import update_momentum
from probing import publish, spread, table
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import SupConLoss, TripletMarginLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from torch import Tensor, nn
from torch.nn import functional as F

from training import WIDTH, Trial, encoder, knn, train
from unmask.nn.contrastive import cosines, nt_xent, queue_nce, supervised_contrastive
from unmask.nn.heads import Norm, head
from unmask.nn.momentum import MomentumEncoder
from unmask.nn.predictive import negative_cosine
from unmask.nn.queue import FeatureQueue, random_directions
from unmask.nn.sinkhorn import sinkhorn
from unmask.objectives.facenet import facenet_loss
from unmask.objectives.selfcon import selfcon_loss
from unmask.objectives.swav import swav_loss

SEEDS = range(5)
PROTOTYPES, QUEUE, MOMENTUM = 30, 512, 0.99
Loss = Callable[..., Tensor]


# --- one class a wiring, two sets of parts ----------------------------------------------------------------------------


class Siamese(Trial):
    """Encoder and head on both views, a loss of the two embeddings: SimCLR."""

    def __init__(self, projector: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.encoder, self.projector, self.of = encoder(), projector, loss

    def loss(self, views: Sequence[Tensor], label: Tensor) -> Tensor:
        one, other = (self.projector(self.encoder(v)) for v in views)
        return self.of(one, other)


class Labelled(Siamese):
    """A loss of all embeddings and their labels: SupCon, FaceNet."""

    def loss(self, views: Sequence[Tensor], label: Tensor) -> Tensor:
        return self.of(self.projector(self.encoder(torch.cat(list(views)))), label.repeat(len(views)))


class Exits(Trial):
    """SelfCon on one view: the hidden layer and the last one, each with a head."""

    def __init__(self, early: nn.Module, late: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.encoder, self.early, self.late, self.of = encoder(), early, late, loss

    def loss(self, views: Sequence[Tensor], label: Tensor) -> Tensor:
        hidden = self.encoder[:4](views[0])
        return self.of(self.early(hidden), self.late(self.encoder[4](hidden)), label)


class Predicting(Trial):
    """A predictor on each view, the other view's projection as its target: SimSiam, or BYOL with a teacher."""

    def __init__(self, projector: nn.Module, predictor: nn.Module, loss: Loss, teacher: str | None = None) -> None:
        """`teacher`: "unmask" or "lightly"; None = the network itself."""
        super().__init__()
        self.encoder, self.projector, self.predictor, self.of = encoder(), projector, predictor, loss
        student = nn.Sequential(self.encoder, self.projector)
        self.library = teacher == "lightly"
        if self.library:
            self.teacher: nn.Module | None = copy.deepcopy(student).requires_grad_(False)
        else:
            self.teacher = MomentumEncoder(student, "own") if teacher else None

    def loss(self, views: Sequence[Tensor], label: Tensor) -> Tensor:
        projected = [self.projector(self.encoder(v)) for v in views]
        one, other = (self.predictor(p) for p in projected)
        if self.teacher:
            with torch.no_grad():
                projected = [self.teacher(v) for v in views]
        return self.of(one, projected[1]) / 2 + self.of(other, projected[0]) / 2

    def after(self, done: float) -> None:
        student = nn.Sequential(self.encoder, self.projector)
        if self.library:
            update_momentum(student, self.teacher, MOMENTUM)
        elif isinstance(self.teacher, MomentumEncoder):
            self.teacher.follow(student, MOMENTUM)


class Queued(Predicting):
    """MoCo."""

    def __init__(self, projector: nn.Module, teacher: str) -> None:
        super().__init__(projector, nn.Identity(), nt_xent, teacher)
        self.bank = NTXentLoss(0.2, memory_bank_size=(QUEUE, 32)) if self.library else None
        self.queue = FeatureQueue(QUEUE, 32, random_directions(QUEUE, 32))

    def loss(self, views: Sequence[Tensor], label: Tensor) -> Tensor:
        assert self.teacher is not None
        query = self.projector(self.encoder(views[0]))
        with torch.no_grad():
            key = self.teacher(views[1])
        if self.bank:
            found: Tensor = self.bank(query, key)
            return found
        loss = queue_nce(query, key, self.queue.filled, 0.2)
        self.queue.push(F.normalize(key, dim=1))
        return loss


class Assigning(Trial):
    """SwAV with two crops."""

    def __init__(self, projector: nn.Module, library: bool) -> None:
        super().__init__()
        self.encoder, self.projector, self.library = encoder(), projector, library
        self.prototypes = nn.Linear(32, PROTOTYPES, bias=False)
        self.theirs = lightly.SwaVPrototypes(32, PROTOTYPES)

    def loss(self, views: Sequence[Tensor], label: Tensor) -> Tensor:
        embeddings = [self.projector(self.encoder(v)) for v in views]
        if self.library:
            self.theirs.normalize()
            scores = [self.theirs(F.normalize(e, dim=1)) for e in embeddings]
            found: Tensor = SwaVLoss()(scores, [])
            return found.squeeze()
        with torch.no_grad():
            self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))
        scores = [self.prototypes(F.normalize(e, dim=1)) for e in embeddings]
        return swav_loss(scores, [sinkhorn(s) for s in scores])


# --- the board --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One objective, twice: losses of tensors of the same shapes, and trials."""

    library: str
    shapes: tuple[tuple[int, ...], ...]
    ours: Loss
    theirs: Loss
    trial: Callable[[], Trial]
    their_trial: Callable[[], Trial]
    batch: int = 256


LABEL = torch.arange(40) % 8
SQUARED = LpDistance(p=2, power=2, normalize_embeddings=True)
TWO = ((40, 16), (40, 16))
KEY = torch.randn(40, 16, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
BANK = F.normalize(torch.randn(64, 16, generator=torch.Generator().manual_seed(98), dtype=torch.float64), dim=1)


def their_triplets(z: Tensor, label: Tensor) -> Tensor:
    mined = TripletMarginMiner(0.2, "semihard", distance=SQUARED)(z, label)
    loss: Tensor = TripletMarginLoss(0.2, distance=SQUARED)(z, label, mined)
    return loss


def their_queue(query: Tensor) -> Tensor:
    loss = NTXentLoss(0.2, memory_bank_size=(64, 16))
    loss.memory_bank.bank, loss.memory_bank.bank_ptr = BANK.clone(), torch.zeros(1, dtype=torch.long)
    found: Tensor = loss(query, KEY)
    return found


def their_selfcon(early: Tensor, late: Tensor, label: Tensor) -> Tensor:
    found: Tensor = SupConLoss(0.07)(torch.cat([early, late]), label.repeat(2))
    return found


def our_swav(*z: Tensor) -> Tensor:
    scores = [cosines(x, BANK) for x in z]
    return swav_loss(scores, [sinkhorn(s) for s in scores])


def projection(last_norm: Norm = "none") -> nn.Module:
    return head((WIDTH, 128, 32), last_norm=last_norm)


PML, LIGHTLY = "pytorch-metric-learning", "lightly"
ROWS = {
    "SimCLR": Row(
        LIGHTLY, TWO, lambda a, b: nt_xent(a, b, 0.5), NTXentLoss(0.5),
        lambda: Siamese(projection("batch"), lambda a, b: nt_xent(a, b, 0.5)),
        lambda: Siamese(lightly.SimCLRProjectionHead(WIDTH, 128, 32), NTXentLoss(0.5)),
    ),
    "MoCo": Row(
        LIGHTLY, TWO[:1], lambda q: queue_nce(q, KEY, BANK, 0.2), their_queue,
        lambda: Queued(head((WIDTH, 128, 32), norm="none"), "unmask"),
        lambda: Queued(lightly.MoCoProjectionHead(WIDTH, 128, 32), "lightly"),
    ),
    "BYOL": Row(
        LIGHTLY, TWO[:1], lambda p: negative_cosine(p, KEY), lambda p: NegativeCosineSimilarity()(p, KEY),
        lambda: Predicting(projection(), head((32, 128, 32)), negative_cosine, "unmask"),
        lambda: Predicting(lightly.BYOLProjectionHead(WIDTH, 128, 32), lightly.BYOLPredictionHead(32, 128, 32),
                           NegativeCosineSimilarity(), "lightly"),
    ),
    "SimSiam": Row(
        LIGHTLY, TWO[:1], lambda p: negative_cosine(p, KEY), lambda p: NegativeCosineSimilarity()(p, KEY),
        lambda: Predicting(head((WIDTH, 128, 128, 128), last_norm="batch-plain"), head((128, 32, 128)),
                           negative_cosine),
        lambda: Predicting(lightly.SimSiamProjectionHead(WIDTH, 128, 128), lightly.SimSiamPredictionHead(128, 32, 128),
                           lambda p, z: NegativeCosineSimilarity()(p, z.detach())),
    ),
    "SwAV": Row(
        LIGHTLY, TWO, our_swav, lambda *z: SwaVLoss().double()([cosines(x, BANK) for x in z], []).squeeze(),
        lambda: Assigning(projection(), False),
        lambda: Assigning(lightly.SwaVProjectionHead(WIDTH, 128, 32), True),
    ),
    "SupCon": Row(
        PML, TWO[:1], lambda z: supervised_contrastive(z, LABEL, 0.1), lambda z: SupConLoss(0.1)(z, LABEL),
        lambda: Labelled(projection("batch"), lambda z, y: supervised_contrastive(z, y, 0.1)),
        lambda: Labelled(lightly.SimCLRProjectionHead(WIDTH, 128, 32), SupConLoss(0.1)),
    ),
    "SelfCon": Row(
        PML, TWO, lambda a, b: selfcon_loss([a, b], LABEL), lambda a, b: their_selfcon(a, b, LABEL),
        lambda: Exits(head((256, 128, 32), norm="none"), head((WIDTH, 128, 32), norm="none"),
                      lambda a, b, y: selfcon_loss([a, b], y)),
        lambda: Exits(lightly.MoCoProjectionHead(256, 128, 32), lightly.MoCoProjectionHead(WIDTH, 128, 32),
                      their_selfcon),
    ),
    "FaceNet": Row(
        PML, TWO[:1], lambda z: facenet_loss(z, LABEL)[0], lambda z: their_triplets(z, LABEL),
        lambda: Labelled(projection("batch"), lambda z, y: facenet_loss(z, y)[0]),
        lambda: Labelled(lightly.SimCLRProjectionHead(WIDTH, 128, 32), their_triplets), 64,
    ),
}  # fmt: skip


def differences(row: Row) -> tuple[float, float]:
    """The largest of the loss and of its gradient, over ten random batches in float64."""
    loss, gradient = 0.0, 0.0
    for seed in range(10):
        draw = torch.Generator().manual_seed(seed)
        inputs = [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in row.shapes]
        found = []
        for function in (row.ours, row.theirs):
            leaves = [x.clone().requires_grad_() for x in inputs]
            value = function(*leaves)
            value.backward()
            found.append((value.item(), torch.cat([x.grad.flatten() for x in leaves if x.grad is not None])))
        loss = max(loss, abs(found[0][0] - found[1][0]))
        gradient = max(gradient, float((found[0][1] - found[1][1]).abs().max()))
    return loss, gradient


def kept(row: Row) -> tuple[list[float], list[float]]:
    """kNN accuracy of each seed, ours and theirs."""
    builds = (row.trial, row.their_trial)
    ours, theirs = ([knn(train(build, seed, batch=row.batch)[0].encoder) for seed in SEEDS] for build in builds)
    return ours, theirs


def random_encoders() -> list[float]:
    found = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        found.append(knn(encoder().eval()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, row in ROWS.items():
        loss, gradient = differences(row)
        ours, theirs = kept(row)
        within = min(theirs) <= statistics.fmean(ours) <= max(theirs)
        rows.append([name, row.library, f"{loss:.0e}", f"{gradient:.0e}", spread(ours), spread(theirs),
                     "yes" if within else "no"])  # fmt: skip
        print(rows[-1], flush=True)
    columns = ["objective", "library", "loss differs by", "gradient differs by", "kNN, ours", "kNN, library",
               "our mean in their range"]  # fmt: skip
    said = f"""
torch {torch.__version__}, lightly {version("lightly")}, pytorch-metric-learning {version("pytorch-metric-learning")}.
Differences are the largest of ten random batches in float64. kNN: cosine, the 20 nearest of 1,347 training digits, on
450 test digits, after 140 steps of 256 images (FaceNet 64); mean ± standard deviation of seeds 0 to 4. Without
training: {knn(lambda image: image):.3f} on raw pixels, {spread(random_encoders())} on random encoders.
"""
    command = "python experiments/objectives/parity.py --out docs/tables/pretraining-parity.md"
    publish(asked.out, "Pre-training objectives beside other libraries", said, command, [table(columns, rows)])


if __name__ == "__main__":
    main()

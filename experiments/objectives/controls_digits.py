"""Whether SwAV, SimLAP, FaceNet and harmonic triplets do what they claim: each beside the control that must do worse.

    python experiments/objectives/controls_digits.py --out docs/tables/pretraining-controls.md

SwAV: plain softmax assignments must lose prototypes. SimLAP: without a gate arbitrary pairs cannot be fitted, and a
gate of the wrong pair must cost. FaceNet: mining, on classes that were never seen. Harmonic triplets: embeddings of an
old and a new network must be comparable, where those of two networks apart are not.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from probing import digits, linear, publish, spread, table
from torch import Tensor, nn
from torch.nn import functional as F

from training import WIDTH, Net, Trial, effective_rank, encoder, knn, train, unit_features
from unmask.measure.verification import verify
from unmask.nn.contrastive import supervised_contrastive
from unmask.nn.heads import head
from unmask.nn.sinkhorn import effective_prototypes, sinkhorn
from unmask.nn.triplets import Mining
from unmask.objectives.facenet import facenet_loss, harmonic_loss
from unmask.objectives.simlap import Form, Gate, pairing, simlap_loss
from unmask.objectives.swav import swav_loss

PROTOTYPES = 30
SEEN = 7  # classes 0 .. 6 are learnt, 7 .. 9 are only verified


# --- SwAV -------------------------------------------------------------------------------------------------------------


class Assigning(Trial):
    def __init__(self, balanced: bool) -> None:
        super().__init__()
        self.encoder, self.balanced = encoder(), balanced
        self.projector = head((WIDTH, 128, 32), unit=True)
        self.prototypes = nn.Parameter(F.normalize(torch.randn(PROTOTYPES, 32), dim=1))

    def scores(self, image: Tensor) -> Tensor:
        scores: Tensor = self.projector(self.encoder(image)) @ F.normalize(self.prototypes, dim=1).T
        return scores

    def loss(self, views: Sequence[Tensor], label: Tensor) -> Tensor:
        scores = [self.scores(v) for v in views]
        codes = [sinkhorn(s) if self.balanced else (s.detach() / 0.05).softmax(1) for s in scores]
        return swav_loss(scores, codes)


def swav(seeds: int) -> str:
    rows = []
    test = digits()[2]
    for balanced in (True, False):
        found = [train(lambda: Assigning(balanced), seed, steps=800) for seed in range(seeds)]  # noqa: B023
        with torch.no_grad():
            used = [float(effective_prototypes(trial.scores(test))) for trial, _ in found]  # type: ignore[operator]
        name = "Sinkhorn" if balanced else "softmax (control)"
        rows.append(
            [name, spread([loss for _, loss in found]), spread(used, 1), spread([knn(t.encoder) for t, _ in found])]
        )
    return table(["SwAV's assignments", "loss at the end", f"prototypes in use, of {PROTOTYPES}", "kNN"], rows)


# --- SimLAP -----------------------------------------------------------------------------------------------------------


class Gated(Trial):
    def __init__(self, form: Form, gated: bool) -> None:
        super().__init__()
        self.encoder, self.form = encoder(), form
        self.projector = head((WIDTH, 256, 64), last_norm="layer")
        self.gate = Gate(10, 64, 64, 128) if gated else None

    def loss(self, views: Sequence[Tensor], label: Tensor) -> Tensor:
        z, label = self.projector(self.encoder(torch.cat(list(views)))), label.repeat(len(views))
        other = pairing(label, 10)
        gate = self.gate(label, other) if self.gate else torch.ones_like(z)
        return simlap_loss(z, label, other, gate, form=self.form)


class Labelled(Trial):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.projector = encoder(), head((WIDTH, 256, 64))

    def loss(self, views: Sequence[Tensor], label: Tensor) -> Tensor:
        return supervised_contrastive(self.projector(self.encoder(torch.cat(list(views)))), label.repeat(len(views)))


def gate_shuffled(trial: Trial) -> float:
    """The loss on training digits with each class's place in the gate taken by another's."""
    if not isinstance(trial, Gated) or trial.gate is None:
        return float("nan")
    wrong = copy.deepcopy(trial)
    assert wrong.gate is not None
    torch.manual_seed(0)
    with torch.no_grad():
        wrong.gate.of_class.weight.copy_(trial.gate.of_class.weight.roll(1, 0))
        image, label = digits()[:2]
        return float(wrong.loss([image], label))


def probed(net: Net) -> float:
    with torch.no_grad():
        train_image, label, test_image, test_label = digits()
        return linear(net(train_image), label, net(test_image), test_label)


def simlap(seeds: int) -> str:
    arms = {
        "SupCon": Labelled,
        "arbitrary pairs, no gate (control)": lambda: Gated("after", False),
        "SimLAP, unit length after the gate": lambda: Gated("after", True),
        "SimLAP, unit length before the gate": lambda: Gated("before", True),
    }
    rows = []
    for name, build in arms.items():
        found = [train(build, seed, steps=1200, lr=1e-3) for seed in range(seeds)]
        wrong = [gate_shuffled(trial) for trial, _ in found]
        nets = [trial.encoder for trial, _ in found]
        ranks, shuffled = [effective_rank(net) for net in nets], "-" if wrong[0] != wrong[0] else spread(wrong, 2)
        rows.append([name, spread([loss for _, loss in found]), shuffled, spread(map(probed, nets)), spread(ranks, 1)])
    untrained = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        untrained.append(encoder().eval())
    rows.append(["random encoder", "-", "-", spread([probed(n) for n in untrained]),
                 spread([effective_rank(n) for n in untrained], 1)])  # fmt: skip
    columns = [
        "labels used by",
        "loss at the end",
        "loss with the gates of other classes",
        "linear probe",
        "effective rank",
    ]
    return table(columns, rows)


# --- FaceNet ----------------------------------------------------------------------------------------------------------


class Triplets(Trial):
    def __init__(self, mining: Mining, classes: int = SEEN, old: Trial | None = None) -> None:
        super().__init__()
        self.encoder = nn.Sequential(encoder(), nn.Linear(WIDTH, 32))
        self.mining, self.classes = mining, classes
        self.old = [old]  # in a list: it is no part of this trial

    def loss(self, views: Sequence[Tensor], label: Tensor) -> Tensor:
        known = label < self.classes
        z = self.encoder(views[0][known])
        loss, _ = facenet_loss(z, label[known], mining=self.mining)
        if old := self.old[0]:
            with torch.no_grad():
                before = old.encoder(views[0][known])
            loss = loss + harmonic_loss(before, z, label[known], mining=self.mining)[0]
        return loss


def pairs(label: Tensor, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """LFW's form: ten folds of 300 pairs of one class and 300 of two. Returns: both indices, same or not, the fold."""
    rng, (i, j) = np.random.default_rng(seed), np.triu_indices(len(label), 1)
    same = label.numpy()[i] == label.numpy()[j]
    chosen = np.concatenate([rng.choice(np.flatnonzero(same == kind), 3000, replace=False) for kind in (True, False)])
    return i[chosen], j[chosen], same[chosen], np.tile(np.arange(10), 600)


def verified(one: Tensor, other: Tensor, label: Tensor) -> tuple[float, float]:
    """Accuracy over ten folds, and VAL at FAR 0.01; row i of both tensors is of one image."""
    i, j, same, fold = pairs(label)
    distance = (one[i] - other[j]).square().sum(1).numpy()
    found = verify(same, distance, fold, target=1e-2)
    return found.accuracy, found.val


def facenet(seeds: int) -> str:
    rows = []
    for name in ("raw pixels", "random encoder", "random", "semihard", "hardest"):
        found = []
        for seed in range(1 if name == "raw pixels" else seeds):
            torch.manual_seed(seed)
            net: Net = (lambda image: image) if name == "raw pixels" else encoder().eval()
            if name not in ("raw pixels", "random encoder"):
                net = train(lambda: Triplets(name), seed, steps=400)[0].encoder  # type: ignore[arg-type]  # noqa: B023
            _, _, z, label = unit_features(net)
            unseen, seen = label >= SEEN, label < SEEN
            found.append([*verified(z[seen], z[seen], label[seen]), *verified(z[unseen], z[unseen], label[unseen]),
                          float(z.std(0).mean())])  # fmt: skip
        columns = zip(*found, strict=True)
        rows.append([name, *(spread(c) if len(c) > 1 else f"{c[0]:.3f}" for c in columns)])
    columns_ = ["triplets", "seen classes: accuracy", "VAL at FAR 0.01", "unseen classes: accuracy", "VAL at FAR 0.01",
                "deviation per dimension"]  # fmt: skip
    return table(columns_, rows)


def harmonic(seeds: int) -> str:
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        old, _ = train(lambda: Triplets("semihard", 10), seed, steps=400)
        apart, _ = train(lambda: Triplets("semihard", 10), seed + 50, steps=400)
        together, _ = train(lambda: Triplets("semihard", 10, old), seed + 50, steps=400)  # noqa: B023
        z = {name: unit_features(t.encoder)[2] for name, t in (("old", old), ("apart", apart), ("new", together))}
        label = digits()[3]
        for name, (one, other) in {
            "old and old": ("old", "old"), "new and new": ("new", "new"), "old and new": ("old", "new"),
            "old and one trained apart (control)": ("old", "apart"),
        }.items():  # fmt: skip
            found.setdefault(name, []).append(verified(z[one], z[other], label)[0])
    return table(["pairs between", "accuracy"], [[name, spread(values)] for name, values in found.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    tables = []
    for part in (swav, simlap, facenet, harmonic):
        tables.append(part(asked.seeds))
        print(tables[-1], flush=True)
    said = f"""
{asked.seeds} seeds, mean ± standard deviation, on scikit-learn's digits (1,347 to learn from, 450 to measure on). kNN
on raw pixels is {knn(lambda image: image):.3f}. Chance in verification is 0.500. FaceNet learns classes 0 to
{SEEN - 1}; the harmonic networks learn all ten, with batches of one view each.
"""
    command = "python experiments/objectives/controls_digits.py --out docs/tables/pretraining-controls.md"
    publish(asked.out, "Pre-training objectives and their controls", said, command, tables)


if __name__ == "__main__":
    main()

"""VIPGuard's token on drawn faces: does it beat the threshold on its own encoder's similarity, and is it specific?

    python experiments/attribution/identity_token.py

Faces are drawn from fifteen numbers. An encoder learns 40 people, then a cross-attention with a token for each of them
("checker"); then both are frozen and a token is learned for each of twelve new people, from few photos and from images
of others. Negatives of the test: other people, look-alikes, swaps (inner features of another), and syntheses (the
person drawn by a blurring "generator"), which no token has seen. Stated before it was run: the token must gain 0.02 of
AUROC on hard negatives, or the report says "no gain".
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.predict import to_tensor
from unmask.detectors.vipguard import VIPGuard
from unmask.measure.metrics import auroc

SIDE, NUMBERS, TEACHERS, PEOPLE, PHOTOS = 48, 15, 40, 12, (1, 2, 5, 10)
SEEDS, MARGIN = 3, 0.02
KINDS = ("others", "look-alikes", "swaps", "syntheses")


def drawn(
    p: NDArray[np.float64], rng: np.random.Generator, inner: NDArray[np.float64] | None = None
) -> NDArray[np.uint8]:
    """A face (SIDE, SIDE, 3) from 15 numbers in 0..1, under another light, place and expression each time."""
    big = 4 * SIDE
    q = p if inner is None else inner
    light, shift = rng.uniform(0.75, 1.1), rng.normal(0, 3, 2)
    c = np.array([big / 2, big / 2]) + shift
    image = np.full((big, big, 3), rng.integers(60, 200, 3), np.uint8)

    def at(x: float, y: float) -> tuple[int, int]:
        return round(float(c[0] + x)), round(float(c[1] + y))

    skin = tuple(int(light * v) for v in (150 + 80 * p[0], 110 + 70 * p[1], 90 + 60 * p[2]))
    cv2.ellipse(image, at(0, 0), (round(52 + 18 * p[3]), round(64 + 18 * p[4])), 0, 0, 360, skin, -1)
    cv2.ellipse(
        image, at(0, -40 - 20 * p[5]), (round(50 + 16 * p[3]), 26), 0, 180, 360, tuple(int(120 * v) for v in p[:3]), -1
    )
    gap, size = 20 + 10 * q[6], 6 + 7 * q[7]
    for side in (-1, 1):
        cv2.ellipse(
            image,
            at(side * gap, -12),
            (round(size * 1.4), round(size * rng.uniform(0.6, 0.9))),
            0,
            0,
            360,
            (240, 240, 240),
            -1,
        )
        cv2.circle(image, at(side * gap, -12), round(size * 0.6), (int(140 * q[8]), int(110 * q[9]), 60), -1)
        cv2.line(image, at(side * (gap - 12), -30 - 8 * q[10]), at(side * (gap + 12), -30 - 8 * q[11]), (40, 30, 20), 5)
    cv2.ellipse(
        image,
        at(0, 14),
        (round(6 + 8 * q[12]), round(10 + 8 * q[13])),
        0,
        0,
        180,
        tuple(int(0.8 * v) for v in skin),
        -1,
    )
    cv2.ellipse(image, at(0, 40), (round(14 + 14 * q[14]), round(4 + 6 * rng.random())), 0, 0, 360, (150, 50, 60), -1)
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.clip(small + rng.normal(0, 6, small.shape), 0, 255).astype(np.uint8)


def negatives(p: NDArray[np.float64], kind: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    other = rng.random(NUMBERS)
    if kind == "others":
        return drawn(other, rng)
    if kind == "look-alikes":
        return drawn(np.clip(p + rng.normal(0, 0.12, NUMBERS), 0, 1), rng)
    if kind == "swaps":
        return drawn(p, rng, inner=other)
    image = drawn(p, rng)
    return cv2.resize(cv2.resize(image, (SIDE // 2, SIDE // 2)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def stack(images: list[NDArray[np.uint8]]) -> Tensor:
    return to_tensor(np.stack(images))


def taught(seed: int) -> tuple[VIPGuard, Tensor]:
    """Encoder by classification, then the checker with a token for each teacher; and those tokens."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    people = rng.random((TEACHERS, NUMBERS))
    model = VIPGuard("tiny-resnet", 64, tokens=4, width=32, heads=4, trains="all")
    classify = nn.Linear(model.body.features, TEACHERS)
    optimizer = torch.optim.AdamW([*model.body.parameters(), *classify.parameters()], lr=2e-3, weight_decay=0.02)
    for _ in range(250):
        who = rng.integers(TEACHERS, size=48)
        features = model.train().body.pooled(stack([drawn(people[k], rng) for k in who]))
        step(optimizer, F.cross_entropy(classify(features), torch.from_numpy(who)))
    tokens = nn.Parameter(torch.randn(TEACHERS, 4, 32))
    parts = [*model.project.parameters(), *model.checker.parameters(), *model.head.parameters(), tokens]
    optimizer = torch.optim.AdamW(parts, lr=2e-3, weight_decay=0.02)
    model.body.eval()
    for _ in range(250):
        who = rng.integers(TEACHERS, size=48)
        asked = np.where(rng.random(48) < 0.5, who, rng.integers(TEACHERS, size=48))
        genuine = rng.random(48) < 0.7
        image = [
            drawn(people[k], rng) if real else negatives(people[k], KINDS[1 + n % 2], rng)
            for n, (k, real) in enumerate(zip(who, genuine, strict=True))
        ]
        logits = answers(model, maps(model, stack(image)), tokens[torch.from_numpy(asked)])
        label = torch.from_numpy(~((who == asked) & genuine)).long()
        step(optimizer, F.cross_entropy(logits, label))
    return model.eval(), tokens.detach()


def maps(model: VIPGuard, image: Tensor) -> Tensor:
    with torch.no_grad():
        return model.body(image).flatten(2).transpose(1, 2)


def answers(model: VIPGuard, tokens: Tensor, own: Tensor) -> Tensor:
    """As VIPGuard.forward, from the encoder's maps and a token for each row."""
    found = model.checker(own, model.project(tokens))
    return model.head(torch.cat([found.mean(1), (found * own).mean(1)], 1))


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def checksum(model: VIPGuard) -> str:
    held = (f"{n}{v.numpy().tobytes()!r}" for n, v in model.state_dict().items() if n != "token")
    return hashlib.sha256("".join(held).encode()).hexdigest()


def token_of(model: VIPGuard, start: Tensor, genuine: Tensor, others: Tensor) -> Tensor:
    """A person's token from maps of enrolled photos and of negatives; nothing else moves."""
    own = nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW([own], lr=0.05, weight_decay=1e-3)
    for _ in range(60):
        some = genuine[torch.randint(len(genuine), (16,))]
        rest = others[torch.randint(len(others), (16,))]
        logits = answers(model, torch.cat([some, rest]), own.expand(32, -1, -1))
        step(optimizer, F.cross_entropy(logits, torch.tensor([0] * 16 + [1] * 16)))
    return own.detach()


def score(model: VIPGuard, image: Tensor, own: Tensor) -> NDArray[np.float64]:
    with torch.no_grad():
        logits = answers(model, image, own.expand(len(image), -1, -1))
    return (logits[:, 0] - logits[:, 1]).double().numpy()


def similar(enrolled: Tensor, image: Tensor) -> NDArray[np.float64]:
    centre = F.normalize(F.normalize(enrolled.mean(1), dim=1).mean(0), dim=0)
    return (F.normalize(image.mean(1), dim=1) @ centre).double().numpy()


def main() -> None:
    torch.set_num_threads(1)
    table: dict[tuple[int, str, str], list[float]] = {}
    kept, turned, random_ones = [], [], []
    for seed in range(SEEDS):
        model, tokens = taught(seed)
        model.requires_grad_(False)
        before, start = checksum(model), tokens.mean(0)
        rng = np.random.default_rng(100 + seed)
        people, learned, tests = rng.random((PEOPLE, NUMBERS)), [], []
        for p in people:
            photos = maps(model, stack([drawn(p, rng) for _ in range(max(PHOTOS))]))
            seen = [negatives(p, KINDS[n % 3], rng) for n in range(90)]
            others, genuine = maps(model, stack(seen)), maps(model, stack([drawn(p, rng) for _ in range(30)]))
            wrong = {kind: maps(model, stack([negatives(p, kind, rng) for _ in range(30)])) for kind in KINDS}
            for n in PHOTOS:
                own = token_of(model, start, photos[:n], others)
                for kind, rest in wrong.items():
                    both, label = torch.cat([genuine, rest]), np.repeat([1, 0], 30)
                    table.setdefault((n, kind, "token"), []).append(auroc(label, score(model, both, own)))
                    table.setdefault((n, kind, "similarity"), []).append(auroc(label, similar(photos[:n], both)))
            learned.append(own)
            tests.append(genuine)
        for k, genuine in enumerate(tests):
            kept.append(float((score(model, genuine, learned[k]) > 0).mean()))
            turned.append(float((score(model, genuine, learned[(k + 1) % PEOPLE]) <= 0).mean()))
            random_ones.append(float((score(model, genuine, torch.randn(4, 32)) > 0).mean()))
        assert checksum(model) == before, "something besides the token moved"
    print(f"{SEEDS} encoders x {PEOPLE} people; mean AUROC and 2 standard errors over people")
    for n in PHOTOS:
        for kind in KINDS:
            a, b = (np.array(table[n, kind, name]) for name in ("token", "similarity"))
            gain = a - b
            error = 2 * gain.std(ddof=1) / len(gain) ** 0.5
            verdict = "gain" if gain.mean() - error > MARGIN else "no gain"
            both = f"token {a.mean():.3f}, similarity {b.mean():.3f}"
            print(f"{n:3} photos, {kind:12} {both}, difference {gain.mean():+.3f} +- {error:.3f}: {verdict}")
    print(f"own token says yes to {np.mean(kept):.2f} of genuine images, another's says no to {np.mean(turned):.2f}")
    print(f"a random token says yes to {np.mean(random_ones):.2f}")
    print("nothing but tokens moved (sha256 of all other tensors)")


if __name__ == "__main__":
    main()

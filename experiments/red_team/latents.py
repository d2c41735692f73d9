"""Searches on a manifold: counterfactual traces and attribute evasion beside their controls, on faces with known fakes.

    python experiments/red_team/latents.py FACES --out docs/tables/red-team-latents.md

FACES: a manifest of `unmask data extract`. Real crops, reduced to 64 x 64, train a manifold of 64 principal components
and three small detectors; a fake is a real crop with a copy of its middle, brighter by 8 levels and blurred, pasted with
a soft edge, so that the artefact's mask is known. All numbers are of test groups; intervals are Wilson's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.attacks.attribute_evasion import AttributeEvasion
from unmask.attacks.counterfactual import Counterfactual, trace
from unmask.base.attack import Logits
from unmask.data.manifest import Manifest
from unmask.imageops.degradation import jpeg
from unmask.measure.interval import wilson
from unmask.measure.metrics import auroc
from unmask.nn.manifold import principal_components, save

SIDE, COMPONENTS = 64, 64


def faces(path: Path, split: str, count: int) -> Tensor:
    manifest = Manifest(path)
    rows = manifest.table(["dataset", "relpath", "label", "split", "reason"]).to_pylist()
    rows = [r for r in rows if r["label"] == 0 and r["split"] == split and not r["reason"]][:count]
    images = [Image.open(manifest.file(r["dataset"], r["relpath"])).convert("RGB").resize((SIDE, SIDE)) for r in rows]
    return torch.from_numpy(np.stack([np.asarray(i) for i in images])).permute(0, 3, 1, 2).float() / 255


def soft_mask() -> Tensor:
    """(1, 1, S, S): an ellipse in the middle with a soft edge."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij")
    return ((0.55 - (x.square() + (y / 1.2).square()).sqrt()) * 12).sigmoid()[None, None]


def forged(image: Tensor) -> Tensor:
    mask = soft_mask()
    return ((1 - mask) * image + mask * (F.avg_pool2d(image, 3, 1, 1) + 8 / 255)).clamp(0, 1)


def detector(image: Tensor, seed: int) -> Logits:
    torch.manual_seed(seed)
    width, layers, inside = (12, 16, 24)[seed % 3], [], 3
    for k in range(3):
        layers += [nn.Conv2d(inside, width << k, 3, 2, 1), nn.BatchNorm2d(width << k), nn.ReLU()]
        inside = width << k
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, 2))
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(250):
        some = image[torch.randint(0, len(image), (32,))]
        x, y = torch.cat([some, forged(some)]), torch.arange(2).repeat_interleave(32)
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval().requires_grad_(False)


def rate(hit: Tensor) -> str:
    found = wilson(int(hit.sum()), len(hit))
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def fooled(net: Logits, image: Tensor) -> Tensor:
    return net(image).argmax(1) == 0


def through_jpeg(image: Tensor) -> Tensor:
    pixels = (image * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return torch.from_numpy(np.stack([jpeg(np.ascontiguousarray(p), 75) for p in pixels])).permute(0, 3, 1, 2) / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    known, test = faces(args.faces, "train", 500), faces(args.faces, "test", 200)
    manifold = args.out.with_suffix(".safetensors")
    space = principal_components(known, COMPONENTS)
    save(space, manifold)
    nets = [detector(known, seed) for seed in range(3)]
    fake = forged(test)
    scores = [torch.cat([net(test), net(fake)]) for net in nets]
    of = np.repeat([0, 1], len(test))
    lines = [
        "AUROC of the three detectors: " + ", ".join(f"{auroc(of, (s[:, 1] - s[:, 0]).numpy()):.3f}" for s in scores)
    ]

    net = nets[0]
    fake = fake[~fooled(net, fake)]
    label = torch.ones(len(fake), dtype=torch.long)
    lines += [
        f"Fakes that the first one finds: {len(fake)}.",
        "",
        "| counterfactual, budget 0.5 | flips |",
        "|---|---|",
    ]
    attack = Counterfactual(manifold=str(manifold), detail=False)
    moved = attack(net, fake, label, [0.5]).image[0]
    assert attack.inverted is not None
    inverted = attack.inverted
    stays = ~fooled(net, inverted)
    lines += [f"| inversion alone | {rate(fooled(net, inverted))} |"]
    lines += [f"| counterfactual, of those still fake when inverted | {rate(fooled(net, moved)[stays])} |"]
    w = space.encode(fake)
    far = (space.encode(moved) - w).norm(dim=1, keepdim=True)
    random = (space.decode(w + F.normalize(torch.randn_like(w)) * far)).clamp(0, 1)
    lines += [f"| random latent move as long, of those | {rate(fooled(net, random)[stays])} |", ""]

    kept = Counterfactual(manifold=str(manifold), detail=True)(net, fake, label, [0.5])
    edge = (soft_mask()[0, 0] * (1 - soft_mask()[0, 0]) * 4).flatten().numpy() > 0.5
    inner = soft_mask()[0, 0].flatten().numpy() > 0.5
    lines += ["| trace, AUROC over pixels | the edge | the whole region |", "|---|---|---|"]
    maps = {
        "counterfactual, detail kept": trace(fake, kept.image[0]),
        "counterfactual against inversion": trace(inverted, moved),
        "abs(x - inversion), the control": trace(fake, inverted),
    }
    for name, each in maps.items():
        found = [[auroc(where, m.flatten().numpy()) for m in each] for where in (edge, inner)]
        lines += [
            f"| {name} | "
            + " | ".join(f"{np.mean(f):.3f} ± {1.96 * np.std(f) / len(f) ** 0.5:.3f}" for f in found)
            + " |"
        ]

    lines += [
        "",
        "| attribute evasion of the third detector, length 2 | called real | after JPEG 75 |",
        "|---|---|---|",
    ]
    target = nets[2]
    some = forged(test)
    some = some[~fooled(target, some)]
    label = torch.ones(len(some), dtype=torch.long)
    w = space.encode(some)
    for name, learning, sources in (
        ("white box", "ensemble", [target]),
        ("one other detector", "ensemble", nets[:1]),
        ("two others, ensemble", "ensemble", nets[:2]),
        ("two others, meta", "meta", nets[:2]),
    ):
        steps = 50 if learning == "meta" else 75  # a meta step of two models draws three images, as 1.5 others
        evasion = AttributeEvasion(manifold=str(manifold), learning=learning, steps=steps, rate=0.05, adversarial=1.0)  # type: ignore[arg-type]
        evasion.models = list(sources)
        made = evasion(target, some, label, [2.0]).image[0]
        lines += [f"| {name} | {rate(fooled(target, made))} | {rate(fooled(target, through_jpeg(made)))} |"]
    rest = some - space.decode(w)
    random = (space.decode(w + 2 * F.normalize(torch.randn_like(w))) + rest).clamp(0, 1)
    lines += [
        f"| random latent move of length 2 | {rate(fooled(target, random))} | {rate(fooled(target, through_jpeg(random)))} |"
    ]
    lines += [f"| untouched start images, re-saved | 0 | {rate(fooled(target, through_jpeg(some)))} |"]
    args.out.write_text("# Searches on a manifold of faces\n\n" + "\n".join(lines) + "\n")
    print(args.out.read_text())


if __name__ == "__main__":
    main()

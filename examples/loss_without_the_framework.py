"""A loss of this package in a plain PyTorch loop: SimCLR's NT-Xent on handwritten digits, without labels.

    python examples/loss_without_the_framework.py --steps 300

No recipe, no manifest, no base class: two augmented views, an encoder, a loss, an optimiser. The encoder is then judged
by its nearest neighbours. Needs the extra `train` (PyTorch, scikit-learn).
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn
from torchvision.transforms import v2

from unmask.nn.contrastive import nt_xent


def digits() -> tuple[Tensor, Tensor]:
    """Images (N, 1, 16, 16) in 0..1, and their labels, which only the test looks at."""
    found = load_digits()
    image = torch.from_numpy(found.images).float().div(16).unsqueeze(1)
    return nn.functional.interpolate(image, 16), torch.from_numpy(found.target)


def accuracy(encoder: nn.Module, image: Tensor, label: Tensor) -> float:
    """Share of the last fifth that the five nearest of the others name correctly."""
    encoder.eval()
    with torch.no_grad():
        code = nn.functional.normalize(encoder(image), dim=1).numpy()
    encoder.train()
    cut = len(code) * 4 // 5
    return float(KNeighborsClassifier(5).fit(code[:cut], label[:cut]).score(code[cut:], label[cut:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    image, label = digits()

    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
    )  # fmt: skip
    head = nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 64))  # thrown away after pre-training
    view = v2.Compose([v2.RandomAffine(15, (0.1, 0.1), (0.8, 1.2)), v2.GaussianNoise(sigma=0.1)])
    optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=1e-3)

    print(f"before: {accuracy(encoder, image, label):.3f}")
    train = image[: len(image) * 4 // 5]
    for step in range(arguments.steps):
        batch = train[torch.randint(len(train), (256,))]
        one, other = (torch.stack([view(x) for x in batch]) for _ in range(2))
        loss = nt_xent(head(encoder(one)), head(encoder(other)), temperature=0.2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.3f}")
    print(f"after: {accuracy(encoder, image, label):.3f}")


if __name__ == "__main__":
    main()

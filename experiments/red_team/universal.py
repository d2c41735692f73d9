"""C-PGC's direct form on a published CLIP tower: one change for all photographs, beside three controls of its size.

    python experiments/red_team/universal.py --tower clip-vit-b-16 --text text_embeddings.npy --photos photos --out universal.json

ASR: photographs whose most similar caption changes, of photographs that the change never saw. Each control has the
same L-inf or RMS. The caption of a photograph is the one that it is most similar to when untouched.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from masterprints import Tower, photographs

from unmask.attacks.cpgc import CPGC, controls
from unmask.measure.interval import wilson


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tower", "text", "photos", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--unseen", type=int, default=48)
    args = parser.parse_args()
    tower, text = Tower(args.tower), torch.from_numpy(np.load(args.text)).float()
    photos = photographs(args.photos, args.unseen + 24)
    seen, unseen = photos[:24], photos[24:]

    def scores(image: torch.Tensor) -> torch.Tensor:
        return tower(image) @ text.T

    @torch.no_grad()
    def captions(image: torch.Tensor) -> torch.Tensor:
        return torch.cat([scores((part * 255).round() / 255).argmax(1) for part in image.split(8)])

    own, rows = captions(unseen), []
    for count in (4, 24):
        some, budget = seen[:count], 12 / 255
        attack = CPGC(steps=args.steps, batch=4, scales=())
        attack(scores, some, captions(some), [budget])
        assert attack.delta is not None
        tried = {"C-PGC": attack.delta} | (controls(attack.delta) if count == 24 else {})
        for name, delta in tried.items():
            flips = captions((unseen + delta).clamp(0, 1)) != own
            found = wilson(int(flips.sum()), len(flips))
            rows.append([name, count, found.value, found.low, found.high])
            print(rows[-1], flush=True)
    args.out.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()

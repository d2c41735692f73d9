"""Do attacked crops look different from untouched ones? Two tests, with thresholds from other people's images.

    python experiments/red_team/attack_signs.py faces.parquet --out signs

**Residue**: share of the energy of a crop's finest detail (what a Gaussian of one pixel takes away) in its highest
frequencies; an attack adds noise to every pixel, a photograph that was scaled has little left there. **Disagreement**:
by how many logits the score moves, on average, under noise of 2/255: an attack sits where the score is steep.
Thresholds are the 99 % quantile over untouched reals of the split `val`; false alarms are counted on those of `test` by
data set, detections on forged test crops that PGD and Square changed until they pass as real. For comparison: how many
of those the checks of a scan (JPEG 70, half size, mild blur) take back already.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from unmask.base.white_box import white_box
from unmask.bench.red_team_crops import boundary, cut
from unmask.bundles import load
from unmask.bundles.calibration import log_odds
from unmask.data.manifest import Manifest
from unmask.measure.interval import wilson
from unmask.registry import create
from unmask.scanning import checks
from unmask.scanning.verdict import decide
from unmask.types import Floats, Pixels

SIGMA, COPIES = 2.0, 4  # of 255; noisy copies of a crop
QUANTILE = 0.99  # of each test: together at most about 2 % false alarms on material like that of the thresholds
SOURCES = ("dfdc_faces224", "140k_stylegan256", "lfw_deepfunneled", "utkface_crop", "london_faces", "ffpp_c23_videos")
ATTACKS = (("pgd", {"steps": 10}, (1, 2)), ("square", {"steps": 300}, (4,)))
Score = Callable[[Pixels], Floats]


def residue(crop: Pixels) -> float:
    """log10 of the finest detail's energy above three quarters of the highest frequency, over that of the rest."""
    image = Image.fromarray(crop).convert("L")
    fine = np.asarray(image, np.float64) - np.asarray(image.filter(ImageFilter.GaussianBlur(1)), np.float64)
    power = np.abs(np.fft.fft2(fine * np.outer(*(np.hanning(n) for n in fine.shape)))) ** 2
    y, x = (np.abs(np.fft.fftfreq(n)) for n in fine.shape)
    high = np.maximum(y[:, None], x[None]) > 0.375
    return float(np.log10((power[high].sum() + 1e-9) / (power[~high].sum() + 1e-9)))


def disagreement(crops: Pixels, score: Score, seed: int = 0) -> Floats:
    """(N,): mean distance of the scores of noisy copies from that of the crop, in logits."""
    rng = np.random.default_rng(seed)
    before = score(crops)
    moved = []
    for _ in range(COPIES):
        noisy = np.clip(np.round(crops + rng.normal(0, SIGMA, crops.shape)), 0, 255).astype(np.uint8)
        moved.append(np.abs(score(noisy) - before))
    return np.mean(moved, axis=0)


def taken_back(crops: Pixels, score: Score, calibration: object) -> int:
    """How many verdicts "real" the checks of a scan take back."""
    before, after = score(crops), {how: score(checks.changed(crops, how)) for how in checks.CHANGES}
    count = 0
    for i, x in enumerate(before):
        shifts = {how: float(scores[i] - x) for how, scores in after.items()}
        turns = checks.unstable(calibration, float(x), shifts, 0.1, 1)  # type: ignore[arg-type]
        count += decide(calibration, float(x), 0.1)[0] == "real" and bool(turns)  # type: ignore[arg-type]
    return count


def passing(name: str, options: dict[str, int], eps: int, fakes: Pixels, score: Score, threshold: float) -> Pixels:
    """The forged crops that pass as real once attacked within eps / 255."""
    attack = create("attack", name, options)
    inner = white_box("embedded")

    def by_gradient(image: torch.Tensor) -> torch.Tensor:
        return inner(image) - torch.tensor([0.0, threshold])

    def by_score(image: torch.Tensor) -> torch.Tensor:
        odds = score((image * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()) - threshold
        return torch.tensor(np.stack([np.zeros_like(odds), odds], 1)).float()

    made = []
    for n in range(0, len(fakes), 16):
        image = torch.from_numpy(fakes[n : n + 16]).permute(0, 3, 1, 2).float().contiguous() / 255
        label = torch.ones(len(image), dtype=torch.long)
        found = attack(by_score if attack.black_box else by_gradient, image, label, [eps / 255])
        made.append((found.image[0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
    crops = np.concatenate(made)
    return crops[score(crops) < threshold]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reals", type=int, default=60, help="of each data set")
    parser.add_argument("--fakes", type=int, default=48)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    manifest, scorer = Manifest(args.crops), load("embedded")
    threshold, calibration = boundary(scorer.card), scorer.card.calibration
    rows = [r for r in manifest.table(list(manifest.arrow_schema.names)).to_pylist() if not r["reason"]]
    rows.sort(key=lambda r: str(hash_of(r["item_id"])))

    def score(crops: Pixels) -> Floats:
        return log_odds(scorer.logits(crops), scorer.card.classes)

    def signs(crops: Pixels) -> dict[str, Floats]:
        return {"residue": np.array([residue(c) for c in crops]), "disagreement": disagreement(crops, score)}

    def chosen(split: str, label: int, dataset: str, most: int) -> Pixels | None:
        found = [r for r in rows if (r["split"], r["label"], r["dataset"]) == (split, label, dataset)][:most]
        return cut(manifest, found, scorer.card) if found else None

    known = [c for name in SOURCES if (c := chosen("val", 0, name, args.reals)) is not None]
    limits = {name: float(np.quantile(values, QUANTILE)) for name, values in signs(np.concatenate(known)).items()}
    lines = [f"limits {limits}, from {sum(map(len, known))} reals"]
    alarms, total = 0, 0

    def flagged(found: dict[str, Floats]) -> dict[str, np.ndarray]:
        each = {name: values > limits[name] for name, values in found.items()}
        return each | {"either": each["residue"] | each["disagreement"]}

    def told(what: str, crops: Pixels) -> np.ndarray:
        hit = flagged(signs(crops))
        lines.append(f"{what}: {len(crops)}; " + ", ".join(f"{name} {int(h.sum())}" for name, h in hit.items()))
        print(lines[-1], flush=True)
        return hit["either"]

    for name in SOURCES:
        crops = chosen("test", 0, name, args.reals)
        if crops is not None:
            hit = told(f"untouched {name}", crops)
            alarms, total = alarms + int(hit.sum()), total + len(hit)
    lines.append(f"untouched together: {alarms} of {total}, 95 % interval {wilson(alarms, total)}")
    fakes = chosen("test", 1, "dfdc_faces224", args.fakes)
    assert fakes is not None
    fakes = fakes[score(fakes) > threshold]
    told("forged, untouched", fakes)
    for name, options, budgets in ATTACKS:
        for eps in budgets:
            crops = passing(name, options, eps, fakes, score, threshold)
            if len(crops):
                told(f"{name} {eps}/255, passing of {len(fakes)}", crops)
                states = [decide(calibration, float(x), 0.1)[0] for x in score(crops)]  # type: ignore[arg-type]
                back = taken_back(crops, score, calibration)
                lines.append(f"  verdict real: {states.count('real')}, of which the checks take back {back}")
                print(lines[-1], flush=True)
    (args.out / "signs.txt").write_text("\n".join(lines) + "\n", "utf-8")
    (args.out / "limits.json").write_text(json.dumps(limits), "utf-8")


def hash_of(name: str) -> str:
    """An order that does not depend on the manifest's."""
    return hashlib.sha256(name.encode()).hexdigest()


if __name__ == "__main__":
    main()

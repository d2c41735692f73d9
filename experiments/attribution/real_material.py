"""Attribution on real material: what a linear model on spectra reaches, what file metadata alone reach, and prompts.

    python experiments/attribution/real_material.py FOLDER... --cache features.npz

Folders hold <set>/<real|fake>/<method>/<group>/<file>; of each method at most 120 files, at most 6 of a group. All
images go through one common step (centre square, 128 px, JPEG 75) before anything but metadata is read from them.
"""

from __future__ import annotations

import argparse
import hashlib
import io
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

from unmask.detectors.dflip import evidential_loss, uncertainty
from unmask.measure.attribution import open_set_auroc
from unmask.measure.class_units import ClassUnits
from unmask.measure.classes import numbers
from unmask.measure.interval import bootstrap
from unmask.measure.metrics import share
from unmask.measure.prompts import folds, predicted
from unmask.measure.spectrum import radial_spectrum

MOST, OF_A_GROUP, SIDE = 120, 6, 128
KNOWN = (
    "dfdc_mixed_swap",
    "Deepfakes",
    "stylegan",
    "stylegan2",
    "stable_diffusion_1",
    "latent_diffusion",
    "dalle_mini",
)
UNKNOWN = (
    "Face2Face", "FaceSwap", "expert_photoshop", "stylegan2_attribute_edit", "stable_diffusion_21", "glid3xl",
    "simulacra_pixray",
)  # fmt: skip
PROMPTED = "t2i2022_nine_generators"
HOLD_OUTS, STEPS = 5, 300


def listed(folders: list[Path]) -> list[tuple[Path, str, str, str]]:
    """File, method, group, set; evenly by hash, so that no order of a disk decides."""
    found: dict[str, list[tuple[Path, str, str, str]]] = defaultdict(list)
    for root in folders:
        for path in root.glob("*/fake/*/*/*"):
            name, _, method, group = path.relative_to(root).parts[:4]
            if method in (*KNOWN, *UNKNOWN):
                found[method].append((path, method, f"{name}/{group}", name))
    kept = []
    for rows in found.values():
        count: dict[str, int] = defaultdict(int)
        for row in sorted(rows, key=lambda r: hashlib.sha256(r[0].name.encode()).digest()):
            count[row[2]] += 1
            if count[row[2]] <= OF_A_GROUP and sum(min(n, OF_A_GROUP) for n in count.values()) <= MOST:
                kept.append(row)
    return kept


def opened(path: Path) -> Image.Image:
    if path.suffix.lower() in (".mp4", ".avi"):
        video = cv2.VideoCapture(str(path))
        video.set(cv2.CAP_PROP_POS_FRAMES, 30)
        _, frame = video.read()
        return Image.fromarray(frame[..., ::-1])
    return Image.open(path)


def features(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Spectrum and colours after the common step; a thumbnail; metadata of the file as it lies there."""
    image = opened(path)
    quantiser = sum(sum(t) for t in getattr(image, "quantization", {}).values())
    meta = [image.width, image.height, path.stat().st_size / (image.width * image.height), quantiser]
    side = min(image.size)
    box = ((image.width - side) // 2, (image.height - side) // 2)
    square = (
        image.convert("RGB").crop((*box, box[0] + side, box[1] + side)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    )
    held = io.BytesIO()
    square.save(held, "JPEG", quality=75)
    pixels = np.asarray(Image.open(held))
    colours = np.concatenate([pixels.mean((0, 1)), pixels.std((0, 1))])
    small = np.asarray(square.resize((8, 8), Image.Resampling.BOX), np.float64).ravel()
    return np.concatenate([radial_spectrum(pixels), colours]), small, np.array(meta, np.float64)


def gathered(folders: list[Path], cache: Path) -> dict[str, NDArray[np.generic]]:
    if not cache.exists():
        rows = listed(folders)
        columns = zip(*(features(path) for path, *_ in rows), strict=True)
        spectrum, small, meta = (np.stack(c) for c in columns)
        method, group, of = (np.array([r[i] for r in rows]) for i in (1, 2, 3))
        np.savez(cache, spectrum=spectrum, small=small, meta=meta, method=method, group=group, set=of)
    return dict(np.load(cache, allow_pickle=False))


def tested(group: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Two fifths of the groups, by hash."""
    return np.array([hashlib.sha256(g.encode()).digest()[0] < 102 for g in group.tolist()])


def attribution(held: dict[str, NDArray[np.generic]]) -> None:
    method, group = held["method"].astype(str), held["group"].astype(str)
    test, known = tested(group), np.isin(method, KNOWN)
    spectrum, meta = held["spectrum"].astype(float), held["meta"].astype(float)
    inside = held["set"].astype(str) == PROMPTED
    for title, rows in (("all sets", np.ones(len(method), bool)), ("one set, shared prompts", inside)):
        here = tuple(sorted(set(method[rows & known].tolist())))
        print(f"{title}: {', '.join(here)} known; {int((rows & test).sum())} test images")
        for name, x in (("spectrum and colours", spectrum), ("metadata alone", meta)):
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.3))
            model.fit(x[rows & known & ~test], method[rows & known & ~test])
            logits = np.atleast_2d(model.decision_function(x[rows & test]))
            if len(model.classes_) == 2:
                logits = np.stack([-logits[0], logits[0]], 1) / 2
            units = ClassUnits(logits, method[rows & test], group[rows & test], group[rows & test], method[rows & test])
            for one in numbers(units, tuple(model.classes_)):
                if one.name in ("balanced accuracy", "open-set AUROC", "NMI"):
                    print(
                        f"  {name:22} {one.name:18} {one.found.value:.3f} [{one.found.low:.3f}, {one.found.high:.3f}]"
                    )


def open_set(held: dict[str, NDArray[np.generic]]) -> None:
    """Evidential uncertainty against 1 - the largest softmax, for families left out; five draws of them."""
    method, group = held["method"].astype(str), held["group"].astype(str)
    x = held["spectrum"].astype(float)
    test, names, gains = tested(group), sorted(set(method.tolist())), []
    for draw in range(HOLD_OUTS):
        out = np.random.default_rng(draw).choice(names, 5, replace=False)
        known, classes = ~np.isin(method, out), [n for n in names if n not in out]
        train = known & ~test
        z = torch.from_numpy(((x - x[train].mean(0)) / (x[train].std(0) + 1e-6)).astype(np.float32))
        y = torch.tensor([classes.index(m) if m in classes else 0 for m in method.tolist()])
        found = {}
        for kind in ("evidence", "softmax"):
            torch.manual_seed(draw)
            net = nn.Sequential(nn.Linear(z.shape[1], 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, len(classes)))
            optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01)
            rows = torch.from_numpy(np.flatnonzero(train))
            for _ in range(STEPS):
                some = rows[torch.randint(len(rows), (64,))]
                logits = net(z[some])
                alpha = 1 + F.softplus(logits)
                evidence = evidential_loss(alpha, y[some], torch.ones_like(alpha))
                loss = (
                    F.cross_entropy(logits, y[some])
                    if kind == "softmax"
                    else evidence + 0.1 * F.cross_entropy(logits, y[some])
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                logits = net.eval()(z[torch.from_numpy(test)])
            sure = 1 - uncertainty(1 + F.softplus(logits)) if kind == "evidence" else logits.softmax(1).max(1).values
            found[kind] = open_set_auroc(known[test], sure.numpy())
        gains.append(found["evidence"] - found["softmax"])
        print(f"  without {', '.join(out)}: evidence {found['evidence']:.3f}, softmax {found['softmax']:.3f}")
    print(f"  evidence less softmax: mean {np.mean(gains):+.3f}, above 0 in {sum(g > 0 for g in gains)} of {HOLD_OUTS}")


def prompts(held: dict[str, NDArray[np.generic]]) -> None:
    """The prompt's words are the folder's slug: truncated, but the same words for all images of a prompt."""
    inside = held["set"].astype(str) == PROMPTED
    slug = [
        g.partition("/")[2].rpartition("-")[0].replace("-", " ") for g in held["group"].astype(str)[inside].tolist()
    ]
    x = np.concatenate([held["spectrum"], held["small"] / 32], 1)[inside].astype(float)
    code = np.unique(slug, return_inverse=True)[1]
    print(f"  {len(slug)} images of {len(set(slug))} prompts")
    for title, fold in (("random split", folds(np.arange(len(slug)), 5)), ("by prompt", folds(code, 5))):
        got = predicted(x, slug, fold)
        for name in ("copied", "learned", "shuffled"):
            f1 = getattr(got, name)
            b = bootstrap(share, np.zeros(len(f1), int), f1, code)
            print(f"  {title:13} {name:9} F1 {b.value:.3f} [{b.low:.3f}, {b.high:.3f}]")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    held = gathered(asked.folders, asked.cache)
    print({m: int((held["method"] == m).sum()) for m in sorted(set(held["method"].tolist()))})
    attribution(held)
    open_set(held)
    prompts(held)


if __name__ == "__main__":
    main()

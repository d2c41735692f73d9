"""What CLIP says separates the real and the forged test crops of a manifest, with a planted bias beside it.

    python experiments/explanations/residual_words.py crops.parquet --encoder FOLDER --texts texts.npy --words words.txt

FOLDER: what `unmask pull clip-vit-b-16` left. texts.npy: (V, 512) text embeddings of the same CLIP; words.txt: their V
words, one a line. Planted: nine of ten forged crops get a blue border, an eighth of the side wide.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from unmask.data.fitting import read
from unmask.data.manifest import Manifest
from unmask.measure.metrics import auroc
from unmask.measure.residual_words import residual_words, unit, without, word_scores
from unmask.types import Pixels

SIDE, BLUE = 224, (30, 60, 200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--words", type=Path, required=True)
    parser.add_argument("--dataset", default="dfdc_faces224")
    parser.add_argument("--each", type=int, default=60, help="crops of each class")
    parser.add_argument("--cache", type=Path, default=Path("residual.npz"))
    asked = parser.parse_args()
    if not asked.cache.exists():
        crops, label, group = chosen(asked.manifest, asked.dataset, asked.each)
        bias = np.array([y == 1 and i % 10 != 9 for i, y in enumerate(label)])
        planted = np.where(bias[:, None, None, None], bordered(crops), crops)
        np.savez(
            asked.cache, plain=embedded(crops, asked.encoder), planted=embedded(planted, asked.encoder, bias),
            label=label, group=group, bias=bias,
        )  # fmt: skip
    held = np.load(asked.cache)
    planted = np.where(held["bias"][:, None], held["planted"], held["plain"])
    texts, words = np.load(asked.texts), asked.words.read_text("utf-8").split("\n")[:-1]
    for name, x in (("as they are", held["plain"]), ("with a planted border", planted)):
        found = residual_words(x, held["label"], held["group"], texts, words)
        best = ", ".join(f"{w.word} {w.score:+.2f} (p {w.p:.3f})" for w in found.all[:5])
        print(f"{name}: {found}")
        print(f"  strongest: {best}; separation {found.separation:.3f}, p {found.separation_p:.3f}")
        if found.words:
            axis = unit(texts.astype(np.float64) - texts.astype(np.float64).mean(0))[words.index(found.words[0].word)]
            before, after = unit(x) @ axis, without(unit(x), axis)
            print(f"  AUROC along {found.words[0].word!r}: {auroc(held['label'], before):.3f}")
            scores = word_scores(unit(after[held["label"] == 1].mean(0) - after[held["label"] == 0].mean(0)), texts)
            print(f"  strongest word without it: {words[int(np.abs(scores).argmax())]}")


def chosen(path: Path, dataset: str, each: int) -> tuple[Pixels, Any, Any]:
    """Test crops by the order of their hash, reals and fakes in turn."""
    manifest = Manifest(path)
    columns = ("item_id", "dataset", "split", "label", "group_id", "relpath", "reason")
    rows = [r for r in manifest.table(columns).to_pylist() if r["dataset"] == dataset and r["split"] == "test"]
    rows = sorted(rows, key=lambda r: hashlib.sha256(r["item_id"].encode()).digest())
    sides = [[r for r in rows if r["label"] == y and not r["reason"]][:each] for y in (0, 1)]
    picked = [row for both in zip(*sides, strict=False) for row in both]
    crops = [Image.fromarray(read(manifest.file(dataset, r["relpath"]), r["item_id"])) for r in picked]
    small = np.stack([np.asarray(c.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for c in crops])
    return small, np.array([r["label"] for r in picked]), np.array([r["group_id"] for r in picked])


def bordered(crops: Pixels) -> Pixels:
    out, edge = crops.copy(), SIDE // 8
    for part in (np.s_[:, :edge], np.s_[:, -edge:], np.s_[:, :, :edge], np.s_[:, :, -edge:]):
        out[part] = BLUE
    return out


@torch.inference_mode()
def embedded(crops: Pixels, folder: Path, which: Any = None) -> Any:
    """(N, 512); zeros where `which` is false."""
    from transformers import CLIPVisionModelWithProjection

    model = CLIPVisionModelWithProjection.from_pretrained(str(folder), local_files_only=True).eval()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (
        (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711),
    ))  # fmt: skip
    out = np.zeros((len(crops), 512), np.float32)
    for i in range(len(crops)):
        if which is None or which[i]:
            x = torch.from_numpy(crops[i]).movedim(-1, 0)[None].float() / 255
            out[i] = model((x - mean) / std).image_embeds[0].numpy()
    return out


if __name__ == "__main__":
    main()

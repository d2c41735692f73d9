"""CLIPMasterPrints on a published CLIP tower: mined images against photographs, with controls and the mitigation.

    python experiments/red_team/masterprints.py --tower clip-vit-b-16 --text text_embeddings.npy --photos photos \
        --out masterprints --steps 60 --queries 400

TOWER is what `unmask pull` leaves: config.json and model.safetensors. TEXT: (C, D) unit embeddings of captions. Each
image is saved as PNG, read again, and scored then. A photograph's own caption is the one of all most similar to it, the
strictest choice. Aimed at are the captions that are most photographs' own. Parts that are done are kept in
OUT/parts.json, so that the command can be repeated.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.attacks.clipmasterprints import ClipMasterPrints, gap, outscored, weakest, without_gap
from unmask.base.attack import project
from unmask.nn.cosine import low_frequencies

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
EPS = 15 / 255


class Tower(nn.Module):
    """(B, 3, 224, 224) in 0..1 -> unit embeddings (B, D), as those of the captions are."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from safetensors.torch import load_file
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        self.body = CLIPVisionModelWithProjection(CLIPVisionConfig.from_pretrained(folder))
        state = {k: v.float() for k, v in load_file(folder / "model.safetensors").items()}
        missing = self.body.load_state_dict(state, strict=False).missing_keys
        assert not [k for k in missing if not k.endswith("position_ids")], missing
        self.body.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        mean, std = (image.new_tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
        return F.normalize(self.body(pixel_values=(image - mean) / std).image_embeds)


def photographs(folder: Path, count: int) -> Tensor:
    """The middle square of the first `count` files by name, 224 x 224."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))[:count]
    images = [ImageOps.fit(Image.open(p).convert("RGB"), (224, 224), Image.Resampling.BICUBIC) for p in paths]
    return torch.from_numpy(np.stack([np.asarray(i) for i in images])).permute(0, 3, 1, 2).float() / 255


def embedded(tower: Tower, image: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([tower(part) for part in image.split(8)])


def saved(image: Tensor, path: Path) -> Tensor:
    """As a marked PNG, and read again."""
    said = PngInfo()
    said.add_text("unmask", "made by an attack on an image-text model, for measuring it")
    Image.fromarray((image[0] * 255).round().byte().permute(1, 2, 0).numpy()).save(path, pnginfo=said)
    return torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1)[None].float() / 255


def random_search(scores: Callable[[Tensor], Tensor], start: Tensor, label: Tensor, queries: int, seed: int) -> Tensor:
    """As many queries in the same low frequencies, each drawn anew."""
    draw = torch.Generator().manual_seed(seed)
    best, highest = start, -1.0
    for _ in range(queries):
        z = 0.5 * torch.randn(1, 3, 5, 5, generator=draw)
        tried = (start + project(EPS * low_frequencies(z, 224, 224), "linf", EPS)).clamp(0, 1)
        with torch.no_grad():
            value = float(weakest(scores(tried), label)[0])
        if value > highest:
            best, highest = tried, value
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tower", "text", "photos", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--captions", type=int, default=20)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    tower, every = Tower(args.tower), torch.from_numpy(np.load(args.text)).float()
    photos = photographs(args.photos, args.count + 1)
    start, photos = photos[:1], photos[1:]
    cache = args.out / "photos.npy"
    if not cache.exists():
        np.save(cache, embedded(tower, photos).numpy())
    photo = torch.from_numpy(np.load(cache))
    apart = gap(photo, every)
    label = (photo @ every.T).argmax(1)
    order = torch.bincount(label, minlength=len(every)).argsort(descending=True, stable=True)
    chosen = order[: args.captions]
    aimed, hit = every[chosen], torch.isin(label, chosen)
    nobody = torch.full((1,), len(aimed))  # a column that no caption has: all captions are aimed at

    def scores(image: Tensor, weight: float = 0.0) -> Tensor:
        """To the captions aimed at, with a column for `nobody`; through the shift where it is on."""
        image, text = without_gap(tower(image), aimed, apart, weight) if weight else (tower(image), aimed)
        found = image @ text.T
        return torch.cat([found, torch.full_like(found[:, :1], 2.0)], 1)

    def row(name: str, image: Tensor) -> dict[str, float | str]:
        """Similarities and outscored photographs, plain and through the shift of 0.25, of the file that was saved."""
        mine = tower(saved(image, args.out / f"{name}.png"))
        found: dict[str, float | str] = {"image": name}
        for what, weight in (("plain", 0.0), ("shifted", 0.25)):
            one, words = without_gap(mine, every, apart, weight) if weight else (mine, every)
            many = without_gap(photo, every, apart, weight)[0] if weight else photo
            similar, theirs = (one @ words.T)[0], (many @ words.T).gather(1, label[:, None])[:, 0]
            found[f"{what} POI, aimed"] = outscored(similar, theirs[hit], label[hit])
            found[f"{what} POI, others"] = outscored(similar, theirs[~hit], label[~hit])
            found[f"{what} mean, aimed"] = float(similar[chosen].mean())
            found[f"{what} least, aimed"] = float(similar[chosen].min())
        return found

    def mined(miner: str, budget: float, steps: int, weight: float = 0.0) -> Tensor:
        attack = ClipMasterPrints(miner=miner, steps=steps)  # type: ignore[arg-type]
        return attack(lambda x: scores(x, weight), start, nobody, [budget]).image[0]

    parts: dict[str, Callable[[], Tensor]] = {
        "photograph": lambda: start,
        "noise": lambda: torch.rand(start.shape, generator=torch.Generator().manual_seed(0)),
        "pgd": lambda: mined("pgd", EPS, args.steps),
        "pgd-adaptive": lambda: mined("pgd", EPS, args.steps, 0.25),
        "cma": lambda: mined("cma", EPS, args.queries),
        "random-search": lambda: random_search(scores, start, nobody, args.queries, 0),
        "sgd": lambda: mined("sgd", 1.0, args.steps),
    }
    kept = args.out / "parts.json"
    done = json.loads(kept.read_text()) if kept.exists() else []
    for name, make in parts.items():
        if name not in {d["image"] for d in done}:
            done.append(row(name, make()))
            kept.write_text(json.dumps(done, indent=1))
            print(done[-1], flush=True)
    names = [k for k in done[0] if k != "image"]
    print(f"{int(hit.sum())} of {len(hit)} photographs have an own caption that is aimed at")
    print("| image | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|")
    for d in done:
        print(f"| {d['image']} | " + " | ".join(f"{d[n]:.3f}" for n in names) + " |")


if __name__ == "__main__":
    main()

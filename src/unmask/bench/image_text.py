"""What an image and a text encoder can do without further training: retrieval, zero-shot classification, similarity.

A model is a run of an image-text or text objective, what `unmask export` made of one, or a folder in transformers'
layout: a whole CLIP, or a text encoder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.base.objective import Objective
from unmask.data.images import ImageSet
from unmask.data.loader import FaceSet
from unmask.data.manifest import Manifest
from unmask.errors import BundleError, InputError, ManifestError
from unmask.measure import embeddings, retrieval, similarity
from unmask.nn.text import TextEncoder, TextSpec
from unmask.nn.two_towers import CARD, load
from unmask.tasks.loading import batches
from unmask.train.loop import restored
from unmask.train.run import RECIPE
from unmask.types import InputSpec

ROUNDS = 1000
PLACE = "{}"  # of the class's name in a prompt
Float64s = NDArray[np.float64]


@dataclass(frozen=True)
class Model:
    """
    Attributes:
        images: (B, 3, S, S) RGB in 0..1 -> (B, D), None for a text encoder; texts: B sentences -> (B, D).
        input: what images must look like.
    """

    name: str
    images: Callable[[Tensor], Tensor] | None
    texts: Callable[[Sequence[str]], Tensor]
    input: InputSpec


@dataclass(frozen=True)
class Number:
    """A number, and the 95 % interval of resampled images, or of resampled pairs."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Result:
    """
    Attributes:
        data: digest of the manifest; rows: images or pairs that were asked about.
        numbers: by name; plain: those without an interval.
    """

    model: str
    data: str
    split: str
    rows: int
    numbers: dict[str, Number]
    plain: dict[str, float]


def open_model(source: Path) -> Model:
    """Raises: UnmaskError for a folder that is none of these, or whose model reads no sentences."""
    if (source / RECIPE).is_file():
        method, recipe = restored(source)
        if not isinstance(method, Objective) or "text" not in method.modalities:
            raise BundleError(f"{source} trained {recipe.method}, which reads no sentences")
        return Model(recipe.name, method if "image" in method.modalities else None, method, method.input)
    if (source / CARD).is_file():
        towers = load(source)
        return Model(source.name, towers.images, towers.texts, towers.input)
    try:
        kind = json.loads((source / "config.json").read_bytes()).get("model_type")
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{source} is no run, no export of one, and no model in transformers' layout: {error}"
        ) from None
    if kind == "clip":
        return _published_clip(source)
    encoder = TextEncoder(TextSpec(encoder=str(source), length=128, pool=_pool(source))).eval()
    return Model(source.name, None, encoder, InputSpec())


def _pool(folder: Path) -> Any:
    """How sentence-transformers pools its tokens, where the folder says so; the mean otherwise."""
    path = folder / "1_Pooling" / "config.json"
    held = json.loads(path.read_bytes()) if path.is_file() else {}
    return "first" if held.get("pooling_mode_cls_token") else "mean"


def _published_clip(folder: Path) -> Model:
    from transformers import CLIPModel

    from unmask.data import tokens
    from unmask.nn.backbones import CLIP

    model: Any = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    model.eval()
    tokeniser, config = tokens.load(folder), model.config
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in CLIP)

    def images(image: Tensor) -> Tensor:
        found: Tensor = model.visual_projection(model.vision_model(pixel_values=(image - mean) / std).pooler_output)
        return found

    def texts(said: Sequence[str]) -> Tensor:
        ids, mask = tokeniser(said, config.text_config.max_position_embeddings)
        given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask).long()}
        found: Tensor = model.text_projection(model.text_model(**given).pooler_output)
        return found

    return Model(folder.name, images, texts, InputSpec(size=config.vision_config.image_size, margin=1.3))


def evaluate_retrieval(model: Model, manifest: Path, *, split: str = "test", batch: int = 64) -> Result:
    """R@1, 5 and 10 of both directions over the captioned images of a split, and the gap between both modalities.

    Raises: UnmaskError for a model without images, and a split without captions.
    """
    table, where = _rows(manifest, split, lambda t: np.array([bool(c) for c in _captions(t)], bool))
    z, row = image_embeddings(model, manifest, where, batch)
    captions = [_captions(table)[i] for i in row]
    owner = np.repeat(np.arange(len(captions)), [len(c) for c in captions])
    t = text_embeddings(model, [text for said in captions for text in said], batch)
    cosine = embeddings.unit(z) @ embeddings.unit(t).T
    right = owner[None] == np.arange(len(z))[:, None]
    there, back = retrieval.ranks(cosine, right), retrieval.ranks(cosine.T, right.T)
    numbers = {}
    for k in (1, 5, 10):
        numbers[f"image_to_text_r{k}"] = _interval(there < k, np.arange(len(z)))
        numbers[f"text_to_image_r{k}"] = _interval(back < k, owner)
    first = t[np.searchsorted(owner, np.arange(len(z)))]
    plain = {"captions": float(len(t)), "centroid_distance": embeddings.centroid_distance(z, first)}
    if len(z) >= 10:
        plain["separability"] = embeddings.separability(z, first)
    return Result(model.name, Manifest(manifest).digest, split, len(z), numbers, plain)


def evaluate_similarity(model: Model, manifest: Path, *, split: str = "test", batch: int = 64) -> Result:
    """Spearman's correlation of cosines with people's scores; and what is left of it without length and shared words.

    Raises: UnmaskError for a manifest of other rows, and a split without scored pairs.
    """
    if Manifest(manifest).kind != "sentences":
        raise ManifestError(f"{manifest} lists no sentences: index pairs with `unmask data index sts_b` or sentences")
    known = lambda t: t["score"].is_valid().to_numpy() & np.array([bool(o) for o in t["other"].to_pylist()])  # noqa: E731
    table, where = _rows(manifest, split, known)
    held = table.take(pa.array(np.flatnonzero(where)))
    one, other = held["text"].to_pylist(), held["other"].to_pylist()
    gold = held["score"].to_numpy().astype(np.float64)
    a, b = (embeddings.unit(text_embeddings(model, side, batch)) for side in (one, other))
    cosine, control = (a * b).sum(1), similarity.surface(one, other)
    rng, count = np.random.default_rng(0), len(gold)
    draws = [rng.integers(count, size=count) for _ in range(ROUNDS)]
    numbers = {}
    for name, controls in (("spearman", ()), ("spearman_controlled", control)):
        value = similarity.partial_spearman(gold, cosine, controls)
        again = [similarity.partial_spearman(gold[i], cosine[i], [c[i] for c in controls]) for i in draws]
        low, high = np.nanquantile(again, (0.025, 0.975))
        numbers[name] = Number(value, float(low), float(high))
    plain = {"spearman_of_shared_words": similarity.spearman(gold, control[1])}
    return Result(model.name, Manifest(manifest).digest, split, count, numbers, plain)


def evaluate_zero_shot(
    model: Model,
    manifest: Path,
    prompts: Mapping[str, Sequence[str]],
    column: str,
    *,
    split: str = "test",
    batch: int = 64,
) -> Result:
    """Each image's class is the one whose prompts' mean embedding is the nearest. Accuracy, balanced and plain.

    Args:
        prompts: class -> sentences about it; the unit embeddings of one class are averaged (Radford et al., 2021).
        column: of the manifest, or "extra.name", that holds the classes; `label` reads real and fake.
    Raises: UnmaskError where no row has one of the classes.
    """
    if len(prompts) < 2 or not all(prompts.values()):
        raise InputError("zero-shot needs two classes or more, with a prompt for each")
    names = list(prompts)
    table, where = _rows(manifest, split, lambda t: np.isin(classes(t, column), names))
    z, row = image_embeddings(model, manifest, where, batch)
    truth = classes(table, column)[row]
    said = [embeddings.unit(text_embeddings(model, list(prompts[name]), batch)).mean(0) for name in names]
    predicted = np.array(names)[(embeddings.unit(z) @ embeddings.unit(np.stack(said)).T).argmax(1)]
    present = np.unique(truth)
    hits = predicted == truth
    plain = {f"recall {name}": float(hits[truth == name].mean()) for name in present}
    plain |= {"balanced_accuracy": float(np.mean([hits[truth == n].mean() for n in present])), "chance": 1 / len(names)}
    group = table["group_id"].take(pa.array(row)).to_pylist()
    codes = np.unique(group, return_inverse=True)[1]
    return Result(model.name, Manifest(manifest).digest, split, len(z), {"accuracy": _interval(hits, codes)}, plain)


def read_prompts(path: Path) -> dict[str, list[str]]:
    """JSON {"class": ["a photo of a cat", ...]}, or {"templates": ["a photo of a {}"], "classes": ["cat", ...]}.

    Raises: UnmaskError for another form.
    """
    try:
        held = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the prompts {path}: {error}") from None
    if isinstance(held, dict) and held.keys() == {"templates", "classes"}:
        held = {str(c): [str(t).replace(PLACE, str(c)) for t in held["templates"]] for c in held["classes"]}
    if not isinstance(held, dict) or not all(
        isinstance(v, list) and v and all(isinstance(t, str) for t in v) for v in held.values()
    ):
        raise InputError(f'{path} must hold {{"class": ["prompt", ...]}}, or {{"templates": [...], "classes": [...]}}')
    return held


def classes(table: pa.Table, column: str) -> NDArray[np.str_]:
    """(N,) the class of each row, "" = none. Raises: UnmaskError for a column that is not there."""
    if column.startswith("extra."):
        key = column.removeprefix("extra.")
        return np.array([dict(e or ()).get(key, "") for e in table["extra"].to_pylist()], str)
    if column not in table.column_names:
        raise InputError(f"the manifest has no column {column!r}; extra values are named extra.key")
    if column == "label":
        return np.array(["" if v is None else ("real", "fake")[v] for v in table[column].to_pylist()], str)
    return np.array([str(v or "") for v in table[column].to_pylist()], str)


@torch.inference_mode()
def image_embeddings(
    model: Model, manifest: Path, where: NDArray[np.bool_], batch: int = 64
) -> tuple[Float64s, NDArray[np.int32]]:
    """(N, D) of the chosen rows that have an image, and their rows (N,)."""
    if model.images is None:
        raise InputError(f"{model.name} is a text encoder, and sees no images")
    kind = ImageSet if Manifest(manifest).kind == "media" else FaceSet
    images = kind(manifest, model.input, where=where)
    keys = [list(range(i, min(i + batch, len(images)))) for i in range(0, len(images), batch)]
    found = [model.images(part.image).double().numpy() for part in batches(images, keys)]
    if not found:
        raise ManifestError(f"{manifest} has no images among the chosen rows")
    return np.concatenate(found), images.row


@torch.inference_mode()
def text_embeddings(model: Model, texts: Sequence[str], batch: int = 64) -> Float64s:
    """(N, D)."""
    return np.concatenate([model.texts(texts[i : i + batch]).double().numpy() for i in range(0, len(texts), batch)])


def _rows(
    manifest: Path, split: str, wanted: Callable[[pa.Table], NDArray[np.bool_]]
) -> tuple[pa.Table, NDArray[np.bool_]]:
    """All rows, and which are of the split and wanted. Raises: UnmaskError for none."""
    opened = Manifest(manifest)
    table = opened.table(opened.arrow_schema.names)
    parts = np.array([s or "" for s in table["split"].to_pylist()], str)
    found = wanted(table) & ((parts == split) | (split == "all"))
    if not found.any():
        raise ManifestError(
            f"{manifest} has nothing to measure in the split {split!r}: look at it with `unmask data show`"
        )
    return table, found


def _captions(table: pa.Table) -> list[list[str]]:
    if "caption" not in table.column_names:
        return [[] for _ in range(len(table))]
    return [c or [] for c in table["caption"].to_pylist()]


def _interval(hits: NDArray[np.bool_], group: NDArray[np.integer]) -> Number:
    """The rate of hits, with the percentile interval of resampled groups."""
    count = np.bincount(group).astype(float)
    right = np.bincount(group, weights=hits)
    rng, n = np.random.default_rng(0), len(count)
    draws = [rng.integers(n, size=n) for _ in range(ROUNDS)]
    low, high = np.quantile([right[i].sum() / count[i].sum() for i in draws], (0.025, 0.975))
    return Number(float(hits.mean()), float(low), float(high))

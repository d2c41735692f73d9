"""Explanations of forged faces against the masks of what was forged, and against the detector that they explain.

Each crop is one line of OUT/crops.jsonl, written when it is done: a killed run goes on from there. The table is made
from these lines alone. Beside every explainer stand two baselines: a map of noise, and the centre prior.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from unmask.base.detector import Detector
from unmask.base.explainer import Explainer, Score
from unmask.base.predict import Differentiable
from unmask.bundles import delta, load, locate, read
from unmask.bundles.calibration import log_odds, probability
from unmask.bundles.distance import load_exported
from unmask.bundles.runtime import WEIGHTS
from unmask.data.loader import FaceSet
from unmask.data.manifest import Manifest
from unmask.errors import BundleError, InputError, ManifestError, OutputError
from unmask.journal import appended
from unmask.measure import faithfulness
from unmask.measure.faithfulness_tables import CENTRE, NOISE, Line, Quality, entries, markdown
from unmask.output import write_text
from unmask.registry import FAMILIES, create, named
from unmask.train.loop import restore
from unmask.train.run import RECIPE
from unmask.types import Explanation, Floats, Pixels

LINES = "crops.jsonl"
FORGED = 128  # of 255: pixels that are forged at least by half are the mask
PATCHES = 24  # grey squares of a crop, for infidelity
GREY = 127
BASELINES = (NOISE, CENTRE)
ALL = ("occlusion", "rise", "grad_cam", "integrated_gradients", "counterfactual")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """
    Attributes:
        explainers: name -> options.
        split: "all", or the split whose forgeries count.
        crops: forgeries at most, of each method as many; those of the lowest hash.
        steps: of deletion and insertion.
        randomised: crops whose maps are compared with those of a detector with random weights.
    """

    detector: str
    data: Path
    out: Path
    explainers: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {name: {} for name in ALL})
    split: str = "test"
    crops: int = 100
    steps: int = 10
    randomised: int = 20
    seed: int = 0


@dataclass(frozen=True)
class Explained:
    """A detector as explainers ask it: its name, hash, and from which log-odds on it calls a crop forged."""

    name: str
    sha256: str
    model: Differentiable
    score: Score
    threshold: float


def run(wanted: Wanted, progress: Callable[[str, int], None] = lambda what, n: None) -> tuple[str, list[Line]]:
    """The digest of the manifest, and a line for each crop, old ones included.

    Raises: UnmaskError for a folder of another wish, a manifest without masks, and a detector that is not in PyTorch.
    """
    made = {name: create("explainer", name, dict(options)) for name, options in wanted.explainers.items()}
    explained = explained_by(wanted.detector)
    forged = Forged(wanted, explained.model.detector)
    wanted.out.mkdir(parents=True, exist_ok=True)
    header = {
        "detector": explained.sha256,
        "data": forged.manifest.digest,
        **{k: v for k, v in asdict(wanted).items() if k not in ("detector", "data", "out")},
    }
    with appended(wanted.out / LINES, f"another run is writing into {wanted.out}; wait for it") as file:
        done = _begun(file, json.loads(json.dumps(header)), wanted.out)
        known = {line.item for line in done}
        measured = Measured(wanted, explained, made)
        for number, crop in enumerate(forged):
            if crop.item not in known:
                line = measured(crop, number < wanted.randomised)
                file.write(line.model_dump_json().encode() + b"\n")
                file.flush()
                done.append(line)
            progress(explained.name, 1)
    return forged.manifest.digest, done


def explained_by(detector: str) -> Explained:
    """A run, or a bundle that holds its weights for PyTorch; its scores are those of the bundle's own runtime.

    Raises: UnmaskError for a bundle with an ONNX file alone.
    """
    if (Path(detector) / RECIPE).is_file():
        restored, recipe = restore(Path(detector))
        model = Differentiable(restored)
        state = hashlib.sha256(b"".join(v.numpy().tobytes() for v in restored.state_dict().values())).hexdigest()
        return Explained(recipe.name, state, model, model, 0.0)
    bundle, scorer = read(locate(detector)), load(detector)
    card = bundle.card
    if WEIGHTS not in bundle.files:
        raise BundleError(f"{card.name} holds no {WEIGHTS}, and explainers look inside: export it with those weights")
    weights = bundle.files[WEIGHTS]
    if card.base is not None:
        weights = delta.complete(WEIGHTS, weights, delta.read_base(card.base))
    network = create("detector", card.method, card.options)
    load_exported(network, weights)
    border = 0.0 if card.calibration is None else -card.calibration.intercept / card.calibration.slope
    assert card.calibration is None or abs(probability(card.calibration, border) - 0.5) < 1e-3
    return Explained(
        card.name,
        bundle.sha256(WEIGHTS),
        Differentiable(network),
        lambda crops: log_odds(scorer.logits(crops), card.classes),
        border,
    )


@dataclass(frozen=True)
class Crop:
    """A forged crop (S, S, 3) as the detector takes it, and which of its pixels are forged."""

    item: str
    group: str
    method: str
    image: Pixels
    mask: np.ndarray[Any, np.dtype[np.bool_]]


class Forged:
    """The forgeries that are measured, of each method the same number, in an order that no other row changes."""

    def __init__(self, wanted: Wanted, detector: Detector) -> None:
        self.manifest = Manifest(wanted.data)
        columns = ("item_id", "group_id", "label", "split", "method", "reason", "mask_relpath")
        rows = self.manifest.table(columns).to_pylist()
        fits = [
            r["label"] == 1 and not r["reason"] and bool(r["mask_relpath"]) and wanted.split in ("all", r["split"])
            for r in rows
        ]
        if not any(fits):
            raise ManifestError(
                f"{wanted.data} has no forgeries with masks in the split {wanted.split!r}: make some with "
                "`unmask data forge`"
            )
        self.faces = FaceSet(wanted.data, detector.input, where=np.array(fits), masks=True)
        self.rows = [rows[i] for i in self.faces.row]
        self.most = wanted.crops

    def __iter__(self) -> Iterator[Crop]:
        """Taken in turn from each method; forgeries that fill the crop, or lie outside of it, are left out."""
        queues: dict[str, list[int]] = {}
        for i, row in enumerate(self.rows):
            queues.setdefault(row["method"], []).append(i)
        for queue in queues.values():
            queue.sort(key=lambda i: hashlib.sha256(self.rows[i]["item_id"].encode()).digest(), reverse=True)
        given = 0
        while given < self.most and any(queues.values()):
            for method in sorted(name for name, queue in queues.items() if queue):
                crop = self._next(queues[method])
                if crop is not None and given < self.most:
                    given += 1
                    yield crop

    def _next(self, queue: list[int]) -> Crop | None:
        while queue:
            i = queue.pop()
            item, row = self.faces[i], self.rows[i]
            mask = item.mask >= FORGED
            if item.masked and mask.any() and not mask.all():
                return Crop(row["item_id"], row["group_id"], row["method"], item.image, mask)
        return None


class Measured:
    """What is measured of one crop."""

    def __init__(self, wanted: Wanted, explained: Explained, explainers: Mapping[str, Explainer]) -> None:
        self.wanted, self.explained, self.explainers = wanted, explained, explainers
        self.random = Differentiable(with_random_weights(explained.model.detector, wanted.seed))

    def __call__(self, crop: Crop, randomised: bool) -> Line:
        side, number = crop.image.shape[0], int.from_bytes(hashlib.sha256(crop.item.encode()).digest()[:4], "big")
        rng = np.random.default_rng([self.wanted.seed, number])
        noise, patches = np.asarray(rng.random((side, side)), np.float32), grey_squares(side, rng)
        baselines = {NOISE: noise, CENTRE: np.asarray(faithfulness.centre_prior(side), np.float32)}
        hidden = np.where(patches[..., None], GREY, crop.image[None]).astype(np.uint8)
        score = float(self.explained.score(crop.image[None])[0])
        change = score - self.explained.score(hidden)
        found: dict[str, Quality] = {}
        for name in (*self.explainers, *BASELINES):
            start = time.perf_counter()
            heat = baselines[name] if name in baselines else self._map(name, crop.image)
            spent = time.perf_counter() - start
            same = None
            if randomised and name in self.explainers:
                other = enlarged(self.explainers[name](self.random, crop.image), side)
                same = _number(faithfulness.rank_correlation(heat, other))
            found[name] = self._quality(crop, heat, patches, change, spent, same)
        return Line(
            item=crop.item,
            group=crop.group,
            method=crop.method,
            score=score,
            detected=score > self.explained.threshold,
            area=float(crop.mask.mean()),
            maps=found,
        )

    def _map(self, name: str, image: Pixels) -> Floats:
        explainer = self.explainers[name]
        model: Score = self.explained.model if explainer.needs_gradients else self.explained.score
        return enlarged(explainer(model, image), image.shape[0])

    def _quality(
        self, crop: Crop, heat: Floats, patches: Any, change: Floats, seconds: float, randomised: float | None
    ) -> Quality:
        deletion, insertion = self.curves(crop.image, faithfulness.order(heat, self.wanted.seed))
        return Quality(
            pointing=faithfulness.pointing_game(crop.mask, heat),
            mass=faithfulness.relevance_mass(crop.mask, heat),
            rank=faithfulness.relevance_rank(crop.mask, heat),
            deletion=faithfulness.area(deletion),
            insertion=faithfulness.area(insertion),
            infidelity=_number(faithfulness.infidelity((heat * patches).sum((1, 2)), change)),
            randomised=randomised,
            seconds=seconds,
        )

    def curves(self, image: Pixels, order: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[Floats, Floats]:
        """Scores while the pixels are greyed in this order, and while they are shown over a blurred crop."""
        side, steps = image.shape[0], self.wanted.steps
        blurred = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(side / 10)))
        stages = np.zeros((steps + 1, side * side), bool)
        for step in range(1, steps + 1):
            stages[step, order[: round(side * side * step / steps)]] = True
        stages = stages.reshape(steps + 1, side, side, 1)
        greyed, shown = np.where(stages, GREY, image), np.where(stages, image, blurred)
        both = self.explained.score(np.concatenate([greyed, shown]).astype(np.uint8))
        return both[: steps + 1], both[steps + 1 :]


def grey_squares(side: int, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(PATCHES, side, side): one square each, a tenth to a third of the side."""
    squares = np.zeros((PATCHES, side, side), bool)
    for square in squares:
        width = int(rng.integers(side // 10, side // 3 + 1))
        y, x = rng.integers(0, side - width + 1, 2)
        square[y : y + width, x : x + width] = True
    return squares


def with_random_weights(detector: Detector, seed: int) -> Detector:
    """A copy whose layers begin anew (Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018)."""
    copy = deepcopy(detector)
    torch.manual_seed(seed)
    for module in copy.modules():
        begin = getattr(module, "reset_parameters", None)
        if callable(begin):
            begin()
    return copy


def enlarged(heat: Floats, side: int) -> Floats:
    """A map (h, w) over the whole crop: (side, side), bilinearly."""
    image = Image.fromarray(np.asarray(heat, np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    return np.maximum(np.asarray(image, np.float32), 0)


def looks_inside(name: str) -> bool:
    """Whether an explainer needs the network, which a scan without PyTorch does not have."""
    kind: Any = FAMILIES["explainer"].kind(name)
    return bool(kind.needs_gradients)


def chosen(names: Sequence[str], changes: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Explainers and their options, from names and "name.option=value" (values are YAML).

    Raises: UnmaskError for unknown names and options, with the nearest known one, and where nothing is named.
    """
    if not names:
        raise InputError("name at least one explainer; `unmask methods --kind explainer` lists them")
    return named("explainer", names, changes)


def written(lines: Sequence[Line], data: str, rebuild: str, out: Path) -> tuple[str, Explanation]:
    """The tables of all forgeries and of those that were detected, as Markdown; also in OUT/explanations.md.

    Returns: the text, and what a card says of the best explainer that needs scores alone, which a scan can draw.
    """
    detected = [line for line in lines if line.detected]
    drawable = [name for name in lines[0].maps if name not in BASELINES and not looks_inside(name)]
    if not detected or not drawable:
        raise InputError(
            "nothing to compare: the detector called none of these forged, or no explainer asks for scores"
        )
    parts = {"detected": entries(detected), "all": entries(lines)}
    text = "\n".join(
        f"## {name} ({len(part)} forgeries)\n\n{markdown(found)}"
        for (name, found), part in zip(parts.items(), (detected, lines), strict=True)
    )
    text += (
        f"\nMean with its 95 % interval over leakage groups; after the semicolon how much better it is than the "
        f"{CENTRE}, paired (+ = better). Data {data}. Rebuild: `{rebuild}`\n"
    )
    write_text(out / "explanations.md", text)
    by_name = {entry.explainer: entry for entry in parts["detected"]}
    best = max((by_name[n] for n in drawable), key=lambda e: (e.localises, e.means["mass"].value))
    centre = by_name[CENTRE].means
    return text, Explanation(
        explainer=best.explainer,
        pointing=round(best.means["pointing"].value, 3),
        mass=round(best.means["mass"].value, 3),
        centre_pointing=round(centre["pointing"].value, 3),
        centre_mass=round(centre["mass"].value, 3),
        localises=best.localises,
        crops=len(detected),
        data=f"{', '.join(sorted({line.method for line in detected}))}; manifest {data[:16]}",
    )


def _begun(file: Any, header: dict[str, Any], out: Path) -> list[Line]:
    """The lines of an earlier run of the same wish; the first line says what was wanted."""
    file.seek(0)
    lines = file.read().splitlines()
    if not lines:
        file.write(json.dumps(header).encode() + b"\n")
        file.flush()
        return []
    if json.loads(lines[0]) != header:
        raise OutputError(
            f"{out} holds explanations of other data, another detector or other options: give a new --out"
        )
    return [Line.model_validate_json(line) for line in lines[1:]]


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None

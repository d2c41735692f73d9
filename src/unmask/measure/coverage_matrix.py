"""What detectors here were measured on: a matrix of generation families and kinds of evidence, made from result files.

The two taxonomies are those of "The Tug-of-War Between Deepfake Generation and Detection" (Lee et al. 2024, arXiv
2407.06174). A cell holds a figure that stands in a result file, or says "untested" or "out of scope". "Designed for" is
never "works": nothing here is filled in because a method was made for it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from unmask.errors import InputError
from unmask.measure.tables import FILE, Result
from unmask.registry import FAMILIES

EVALUATION = "unmask.evaluate/1"  # the form of `unmask eval evaluate --json`
OUT_OF_SCOPE, UNTESTED = "out of scope", "untested"

GENERATION = {
    "G1": "face swap",
    "G2": "reenactment",
    "G3": "lip-sync, talking head",
    "G4": "entire face, GAN",
    "G5": "entire image, diffusion",
    "G6": "attribute edit, inpainting",
    "G7": "video, diffusion",
    "G8": "voice",
    "G9": "image and voice together",
}
EVIDENCE = {
    "D1": "spatial network",
    "D2": "frequency, noise",
    "D3": "blending",
    "D4": "foundation features",
    "D5": "reconstruction",
    "D6": "time",
    "D7": "physiology, biometry",
    "D8": "image against sound",
    "D9": "sound",
    "D10": "provenance",
}
# Names of the data sets' `method` columns, lower case, letters and digits alone. The user places what is not here.
GENERATORS = {
    "G1": "deepfakes faceswap faceshifter fsgan simswap inswapper inswap deepfacelab deepfacelive blendface uniface "
    "mobileswap e4s facedancer faceswapgan",
    "G2": "face2face neuraltextures fomm facevid2vid mraa onshotfree pirender tpsm lia dagan mcnet hyperreenact "
    "liveportrait",
    "G3": "wav2lip videoretalking sadtalker emo vasa1 diff2lip heygen",
    "G4": "pggan progan stylegan stylegan2 stylegan3 styleganxl vqgan",
    "G5": "stablediffusion14 stablediffusion15 stablediffusion21 sd21 sdxl ddim rddm pixart dit sit dalle2 dalle3 "
    "midjourney midjourney6 dreambooth instantid adm glide wukong biggan",
    "G6": "stargan starganv2 e4e interfacegan styleclip collabdiff sdinpaint",
    "G7": "sora gen2 gen3 kling svd animatediff",
    "G8": "elevenlabs valle xtts rvc",
    "G9": "fakevideofakeaudio",
}
NOT_HERE = {"D7", "D8", "D9", "D10"}  # what no detector here looks at
SHIPPED = {"embedded": "mobilenet", "unmask_embedded": "mobilenet", "clip": "gend", "unmask_clip": "gend"}
SHIPPED |= {"spectrum": "radial_spectrum"}


@dataclass(frozen=True)
class Figure:
    """One AUROC out of a result file. `made`: the forgery method (or data set) that it was measured on; `unseen`:
    whether that was held out of training by the protocol; `level`: frame, track or video."""

    detector: str
    made: str
    value: float
    low: float
    high: float
    real: int
    fake: int
    groups: int
    level: str
    unseen: bool
    data: str
    source: str


def read(path: Path) -> tuple[Figure, ...]:
    """The figures of a result: a file of `unmask eval evaluate --json`, a `result.json` of bench, or its folder.

    Only columns of one forgery method or one data set say what was forged; others hold no figure for the matrix.

    Raises: UnmaskError for anything else.
    """
    path = path / FILE if path.is_dir() else path
    try:
        content = path.read_bytes()
        said = json.loads(content)
        source = f"{path.name} {hashlib.sha256(content).hexdigest()[:16]}"
        if isinstance(said, dict) and said.get("schema") == EVALUATION:
            return _of_evaluation(said, source)
        return _of_bench(Result.model_validate(said), source)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no result of `unmask eval evaluate --json` or `unmask eval bench`: {str(error).splitlines()[0]}"
        ) from None


def _of_evaluation(said: dict[str, Any], source: str) -> tuple[Figure, ...]:
    return tuple(
        Figure(
            detector=said["detector"],
            made=cell["column"],
            value=cell["value"],
            low=cell["low"],
            high=cell["high"],
            real=cell["real"],
            fake=cell["fake"],
            groups=cell["groups"],
            level="video",
            unseen=False,
            data=said["data"],
            source=source,
        )
        for cell in said["cells"]
        if cell["level"] == "video" and cell["metric"] == "auroc" and cell["value"] is not None
        if cell["column"] != "all"
    )


def _of_bench(result: Result, source: str) -> tuple[Figure, ...]:
    p = result.protocol
    if p.columns not in ("method", "dataset", "held_out"):
        return ()
    return tuple(
        Figure(
            c.detector, c.column, c.value, c.low, c.high, c.real, c.fake, c.groups, p.level, p.columns == "held_out",
            result.data, source,
        )
        for c in result.cells
        if c.metric == "auroc" and c.value is not None and c.low is not None and c.high is not None
    )  # fmt: skip


def family_of(made: str, placed: Mapping[str, str]) -> str | None:
    """The generation family of a forgery method, "Deepfakes" or "set/Deepfakes"; None where it is not known."""
    if made in placed:
        return placed[made]
    last = re.sub(r"[^a-z0-9]", "", re.split(r"[/,|]", made)[-1].lower())
    return next((code for code, names in GENERATORS.items() if last in names.split()), None)


def evidence_of(detector: str, placed: Mapping[str, str]) -> str | None:
    """The kind of evidence that a detector looks at, by the method in its name ("npr-tiny"); None if not known."""
    if detector in placed:
        return placed[detector]
    name, family = detector.lower().replace("-", "_"), FAMILIES["detector"]
    codes = {words: code for code, words in EVIDENCE.items()}
    known = {method: codes[words] for method in family.names() if (words := family.card(method).evidence) in codes}
    known |= {short: known[method] for short, method in SHIPPED.items()}
    fits = [method for method in known if name == method or name.startswith(f"{method}_")]
    return known[max(fits, key=len)] if fits else None


def out_of_scope(family: str, evidence: str) -> bool:
    """Whether no method here looks at that evidence, or there is nothing of it in that family: a voice has no image."""
    return evidence in NOT_HERE or family == "G8"


@dataclass(frozen=True)
class Matrix:
    """`cells`: (family, evidence) -> its figures, the one on most leakage groups first. `unplaced`: figures whose
    detector or forgery method belongs to no known row or column."""

    cells: Mapping[tuple[str, str], tuple[Figure, ...]]
    unplaced: tuple[Figure, ...]


def matrix(
    figures: Sequence[Figure], made: Mapping[str, str] | None = None, detectors: Mapping[str, str] | None = None
) -> Matrix:
    """Places figures.

    Args:
        made: forgery method or data set -> "G1" ...; detectors: name -> "D1" ...; both before what is known here.
    Raises: UnmaskError for codes that do not exist, and a figure in a cell that is out of scope.
    """
    made, detectors = made or {}, detectors or {}
    for codes, known in ((made, GENERATION), (detectors, EVIDENCE)):
        if wrong := sorted(set(codes.values()) - set(known)):
            raise InputError(f"there is no {wrong[0]!r}: {', '.join(f'{k} {v}' for k, v in known.items())}")
    cells: dict[tuple[str, str], list[Figure]] = {}
    unplaced = []
    for figure in figures:
        family, evidence = family_of(figure.made, made), evidence_of(figure.detector, detectors)
        if family is None or evidence is None:
            unplaced.append(figure)
        elif out_of_scope(family, evidence):
            raise InputError(f"{figure.detector} on {figure.made}: {family} by {evidence} is out of scope here")
        else:
            cells.setdefault((family, evidence), []).append(figure)

    # The figure that is shown is the one that rests on most people, of equal ones the lowest: never the best.
    def order(f: Figure) -> tuple[int, int, float, str]:
        return -f.groups, -f.real - f.fake, f.value, f.detector

    ordered = {key: tuple(sorted(found, key=order)) for key, found in cells.items()}
    return Matrix(ordered, tuple(unplaced))


def words(found: Matrix, family: str, evidence: str) -> str:
    """One cell: "0.820 [0.707, 0.940], 37 groups", and how many more figures there are; or why there is none."""
    if out_of_scope(family, evidence):
        return OUT_OF_SCOPE
    figures = found.cells.get((family, evidence), ())
    if not figures:
        return UNTESTED
    f = figures[0]
    more = f" (+{len(figures) - 1})" if len(figures) > 1 else ""
    return f"{f.value:.3f} [{f.low:.3f}, {f.high:.3f}], {f.groups} groups{more}"


def markdown(found: Matrix, rebuild: str) -> str:
    """The page: the matrix, every figure behind it, and the command that makes it again."""
    lines = [
        "# What was measured",
        "",
        "Rows: how something was forged. Columns: what a detector looks at. A cell is the AUROC in a result file, with "
        "its 95 % interval over leakage groups: of several, the one that rests on most groups, of equal the lowest. "
        "*Untested*: no result file has it. *Out of scope*: no detector here looks at that, sound among them "
        "(provenance is a state in a report, not a score). Rows and columns are those of "
        "[Lee et al. 2024](https://arxiv.org/abs/2407.06174).",
        "",
        "| | " + " | ".join(f"{code} {name}" for code, name in EVIDENCE.items()) + " |",
        "|---" * (len(EVIDENCE) + 1) + "|",
    ]
    for family, name in GENERATION.items():
        cells = " | ".join(words(found, family, evidence) for evidence in EVIDENCE)
        lines.append(f"| {family} {name} | {cells} |")
    lines += ["", "## Every figure", ""]
    heads = ("cell", "detector", "forged by", "AUROC", "level", "real", "fake", "groups", "unseen", "result", "data")
    lines += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for (family, evidence), figures in sorted(found.cells.items()):
        lines += [f"| {family} {evidence} | {_line(figure)} |" for figure in figures]
    if found.unplaced:
        lines += ["", "In no cell, because the detector or the forgery method is not in the taxonomy:", ""]
        lines += [f"- {f.detector} on {f.made}: {f.value:.3f} [{f.low:.3f}, {f.high:.3f}]" for f in found.unplaced]
    return "\n".join([*lines, "", "Rebuild:", "", "```bash", rebuild, "```", ""])


def _line(f: Figure) -> str:
    unseen = "yes, by the protocol" if f.unseen else "see the detector's card"
    made, detector = (text.replace("|", "\\|") for text in (f.made, f.detector))
    number = f"{f.value:.3f} [{f.low:.3f}, {f.high:.3f}]"
    return " | ".join(
        (detector, made, number, f.level, f"{f.real}", f"{f.fake}", f"{f.groups}", unseen, f.source, f.data[:16])
    )

"""Faces with attributes, detectors and policies in; rates by subgroup, gaps and their costs out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unmask.bench.entries import Entries
from unmask.bench.options import Options, expecting
from unmask.bench.scorers import FittedScorer, Progress, Sides, scored
from unmask.bench.training import Steps
from unmask.errors import InputError, ManifestError, UnmaskError
from unmask.measure.fairness import audit, holm
from unmask.measure.fairness_tables import Fairness, Part
from unmask.measure.policies import Limits, Policy, limits
from unmask.measure.protocol import Mask, Where
from unmask.measure.units import Units, units

ALIAS = {"sex": ("sex", "gender"), "gender": ("gender", "sex"), "skin": ("fitzpatrick", "monk"), "race": ("race",)}
BANDS = ((0, 17), (18, 30), (31, 45), (46, 85))  # those of Casual Conversations, and children
ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6}


@dataclass(frozen=True, kw_only=True)
class Wanted(Options):
    """`by`: attributes, "sex*race" for their product; `datasets`: only these, empty = all; `at`: false alarms allowed;
    `least`: leakage groups that a subgroup needs."""

    by: tuple[str, ...]
    datasets: tuple[str, ...] = ()
    split: str = "test"
    at: float = 0.05
    least: int = 30
    policies: tuple[Policy, ...] = ("half", "one", "worst-fpr", "equal-fpr")
    within: str = ""
    rounds: int = 1000


def run(wanted: Wanted, progress: Progress | None = None, steps: Steps = lambda what, done, of: None) -> Fairness:
    """Trains recipes on all training rows, scores, chooses thresholds on validation rows, audits test rows.

    Runs and scores stay in `out`.

    Raises: UnmaskError where an expected hash differs or no row has the attributes.
    """
    manifest, table = wanted.opened()
    chosen = Where(split=(wanted.split,), dataset=wanted.datasets).mask(table)
    sides = Sides.of(table, chosen)
    entries = Entries(wanted.detectors, manifest, table, wanted.runs or wanted.out)
    hashes = entries.hashes([sides], wanted.expect_bundles)
    entries.train([sides], wanted.how, steps)
    said = _said(table)
    parts: list[Part] = []
    left: list[tuple[str, str]] = []
    lost: dict[str, int] = {}
    for detector in (replace(d, name=n) for (d,), n in zip(entries.fit(sides), entries.labels, strict=True)):
        for dataset in sorted(set(table["dataset"].filter(pa.array(chosen)).to_pylist())):
            here = Where(dataset=(dataset,)).mask(table)

            def pooled(mask: Mask, detector: FittedScorer = detector) -> Units:
                return units(scored(detector, manifest, table, mask, wanted.out / "scores", progress))

            test = pooled(here & chosen)
            lost[dataset] = test.failed
            valid = here & sides.validate
            one = _one(wanted, detector.name, dataset, test, pooled(valid) if valid.any() else None, said)
            for found in one:
                (parts if isinstance(found, Part) else left).append(found)  # type: ignore[arg-type]
    if not parts:
        raise InputError("nothing to compare: " + "; ".join(dict.fromkeys(f"{a}: {b}" for a, b in left)))
    return Fairness(
        parts=_adjusted(parts),
        left_out=tuple(dict.fromkeys(left)),
        detectors=entries.labels,
        bundles=hashes,
        trained=entries.notes(),
        data=manifest.digest,
        at=wanted.at,
        rounds=wanted.rounds,
        within=wanted.within,
        lost=lost,
        rebuild=_again(wanted, manifest.digest, hashes),
    )


def _one(
    wanted: Wanted, detector: str, dataset: str, test: Units, valid: Units | None, said: dict[str, dict[str, str]]
) -> Iterator[Part | tuple[str, str]]:
    for by in wanted.by:
        names = _names(test, by, said)
        if not (names != "").any():
            yield f"{dataset}, {by}", "no row says so"
            continue
        for policy in wanted.policies:
            try:
                chosen = None if policy == "half" else _limits(policy, valid, by, said, wanted)
                called = _called(test, names, chosen)
                strata = _names(test, wanted.within, said) if wanted.within else None
                found = audit(
                    by,
                    names,
                    test.label,
                    test.score,
                    called,
                    test.group,
                    strata=strata,
                    least=wanted.least,
                    rounds=wanted.rounds,
                )
                yield Part(detector=detector, dataset=dataset, policy=policy, audit=found, limits=chosen)
            except UnmaskError as why:
                yield f"{dataset}, {by}, {policy}, {detector}", str(why)


def _limits(policy: Policy, valid: Units | None, by: str, said: dict[str, dict[str, str]], wanted: Wanted) -> Limits:
    if valid is None:
        raise ManifestError("no validation rows of this data set: a threshold cannot be chosen")
    names = _names(valid, by, said)
    return limits(policy, names, valid.label, valid.score, valid.group, wanted.at, wanted.least)


def _called(test: Units, names: NDArray[Any], chosen: Limits | None) -> NDArray[np.bool_]:
    """Who is called fake; without thresholds, those with P(fake) >= 0.5."""
    if chosen is not None:
        return np.asarray(test.score >= chosen.of(names))
    if np.isnan(test.probability).any():
        raise InputError("this detector has no calibration: P(fake) >= 0.5 cannot be asked")
    return np.asarray(test.probability >= 0.5)


def _said(table: pa.Table) -> dict[str, dict[str, str]]:
    """Medium -> what the manifest says of it and of the person in it; light stands in `extra`."""
    found: dict[str, dict[str, str]] = {}
    columns = ("media_id", "dataset", "method", "compression", "demographics", "extra")
    for medium, dataset, method, compression, people, extra in zip(
        *(table[c].to_pylist() for c in columns), strict=True
    ):
        if medium not in found:
            light = {k: v for k, v in (extra or []) if k in ("light", "lighting")}
            own = {"dataset": dataset, "method": method or "", "compression": compression or ""}
            found[medium] = own | light | dict(people or [])
    return found


def _names(found: Units, by: str, said: dict[str, dict[str, str]]) -> NDArray[Any]:
    """(N,) subgroup of each unit; "" where one of the attributes is not known."""

    def name(medium: str) -> str:
        parts = [_banded(key, said[medium]) for key in by.split("*")]
        return " ".join(parts) if all(parts) else ""

    return np.array([name(m) for m in found.media], str)


def _banded(key: str, said: dict[str, str]) -> str:
    value = next((said[k] for k in ALIAS.get(key, (key,)) if said.get(k)), "").strip().lower()
    if value in ("n/a", "na", "none", "unknown"):
        return ""
    if key == "age" and re.fullmatch(r"\d+(\.0)?", value):
        age = int(float(value))
        return next((f"{a}-{b}" for a, b in BANDS if a <= age <= b), f"{BANDS[-1][1] + 1}+")
    if key in ("skin", "fitzpatrick") and (kind := re.fullmatch(r"(?:type\s*)?([1-6]|i{1,3}|iv|vi?)", value)):
        number = ROMAN.get(kind[1]) or int(kind[1])
        return ("I-II", "III-IV", "V-VI")[(number - 1) // 2]
    return value


def _adjusted(parts: Sequence[Part]) -> tuple[Part, ...]:
    tests = [(i, g.name, g.p) for i, part in enumerate(parts) for g in part.audit.gaps if g.p == g.p]
    stepped = holm([p for *_, p in tests])
    return tuple(
        part.model_copy(update={"adjusted": {n: p for (j, n, _), p in zip(tests, stepped, strict=True) if j == i}})
        for i, part in enumerate(parts)
    )


def _again(wanted: Wanted, data: str, hashes: Sequence[str]) -> str:
    words = ["unmask", "eval", "fairness", wanted.data.name, "--detectors", ",".join(wanted.detectors)]
    words += [
        "--by",
        ",".join(wanted.by),
        "--split",
        wanted.split,
        "--at",
        f"{wanted.at:g}",
        "--min",
        str(wanted.least),
    ]
    words += ["--policies", ",".join(wanted.policies), "--rounds", str(wanted.rounds)]
    words += ["--stratify", wanted.within] * bool(wanted.within) + [
        w for d in wanted.datasets for w in ("--dataset", d)
    ]
    return shlex.join([*words, "-o", wanted.out.name, *expecting(data, hashes)])

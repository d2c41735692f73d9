"""What an audit of errors by group comes to, in words: tables of rates, gaps and costs, and one sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from unmask.measure.fairness import ALL, Audit, Rate
from unmask.measure.policies import Limits
from unmask.types import Plain


class Part(Plain):
    """One detector, data set, policy and attribute.

    `adjusted`: Holm's p of each tested gap, over the whole run. `limits`: the thresholds; None = P(fake) >= 0.5.
    """

    detector: str
    dataset: str
    policy: str
    audit: Audit
    adjusted: dict[str, float] = Field(default_factory=dict)
    limits: Limits | None = None


class Fairness(Plain):
    """What `unmask eval fairness` found. `left_out`: (what, why)."""

    schema_: Literal["unmask.fairness/1"] = "unmask.fairness/1"
    parts: tuple[Part, ...]
    left_out: tuple[tuple[str, str], ...]
    detectors: tuple[str, ...]
    bundles: tuple[str, ...]
    data: str
    at: float
    rounds: int
    within: str
    lost: dict[str, int]
    rebuild: str
    trained: tuple[str, ...] = ()


def markdown(found: Fairness) -> str:
    """Tables of rates and gaps; the wording of each verdict follows from the numbers alone."""
    lines = ["# Errors by group of people", ""]
    for part in found.parts:
        a = part.audit
        lines += [f"## {part.dataset}, {a.by}: {part.detector}, policy {part.policy}", ""]
        metrics = list(dict.fromkeys(r.metric for r in a.rates))
        heads = [m.replace("fpr", "false alarms").replace("_", " ") for m in metrics]
        lines += ["| group | items | " + " | ".join(heads) + " |", "|---" * (2 + len(metrics)) + "|"]
        for group in dict.fromkeys(r.subgroup for r in a.rates):
            own = {r.metric: r for r in a.rates if r.subgroup == group}
            most = max(r.n for r in own.values())
            lines.append(f"| {group} | {most} | " + " | ".join(_words(own[m]) for m in metrics) + " |")
        lines += ["", "| gap | value | p | p (Holm) | not to be told from chance up to |", "|---|---|---|---|---|"]
        for g in a.gaps:
            more = [f"{g.p:.3f}", f"{part.adjusted[g.name]:.3f}", f"{g.seen:.3f}"] if g.p == g.p else ["", "", ""]
            lines.append(f"| {g.name} | {_words(g)} | " + " | ".join(more) + " |")
        lines += ["", f"{verdict(part)}", ""]
        lines += [f"- Left out: {n} ({why})." for n, why in a.excluded] + [""] * bool(a.excluded)
    lines += costs(found)
    lines += [
        f"- 95% intervals: {found.rounds:,} resamples of whole leakage groups; p: labels dealt anew among them"
        + (f" within each {found.within}" if found.within else "")
        + ". Rates are fractions. Gap intervals lean upwards; whether there is a gap is for p to say.",
        '- Policies: "half" calls P(fake) >= 0.5 fake. The others choose thresholds on the validation rows of that '
        f'data set: "one" has at most {found.at:g} of all reals above it, "worst-fpr" at most {found.at:g} of those '
        'of each group, "equal-fpr" one threshold for each group with that promise, "equal-tpr" one for each group '
        'that finds what "one" finds of all.',
    ]
    lines += [f"- {name}: {n} items without a scored face left out." for name, n in found.lost.items() if n]
    lines += [f"- Not measured: {what} ({why})." for what, why in found.left_out]
    lines += [f"- {note}" for note in found.trained]
    hashes = ", ".join(f"{d} {h}" for d, h in zip(found.detectors, found.bundles, strict=True))
    lines += [f"- Data {found.data}; {hashes}.", "", "Rebuild:", "", "```bash", found.rebuild, "```", ""]
    return "\n".join(lines)


def costs(found: Fairness) -> Iterator[str]:
    """What is paid under each policy, and by whom: a table for each detector, data set and attribute."""
    kinds = list(dict.fromkeys((p.detector, p.dataset, p.audit.by) for p in found.parts))
    for detector, dataset, by in kinds:
        parts = [p for p in found.parts if (p.detector, p.dataset, p.audit.by) == (detector, dataset, by)]
        if len(parts) < 2:
            continue
        yield from (f"## What each policy costs: {dataset}, {by}: {detector}", "")
        metrics = ["fpr"] if all(p.audit.real_only for p in parts) else ["fpr", "tpr", "balanced_accuracy"]
        words = {"fpr": "false alarms", "tpr": "found fakes", "balanced_accuracy": "balanced accuracy"}
        heads = [f"{words[m]} | worst group | gap" for m in metrics]
        yield "| policy | threshold | " + " | ".join(heads) + " |"
        yield "|---" * (2 + 3 * len(metrics)) + "|"
        for part in parts:
            cells = [_paid(part.audit, m) for m in metrics]
            yield f"| {part.policy} | {_thresholds(part.limits)} | " + " | ".join(cells) + " |"
        yield ""


def _paid(audit: Audit, metric: str) -> str:
    """Overall, of the group that pays most, and between the groups."""
    rates = [r for r in audit.rates if r.metric == metric and r.value == r.value]
    each = [r for r in rates if r.subgroup != ALL]
    if not each:
        return "– | – | –"
    whole: Rate = next(r for r in rates if r.subgroup == ALL)
    values = [r.value for r in each]
    worst = each[values.index(max(values) if metric == "fpr" else min(values))]
    return f"{_words(whole)} | {worst.subgroup} {worst.value:.3f} | {max(values) - min(values):.3f}"


def _thresholds(limits: Limits | None) -> str:
    if limits is None:
        return "P(fake) >= 0.5"
    own = ", ".join(f"{name} {limit:.3f}" for name, limit in limits.each.items())
    return own or f"{limits.common:.3f}"


def verdict(part: Part) -> str:
    """One sentence out of the numbers: "no evidence", never "fair"."""
    if part.audit.useless:
        return f"Nothing follows: {part.audit.useless}, so that equal errors are no merit."
    said = []
    for name, p in part.adjusted.items():
        g = part.audit.gap(name)
        word = {"fpr_gap": "false alarms", "tpr_gap": "found fakes"}.get(name, "balanced accuracy")
        if p <= 0.05:
            said.append(f"{word} differ (gap {g.value:.3f}, adjusted p {p:.3f})")
        else:
            numbers = f"gap {g.value:.3f}, adjusted p {p:.3f}; chance alone makes up to {g.seen:.3f}"
            said.append(f"no evidence that {word} differ ({numbers})")
    more = " Real images only: whether fakes of some people are missed more often is not known." * part.audit.real_only
    return "; ".join(said).capitalize() + "." + more


def _words(n: Any) -> str:
    if n.value != n.value:
        return "–"
    return f"{n.value:.3f}" + ("" if n.low != n.low else f" [{n.low:.3f}, {n.high:.3f}]")


def write(found: Fairness, folder: Path) -> None:
    """`result.json` and `table.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(found.model_dump_json(by_alias=True, indent=1), "utf-8")
    (folder / "table.md").write_text(markdown(found), "utf-8")

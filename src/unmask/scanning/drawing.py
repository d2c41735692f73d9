"""Scores drawn as SVG: a scale for one number, a timeline for many. Colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from unmask.scanning.words import percent, say, size, span
from unmask.types import FrameScore, Sample

WIDTH = 360  # units; small, so that text stays readable when a phone shrinks the drawing
DOTS = 160  # more dots than this on one timeline are a smear

Band = tuple[float, float]
Scored = Sample | FrameScore


def scale(score: float, low: float | None, high: float | None, unsure: Band | None, name: str) -> str:
    """One number with its interval between 0 and 100 %. `name` begins the text that a screen reader speaks."""
    left, right, y = 14.0, WIDTH - 14.0, 36.0

    def x(p: float) -> float:
        return left + (right - left) * min(max(p, 0.0), 1.0)

    between = f", 90\u00a0% interval {span(low, high)}" if span(low, high) else ""
    spoken = f"{name}: {percent(score)}{between}"
    marks = [f'<line class="axis" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>']
    if unsure:
        spoken += f". Between {percent(unsure[0])} and {percent(unsure[1])} this detector cannot tell"
        a, b = x(unsure[0]), x(unsure[1])
        marks.append(f'<rect class="unsure" x="{a:.1f}" y="{y - 11}" width="{b - a:.1f}" height="22"/>')
    for p, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        at = x(p) + {"start": -12, "middle": 0, "end": 12}[anchor]
        marks.append(f'<line class="tick" x1="{x(p)}" x2="{x(p)}" y1="{y - 6}" y2="{y + 6}"/>')
        marks.append(f'<text x="{at}" y="{y + 24}" text-anchor="{anchor}">{100 * p:.0f}\u00a0%</text>')
    if low is not None and high is not None:
        a, b = x(low), x(high)
        marks.append(f'<path class="interval" d="M{a:.1f} {y - 7}v14M{a:.1f} {y}H{b:.1f}M{b:.1f} {y - 7}v14"/>')
    marks.append(f'<circle class="dot" cx="{x(score):.1f}" cy="{y}" r="6"/>')
    at = min(max(x(score), left + 24), right - 24)
    marks.append(f'<text class="value" x="{at:.1f}" y="{y - 18}" text-anchor="middle">{percent(score)}</text>')
    return _svg("scale", 66, spoken, marks)


def timeline(
    samples: Sequence[Scored], seconds: float, unsure: Band | None, name: str, axis: str = "chance of forgery"
) -> str:
    """Scores over the video, one dot a sample: filled at 50 % or above, hollow below.

    Args:
        samples: at least one, in time order.
        seconds: length of the video; the axis covers it even where the face is absent.
    """
    left, right, top, bottom = 46.0, WIDTH - 12.0, 12.0, 126.0
    last = max(seconds, samples[-1].t, 1e-3)
    points = [(left + (right - left) * s.t / last, bottom - (bottom - top) * s.score) for s in samples]
    dots = _thin(samples)
    marks = []
    if unsure:
        a, b = (bottom - (bottom - top) * p for p in unsure)
        marks.append(f'<rect class="unsure" x="{left}" y="{b:.1f}" width="{right - left}" height="{a - b:.1f}"/>')
    for p in (0.0, 0.5, 1.0):
        y = bottom - (bottom - top) * p
        kind = "half" if p == 0.5 else "grid"
        marks.append(f'<line class="{kind}" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>')
        marks.append(f'<text x="{left - 5}" y="{y + 4}" text-anchor="end">{100 * p:.0f}\u00a0%</text>')
    for t in _ticks(last):
        x = left + (right - left) * t / last
        marks.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        marks.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{t:g}</text>')
    marks.append(f'<text x="{(left + right) / 2}" y="{bottom + 32}" text-anchor="middle">seconds</text>')
    middle = (top + bottom) / 2
    marks.append(f'<text transform="rotate(-90 9 {middle})" x="9" y="{middle}" text-anchor="middle">{axis}</text>')
    marks.append('<polyline class="line" points="' + " ".join(f"{x:.1f},{y:.1f}" for x, y in points) + '"/>')
    for i in dots:
        s, (x, y) = samples[i], points[i]
        kind = "dot" if s.score >= 0.5 else "dot hollow"
        title = f"{s.t:.2f} s (frame {s.frame}): {percent(s.score)}"
        marks.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{title}</title></circle>')
    return _svg("timeline", 162, f"{name} over time: {summary(samples)}", marks)


def summary(samples: Sequence[Scored]) -> str:
    """The timeline in one sentence, for those who do not see it."""
    scores = [s.score for s in samples]
    over = sum(p >= 0.5 for p in scores)
    seen = f"seen in {len(samples)} frames from {size(samples[0].t)} to {size(samples[-1].t)}"
    reach = f"lowest {percent(min(scores))}, highest {percent(max(scores))}"
    return f"{seen}; {reach}; {over} of {len(scores)} at 50\u00a0% or above"


def _thin(samples: Sequence[Scored]) -> list[int]:
    """Which samples get a dot: all, or the highest of each of DOTS stretches, so that no peak is lost."""
    n = len(samples)
    edges = [n * k // min(n, DOTS) for k in range(min(n, DOTS) + 1)]
    return [max(range(a, b), key=lambda i: samples[i].score) for a, b in pairwise(edges)]


def _ticks(last: float) -> list[float]:
    """Four to six round times from 0 to `last`."""
    rough = last / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * k for k in (1, 2, 5, 10) if unit * k >= rough)
    return [round(step * k, 6) for k in range(int(last / step + 1e-6) + 1)]


def _svg(kind: str, height: int, spoken: str, marks: list[str]) -> str:
    head = f'<svg class="{kind}" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{say(spoken)}">'
    return head + "".join(marks) + "</svg>"

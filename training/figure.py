"""ROC and reliability of a detector as one SVG: what its numbers look like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from unmask.measure.metrics import auroc, reliability, roc

SIDE, PAD = 260, 46  # of one panel, pixels
COLOURS = ("#1f5fa8", "#b4481e", "#3a7d34", "#7a4ba0")


def figure(curves: Sequence[tuple[str, ArrayLike, ArrayLike]], label: ArrayLike, probability: ArrayLike) -> str:
    """Left, one ROC curve for each (name, label, score) of `curves`; right, the reliability of `probability`."""
    left = [_curve(*c, COLOURS[i % len(COLOURS)], i) for i, c in enumerate(curves)]
    right = [_cell(*cell, len(np.asarray(label))) for cell in reliability(label, probability)]
    width, height = 2 * (SIDE + PAD) + PAD, SIDE + 2 * PAD
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
            'font-size="11" fill="#333">',
            '<title>ROC curves and reliability diagram</title><rect width="100%" height="100%" fill="white"/>',
            _panel(PAD, "false alarms among real ones", "forgeries found", left),
            _panel(2 * PAD + SIDE, "P(fake) as reported", "share that is fake", right),
            "</svg>\n",
        ]
    )


def _panel(x: int, below: str, beside: str, marks: Sequence[str]) -> str:
    ticks = "".join(
        f'<text x="{v * SIDE:.0f}" y="{SIDE + 14}" text-anchor="middle">{v:g}</text>'
        f'<text x="-6" y="{SIDE - v * SIDE + 4:.0f}" text-anchor="end">{v:g}</text>'
        for v in (0, 0.5, 1)
    )
    return (
        f'<g transform="translate({x} {PAD / 2:g})"><rect width="{SIDE}" height="{SIDE}" fill="none" stroke="#999"/>'
        f'<path d="M0 {SIDE}L{SIDE} 0" stroke="#bbb" stroke-dasharray="4 4"/>{ticks}'
        f'<text x="{SIDE / 2:g}" y="{SIDE + 32}" text-anchor="middle">{below}</text>'
        f'<text transform="translate(-30 {SIDE / 2:g}) rotate(-90)" text-anchor="middle">{beside}</text>'
        f"{''.join(marks)}</g>"
    )


def _curve(name: str, label: ArrayLike, score: ArrayLike, colour: str, place: int) -> str:
    points = " ".join(f"{x * SIDE:.1f},{SIDE - y * SIDE:.1f}" for x, y in zip(*roc(label, score), strict=True))
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        f'<text x="{SIDE - 6}" y="{SIDE - 10 - 15 * place}" text-anchor="end" fill="{colour}">'
        f"{name}: AUROC {auroc(label, score):.3f}</text>"
    )


def _cell(said: float, was: float, count: int, total: int) -> str:
    radius = 3 + 14 * np.sqrt(count / total)
    return (
        f'<circle cx="{said * SIDE:.1f}" cy="{SIDE - was * SIDE:.1f}" r="{radius:.1f}" fill="{COLOURS[0]}" '
        f'fill-opacity="0.45"><title>said {said:.2f}, was {was:.2f}, {count} faces</title></circle>'
    )

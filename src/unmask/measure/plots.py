"""Images of a bench result, each as SVG and PNG: legible in a column of print, without red against green.

Colours: Okabe and Ito's, told apart with any colour vision; line styles differ too, for grey printers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unmask.errors import InputError
from unmask.measure.metrics import auroc, reliability, roc
from unmask.measure.protocol import Metric
from unmask.measure.robustness import CLEAN, Number
from unmask.measure.tables import NAMES, Result
from unmask.measure.units import Units
from unmask.types import Pixels

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES = ("-", "--", "-.", ":")
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "unmask",  # the same image is the same file
    "lines.linewidth": 1.6,
}
LINES = 6  # curves that an eye can follow in one image
Curve = tuple[str, Units]


def draw(result: Result, units: Mapping[tuple[str, str], Units], folder: Path) -> list[Path]:
    """All images that a result allows: ROC and DET, histograms, reliability, and of many detectors a ranking.

    Of more than six detectors the curves are those with the highest AUROC in that column, and the title says so.
    Returns the PNG files.
    """
    written = []
    if len(result.detectors) > LINES:
        written += [p for m in result.protocol.metrics for p in ranking(result, m, folder / f"ranking-{m}")]
    for i, column in enumerate(result.columns):
        found = [(d, units[d, column]) for d in result.detectors if (d, column) in units]
        both = [(d, u) for d, u in found if len(np.unique(u.label)) == 2]
        if len(both) > LINES:
            best = sorted(both, key=lambda of: -auroc(of[1].label, of[1].score))[:LINES]
            title, both = f"{column}, the {LINES} best of {len(both)}", [of for of in both if of in best]
        else:
            title = column
        if both:
            written += curves(both, title, folder / f"roc-{i}")
            written += histograms(both, title, folder / f"scores-{i}")
        said = [(d, u) for d, u in both if not np.isnan(u.probability).any()]
        if said:
            written += calibration(said, title, folder / f"reliability-{i}")
    return written


def ranking(result: Result, metric: Metric, path: Path) -> list[Path]:
    """One metric of all detectors, a panel a column: the number, its interval, and where each seed stands at most.

    Nothing is drawn, and [] returned, where no column has the metric.
    """
    columns = [c for c in result.columns if any(result.at(d, c, metric).value is not None for d in result.detectors)]
    if not columns:
        return []
    wide, y = min(4, len(columns)), np.arange(len(result.detectors))
    high = -(-len(columns) // wide)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2 + 1.7 * wide, high * (0.8 + 0.19 * len(y))), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(high, wide, sharey=True, squeeze=False).ravel().tolist()
        for axes, column in zip(grid, columns, strict=False):
            for i, cell in enumerate(result.at(d, column, metric) for d in result.detectors):
                if cell.value is None or cell.low is None or cell.high is None:
                    continue
                axes.plot([cell.low, cell.high], [i, i], color=COLOURS[0], lw=1.2)
                axes.plot(cell.value, i, "o", color=COLOURS[0], ms=4)
                if cell.seeds > 1:
                    axes.plot([cell.least, cell.most], [i, i], "|", color=COLOURS[1], ms=7, mew=1.4)
            if metric == "auroc":
                axes.axvline(0.5, color="0.6", lw=0.8)
            axes.set_title(column, fontsize=8)
            axes.set_yticks(y, [_short(d) for d in result.detectors])
        grid[0].invert_yaxis()
        for axes in grid[len(columns) :]:
            axes.set_axis_off()
        seeds = "; ticks: least and greatest seed" if any(c.seeds > 1 for c in result.cells) else ""
        figure.suptitle(f"{NAMES[metric]}, {result.protocol.interval.level:.0%} intervals{seeds}", fontsize=10)
        return _save(figure, path)


def curves(found: Sequence[Curve], title: str, path: Path) -> list[Path]:
    """ROC on the left; on the right the detection error trade-off, both axes by the normal quantile."""
    from scipy.stats import norm

    with mpl.rc_context(STYLE):
        figure, (left, right) = _figure(6.8, 3.3, 2)
        left.plot([0, 1], [0, 1], color="0.6", lw=0.8)
        for i, (name, u) in enumerate(found):
            fpr, tpr = roc(u.label, u.score)
            look: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "ls": STYLES[i % len(STYLES)]}
            left.plot(fpr, tpr, label=f"{_short(name)}, {auroc(u.label, u.score):.3f}", **look)
            edge = 0.5 / max(1, min(int((u.label == 0).sum()), int((u.label == 1).sum())))  # no quantile of 0 or 1
            inside = (fpr > 0) & (tpr < 1)
            if inside.any():
                x, y = (norm.ppf(np.clip(v[inside], edge, 1 - edge)) for v in (fpr, 1 - tpr))
                right.plot(x, y, **look)
        _unit(left, "real called fake (FPR)", "fake called fake (TPR)")
        left.legend(title="AUROC", loc="lower right", frameon=False)
        ticks = np.array([0.01, 0.05, 0.2, 0.5, 0.8, 0.95])
        places = norm.ppf(ticks)
        right.set(xlabel="real called fake, %", ylabel="fake called real, %", aspect="equal")
        right.set_xticks(places, [f"{100 * t:g}" for t in ticks])
        right.set_yticks(places, [f"{100 * t:g}" for t in ticks])
        right.set(xlim=norm.ppf((0.005, 0.97)), ylim=norm.ppf((0.005, 0.97)))
        figure.suptitle(f"{title}: ROC and detection error trade-off", fontsize=10)
        return _save(figure, path)


def histograms(found: Sequence[Curve], title: str, path: Path) -> list[Path]:
    """Raw logits of real and fake, a panel a detector; the same bins for both classes."""
    with mpl.rc_context(STYLE):
        figure, panels = _figure(3.3 * len(found) + 0.3, 2.6, len(found))
        for (name, u), axes in zip(found, panels, strict=True):
            bins = np.linspace(float(u.score.min()), float(u.score.max()) + 1e-9, 31).tolist()
            for label, word, style in ((0, "real", "-"), (1, "fake", "--")):
                values = u.score[u.label == label]
                look: dict[str, Any] = {"color": COLOURS[label], "ls": style}
                axes.hist(values, bins, density=True, histtype="stepfilled", alpha=0.2, color=COLOURS[label])
                axes.hist(values, bins, density=True, histtype="step", lw=1.6, label=f"{word}, {len(values)}", **look)
            axes.set(title=_short(name), xlabel="margin, logit(fake) – logit(real)", ylabel="density")
            axes.set_ylim(top=1.35 * axes.get_ylim()[1])  # room for the legend
            axes.legend(frameon=False, loc="upper right")
        figure.suptitle(f"{title}: scores", fontsize=10)
        return _save(figure, path)


def calibration(found: Sequence[Curve], title: str, path: Path) -> list[Path]:
    """Reliability: what share is fake where P(fake) was said. The area of a dot is the number of items."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = _figure(3.5, 3.5, 1)
        axes.plot([0, 1], [0, 1], color="0.6", lw=0.8)
        for i, (name, u) in enumerate(found):
            said, was, n = (np.array(v) for v in zip(*reliability(u.label, u.probability), strict=True))
            axes.plot(said, was, STYLES[i % len(STYLES)], color=COLOURS[i % len(COLOURS)], label=_short(name))
            axes.scatter(said, was, 150 * n / n.max() + 4, color=COLOURS[i % len(COLOURS)], alpha=0.6)
        _unit(axes, "P(fake) as said", "share that is fake")
        axes.legend(loc="upper left", frameon=False)
        axes.set_title(f"{title}: reliability")
        return _save(figure, path)


def severity(numbers: Sequence[Number], metric: str, title: str, path: Path) -> list[Path]:
    """Each kind of corruption a panel: a metric over the levels, with its interval; level 0 is untouched.

    Args:
        numbers: of one data set, as `measure.robustness` gives them; a line for each detector.
    """
    at = {(n.detector, n.kind, n.level): n for n in numbers if n.metric == metric}
    detectors = list(dict.fromkeys(d for d, *_ in at))
    levels = {k: [lv for d, of, lv in at if of == k and d == detectors[0] and lv.isdigit()] for _, k, _ in at}
    kinds = [k for k, has in levels.items() if has and k != CLEAN]
    wide = min(4, len(kinds))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.75 * wide + 0.6, 2.0 * -(-len(kinds) // wide) + 0.6), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(-(-len(kinds) // wide), wide, sharey=True, squeeze=False)
        panels = grid.ravel().tolist()
        for kind, axes in zip(kinds, panels, strict=False):
            x = [0, *map(int, levels[kind])]
            for i, detector in enumerate(detectors):
                points = [at[detector, CLEAN, "0"], *(at[detector, kind, lv] for lv in levels[kind])]
                value, low, high = (np.array([getattr(p, k) for p in points]) for k in ("value", "low", "high"))
                look: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)]}
                axes.plot(x, value, STYLES[i % len(STYLES)], marker="os^D"[i % 4], ms=3, label=_short(detector), **look)
                axes.fill_between(x, low, high, alpha=0.15, lw=0, **look)
            axes.set(title=kind, xticks=x)
        for axes in panels[len(kinds) :]:
            axes.set_axis_off()
        figure.supxlabel("level", fontsize=9)
        named = {"end_to_end": "AUROC (a lost face is a coin toss)"}
        figure.supylabel(named.get(metric, metric.replace("_", " ")), fontsize=9)
        figure.suptitle(title, fontsize=10)
        shown = panels[len(kinds)] if len(panels) > len(kinds) else panels[0]
        shown.legend(
            *panels[0].get_legend_handles_labels(), frameon=False, loc="center" if shown != panels[0] else "best"
        )
        return _save(figure, path)


def features(
    points: NDArray[np.float32], names: Sequence[str], path: Path, seed: int = 0, title: str = ""
) -> list[Path]:
    """t-SNE of features (N, D), coloured by `names` (N,). Distances between far clusters mean nothing.

    Raises: UnmaskError for fewer than 10 points.
    """
    from sklearn.manifold import TSNE

    if len(points) < 10:
        raise InputError(f"a map of features needs at least 10 of them, not {len(points)}")
    perplexity = min(30.0, (len(points) - 1) / 3)
    at = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(np.asarray(points, np.float32))
    kinds = np.asarray(names, str)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure, (axes,) = _figure(4.6, 3.6, 1)
        for i, kind in enumerate(np.unique(kinds)):
            chosen, mark = at[kinds == kind], "os^Dv<>"[i % 7]
            axes.scatter(
                chosen[:, 0],
                chosen[:, 1],
                s=10,
                marker=mark,
                color=COLOURS[i % len(COLOURS)],
                label=_short(kind),
                alpha=0.7,
            )
        axes.set(xticks=[], yticks=[], title=f"{title}\nt-SNE, perplexity {perplexity:.0f}, seed {seed}".strip())
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        return _save(figure, path)


def residual(image: Pixels) -> NDArray[np.float64]:
    """Log power (H, W) of what a 3 x 3 median leaves of a grey uint8 (H, W, 3); zero frequency in the middle."""
    from scipy.ndimage import median_filter

    grey = image.astype(np.float64) @ (0.299, 0.587, 0.114)
    power = np.abs(np.fft.fftshift(np.fft.fft2(grey - median_filter(grey, 3)))) ** 2
    return np.asarray(np.log10(power + 1e-3), np.float64)


def frequencies(averages: Mapping[str, NDArray[np.float64]], path: Path) -> list[Path]:
    """Averages of `residual` (H, W) of several sources beside each other, on one scale of colour."""
    whole = np.stack(list(averages.values()))
    low, high = np.quantile(whole, (0.01, 0.995))
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure, panels = _figure(2.3 * len(averages) + 0.8, 2.6, len(averages))
        for (name, power), axes in zip(averages.items(), panels, strict=True):
            shown = axes.imshow(power, cmap="cividis", vmin=low, vmax=high, extent=(-0.5, 0.5, -0.5, 0.5))
            axes.set(title=_short(name), xlabel="cycles a pixel", xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
        figure.colorbar(shown, ax=panels, label="log10 power", shrink=0.8)
        return _save(figure, path)


def _figure(width: float, height: float, panels: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # no window system, no global state
    return figure, list(np.atleast_1d(figure.subplots(1, panels)))


def _unit(axes: Axes, below: str, beside: str) -> None:
    axes.set(xlabel=below, ylabel=beside, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")


def _short(name: str) -> str:
    return name if len(name) <= 26 else f"…{name[-25:]}"


def _save(figure: Figure, path: Path) -> list[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=200)
    return [path.with_suffix(".png")]

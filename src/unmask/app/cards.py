"""A detector's card as text: what it knows, how well, where it fails, on whose data it rests."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from unmask.scanning.words import FACES_ASKED, WHOLE_ASKED, visible
from unmask.types import Card, Metric


def card_text(card: Card, weights_sha256: str) -> list[RenderableType]:
    """Parts to print one after another. A card may come from anyone: nothing in it is taken for markup."""
    parts: list[RenderableType] = [
        Text(f"{visible(card.name)} {visible(card.version)}", "bold"),
        Text(visible(card.summary)),
        Text(f"method {visible(card.method)}, licence {visible(card.licence)}"),
        Text(f"answers: {FACES_ASKED if card.input.margin else WHOLE_ASKED}"),
        Text(f"looks at {_looks_at(card)}"),
        Text(f"weights sha256 {weights_sha256}", "dim"),
        *([Text(f"a delta: needs the encoder {visible(card.base.name)} of unmask pull")] if card.base else []),
        *_list("Trained on", card.trained_on),
        *_list("Limits", card.limits),
        *_list("Must not be used for", card.misuse),
    ]
    if card.calibration:
        parts.append(Text(f"\nCalibrated on {visible(card.calibration.data)}"))
    else:
        parts.append(Text("\nNot calibrated: unmask scan refuses it"))
    if card.metrics:
        parts.append(_metrics(card.metrics))
    parts += _list("Data and their terms", [f"{d.name} ({d.use}): {d.terms}" for d in card.data])
    return parts


def _looks_at(card: Card) -> str:
    spec = card.input
    if spec.tiles:
        first = f", reduced to a short side of {spec.reduce} px where it is longer" if spec.reduce else ""
        return f"the whole image, at most {spec.tiles} tiles of {spec.size} px at its own resolution{first}"
    if card.input.margin == 0:
        return f"the whole image, {card.input.size} px"
    return (
        f"aligned faces of {card.input.size} px, margin {card.input.margin:g}, template {visible(card.input.template)}"
    )


def _list(title: str, items: Sequence[str]) -> list[Text]:
    return [Text(f"\n{title}", "bold"), *(Text(f"  - {visible(item)}") for item in items)] if items else []


def _metrics(metrics: Sequence[Metric]) -> Table:
    table = Table(title="How well (95 % intervals)", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("data", "split", "level", "seen", "metric"):
        table.add_column(name)
    for name in ("value", "low", "high", "real", "fake"):
        table.add_column(name, justify="right")
    for m in metrics:
        words = (m.data, m.split, m.level, m.seen, m.name)
        numbers = (f"{m.value:.3f}", f"{m.low:.3f}", f"{m.high:.3f}", str(m.real), str(m.fake))
        table.add_row(*(Text(visible(word)) for word in words), *numbers)
    return table

"""Small pieces that all parts of a report in HTML share."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence

from unmask.scanning.words import say
from unmask.types import State

# Shapes, so that a state is told apart without its colour: triangle, question mark, cross, dash, ring.
ICONS: dict[State, str] = {
    "fake": '<path d="M8 1.5 15 14.5H1z"/><path class="ink" d="M8 6v4.2M8 11.6v1.4"/>',
    "uncertain": '<circle cx="8" cy="8" r="7"/><path class="ink" d="M5.8 6.3a2.2 2.2 0 1 1 3 2Q8 9 8 9.7M8 11v1.4"/>',
    "failed": '<rect x="1.5" y="1.5" width="13" height="13"/><path class="ink" d="m5 5 6 6m0-6-6 6"/>',
    "not_applicable": '<rect x="1.5" y="1.5" width="13" height="13" rx="4"/><path class="ink" d="M4.5 8h7"/>',
    "real": '<circle class="ring" cx="8" cy="8" r="6"/>',
}


def icon(state: State) -> str:
    return f'<svg class="icon {state}" viewBox="0 0 16 16" aria-hidden="true">{ICONS[state]}</svg>'


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """A description list; the values are HTML already."""
    return "<dl>" + "".join(f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in rows) + "</dl>"


def bullets(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{sentence(say(item))}</li>" for item in items) + "</ul>"


def reasons_block(items: Sequence[str], title: str) -> str:
    return f'<div class="reasons"><p class="label">{title}</p>{bullets(items)}</div>' if items else ""


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", "…")) else ".")


def file_name(path: str) -> str:
    """The last part of a path of any system."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or path


def moment(created: str) -> str:
    return say(re.sub(r"(\d)T(\d\d:\d\d)", r"\1 \2", created).replace("+00:00", "Z").replace("Z", " UTC"), 60)


def data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")

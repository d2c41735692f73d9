"""Bench results side by side in one HTML file: no request to anywhere, sorted by click or key, light and dark."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from unmask.measure.tables import html_tables, read

STYLE = """
:root{color-scheme:light dark;--line:#bbb;--note:#555}
@media(prefers-color-scheme:dark){:root{--line:#555;--note:#aaa}}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600}th,td{padding:.3rem .7rem;border-bottom:1px solid var(--line);text-align:left}
th button{all:unset;cursor:pointer;font-weight:600}th button:focus-visible{outline:2px solid}
th[aria-sort=ascending] button::after{content:" ▲"}th[aria-sort=descending] button::after{content:" ▼"}
li,pre{color:var(--note);font-size:.85rem}pre{white-space:pre-wrap;overflow-wrap:anywhere}li{overflow-wrap:anywhere}
img{max-width:100%;background:#fff;border-radius:4px;margin:.3rem 0}
"""
# Buttons are reached by Tab and pressed by Enter or Space without a line of ours.
SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((th, i) => {
    const button = document.createElement("button");
    button.textContent = th.textContent; th.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = th.getAttribute("aria-sort") !== "descending";
      heads.forEach(h => h.removeAttribute("aria-sort"));
      th.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = r => i ? (r.cells[i].dataset.sort === "" ? null : +r.cells[i].dataset.sort) : r.cells[0].textContent;
      const order = (a, b) => typeof a === "string" ? a.localeCompare(b) : a - b;
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const x = key(a), y = key(b);
        if (x === null || y === null) return (x === null) - (y === null);  // what was not measured stays last
        return down ? order(y, x) : order(x, y);
      });
      table.tBodies[0].append(...rows);
    });
  });
}
"""


def leaderboard(runs: Sequence[Path]) -> str:
    """The page. Raises: UnmaskError for a folder that is no output of `unmask eval bench`."""
    e, parts = html.escape, []
    for run in runs:
        result = read(run)
        notes = "".join(f"<li>{e(n)}</li>" for n in result.notes())
        parts.append(
            f"<section><h2>{e(result.protocol.title)}</h2><p>{e(result.protocol.about)}</p>"
            f'<div class="wide">{html_tables(result)}</div><ul>{notes}</ul>'
            f"<p>Rebuild:</p><pre>{e(result.rebuild)}</pre>{_pictures(run)}</section>"
        )
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>unmask: leaderboard</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><h1>Leaderboard</h1>{''.join(parts)}<script>{SCRIPT}</script></body></html>\n"
    )


def _pictures(run: Path) -> str:
    """As images, not as inline SVG: an image from a stranger's folder must not bring a script along."""
    found = sorted(p for p in run.glob("*.png") if p.is_file())
    if not found:
        return ""
    coded = ((p.stem, base64.b64encode(p.read_bytes()).decode()) for p in found)
    images = "".join(f'<img alt="{html.escape(n)}" src="data:image/png;base64,{data}">' for n, data in coded)
    return f"<details><summary>Pictures</summary>{images}</details>"

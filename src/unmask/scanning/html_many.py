"""What a report in HTML says of many files: counts, a table, and each file folded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from unmask.scanning.html_file import (
    beside_block,
    faces_section,
    facts_block,
    provenance_section,
    sheet_block,
    verdict_block,
    whole_section,
)
from unmask.scanning.html_parts import file_name, icon
from unmask.scanning.words import (
    SHORT,
    STATES,
    copies,
    event,
    percent,
    say,
    shifted,
    short,
    span,
    telling,
)
from unmask.types import FileReport, Report

SHOWN_OPEN = 8  # files; more than these are folded, and printed only where the reader unfolds them


def many(ordered: Sequence[FileReport], report: Report) -> str:
    if not ordered:
        return '<section class="verdict"><h1>No file was scanned</h1><p>There is nothing to report.</p></section>'
    what = event(report.settings.whole_image)
    if report.whole and not report.settings.whole_image:
        what += "; or, where the answer is about the whole, that it was generated"
    folder = _folder(ordered)
    sections = "".join(_folded(k, file, file.path[len(folder) :], ordered, report) for k, file in enumerate(ordered))
    return f"""<section class="verdict"><h1>{len(ordered)} files scanned</h1>{counts(ordered)}
<p>Number: {what}. Files that want attention come first.</p>
{f"<p><strong>{say(shifted(report.shift))}</strong></p>" if shifted(report.shift) else ""}
{f"<p>Folder: <bdi>{say(folder)}</bdi></p>" if folder else ""}</section>
<section id="files"><h2>All files</h2>{table_of(ordered, link=True)}</section>
<section class="details"><h2>File by file</h2>
<p class="screen">Open a file to see its faces and reasons. What is open is printed.</p>{sections}</section>
"""


def _folded(k: int, file: FileReport, path: str, ordered: Sequence[FileReport], report: Report) -> str:
    found = telling(file)
    number = f", {percent(found.score)}" if found.score is not None else ""
    inside = (
        verdict_block(file, report, 3)
        + beside_block(file, 4)
        + sheet_block(file)
        + facts_block(file)
        + faces_section(file, report, 4)
    )
    inside += whole_section(file, report, 4) + provenance_section(file, 4)
    return f"""<details class="file"{" open" if len(ordered) <= SHOWN_OPEN else ""}>
<summary>{icon(file.state)}<bdi>{say(path, 120)}</bdi>: {short(file)}{number}</summary>
<div id="file-{k}" tabindex="-1">{inside}<p class="back"><a href="#files">Back to the table</a></p></div>
</details>
"""


def counts(ordered: Sequence[FileReport]) -> str:
    states = [file.state for file in ordered]
    found = [state for state in STATES if state in states]
    items = "".join(f"<li>{icon(s)}<strong>{states.count(s)}</strong> {SHORT[s]}</li>" for s in found)
    return f'<ul class="counts">{items}</ul>'


def table_of(ordered: Sequence[FileReport], *, link: bool) -> str:
    folder = _folder(ordered)
    same = copies(ordered)
    rows = "".join(_row(k, file, file.path[len(folder) :], link, same.get(k, "")) for k, file in enumerate(ordered))
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("File", "Answer", "Number", "90\u00a0% interval", "Faces")
    )
    return f"""<div class="wide" role="region" aria-label="Table of files" tabindex="0">
<table class="files"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"""


def _row(k: int, file: FileReport, path: str, link: bool, same: str = "") -> str:
    """`same`: path of a file of the same content, further up."""
    name = f"<bdi>{say(path, 120)}</bdi>"
    first = f'<a href="#file-{k}">{name}</a>' if link else name
    first += f" (same file as <bdi>{say(file_name(same), 120)}</bdi>)" if same else ""
    rank = list(STATES).index(file.state)
    found = telling(file)
    number = percent(found.score) if found.score is not None else "–"
    return (
        f'<tr><th scope="row">{first}</th>'
        f'<td data-key="{rank}">{icon(file.state)}{short(file)}</td>'
        f'<td data-key="{-1 if found.score is None else found.score:.6f}">{number}</td>'
        f'<td data-key="{-1 if found.low is None else found.low:.6f}">{span(found.low, found.high) or "–"}</td>'
        f'<td data-key="{len(file.faces)}">{len(file.faces)}</td></tr>'
    )


def _folder(files: Iterable[FileReport]) -> str:
    """What all paths begin with, up to a slash: said once instead of in every row."""
    # By characters, because paths of different roots, and URLs, have no common *path* but may well begin alike.
    common = os.path.commonprefix([file.path for file in files])  # noqa: RUF071
    return common[: common.rfind("/") + 1]


def by_attention(files: Iterable[FileReport]) -> list[FileReport]:
    rank = {state: k for k, state in enumerate(STATES)}
    return sorted(files, key=lambda f: (rank[f.state], -(telling(f).score or 0.0)))

"""A report as one HTML file that asks nothing of the network: for a person to read, print, keep and pass on."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files as resources

from unmask.scanning.html_file import faces_section, single, verdict_block, whole_section
from unmask.scanning.html_many import by_attention, counts, many, table_of
from unmask.scanning.html_parts import bullets, file_name, icon, moment, pairs, sentence
from unmask.scanning.words import GLOSSARY, STATES, odds, say, short
from unmask.types import FileReport, PassedOver, Report

SHOWN_IN_NOTEBOOK = 20  # rows; the rest is in the full report


def render(report: Report) -> str:
    """The whole report as one HTML document, complete without JavaScript and without a network."""
    ordered = by_attention(report.files)
    css, js = _asset("report.css"), _asset("report.js")
    only = ordered[0] if len(ordered) == 1 else None
    title = f"{short(only)}: {file_name(only.path)}" if only else f"{len(ordered)} files scanned"
    body = single(only, report) if only else many(ordered, report)
    # Nothing may be fetched, whatever got into the page; our own style and script are let in by their hashes.
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(css)}'; script-src '{_hash(js)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>{say(title, 200)} – unmask report</title>
<style>{css}</style>
</head>
<body class="unmask page">
<header class="masthead"><p>unmask report <span>{moment(report.created)}</span></p></header>
<main>
{body}
{_passed_over(report)}
{_detector(report)}
{_reproduce(report, only)}
{_glossary()}
</main>
<script>{js}</script>
</body>
</html>
"""


def snippet(report: Report) -> str:
    """The short form for a notebook: verdict, number and faces of one file, or a table of many."""
    ordered = by_attention(report.files)
    if len(ordered) == 1:
        body = (
            verdict_block(ordered[0], report, 3)
            + faces_section(ordered[0], report, 3)
            + whole_section(ordered[0], report, 3)
        )
    else:
        rest = len(ordered) - SHOWN_IN_NOTEBOOK
        body = counts(ordered) + table_of(ordered[:SHOWN_IN_NOTEBOOK], link=False)
        body += f"<p>… and {rest} more files.</p>" if rest > 0 else ""
    by = f"unmask {say(report.version)}, detector {say(report.detector.name)}"
    return f'<style>{_asset("report.css")}</style><div class="unmask snippet">{body}<p class="fine">{by}</p></div>'


def _passed_over(report: Report) -> str:
    if not report.passed_over:
        return ""

    def row(one: PassedOver) -> str:
        more = ", …" if one.count > len(one.first) else ""
        names = f"<bdi>{say(', '.join(one.first))}</bdi>{more}"
        return f"<li>{say(sentence(one.why)[:-1])} ({one.count:,}): {names}</li>"

    rows = "".join(row(one) for one in report.passed_over)
    return f'<section class="passed"><h2>Passed over</h2><p>Not looked at:</p><ul>{rows}</ul></section>\n'


def _detector(report: Report) -> str:
    def told(items: Sequence[str]) -> str:
        return bullets(items) if items else "<p>Its card does not say.</p>"

    def both(title: str, trained_on: Sequence[str], limits: Sequence[str]) -> str:
        return f"""<section class="detector"><h2>{title}, and what it does not</h2>
<div class="two"><div><h3>It was trained on</h3>{told(trained_on)}</div>
<div><h3>It is known to fail on</h3>{told(limits)}</div></div>
</section>
"""

    body = both("What this detector knows", report.trained_on, report.limits)
    if report.whole and not report.settings.whole_image:
        body += both("What the detector of whole pictures knows", report.whole.trained_on, report.whole.limits)
    return body


def _reproduce(report: Report, only: FileReport | None) -> str:
    s, d = report.settings, report.detector
    rate = f"{100 * s.error_rate:g}\u00a0%"
    rows = [
        ("Made by", f"unmask {say(report.version)} on {moment(report.created)}, format {say(report.schema_)}"),
        ("Detector", f"{say(d.name)}<br><code>{say(d.weights_sha256)}</code>"),
        ("Face detector", f"{say(s.faces)}<br><code>{say(s.faces_sha256)}</code>"),
        (
            "Error rate",
            f"{rate}: about {odds(s.error_rate)} real files may be called forged, and as many forged ones real",
        ),
        ("Frames", f"at most {s.frames} a video, evenly spaced in time"),
        ("Judged", "the whole image" if s.whole_image else "every face that was found"),
        ("Stability checks", "on" if s.checks else "off"),
    ]
    if s.whole_image:
        rows = [row for row in rows if row[0] != "Face detector"]
    elif report.whole:
        named = f"{say(report.whole.name)}<br><code>{say(report.whole.weights_sha256)}</code>"
        rows.insert(2, ("Of whole pictures", named))
    if only and only.sha256:
        rows.append(("File", f"<code>{say(only.sha256)}</code>"))
    cite = f"unmask {say(report.version)}, detector {say(d.name)} (SHA-256 {say(d.weights_sha256[:16])}), "
    cite += f"{moment(report.created)}, error rate {rate}."
    return f"""<section class="reproduce"><h2>To repeat or cite this report</h2>{pairs(rows)}
<p>The long codes are SHA-256 sums: the same sums and settings give the same answer. Cite as:</p>
<p class="cite">{cite}</p>
</section>
"""


def _glossary() -> str:
    terms = "".join(f"<div><dt>{icon(s)}{STATES[s]}</dt><dd>{GLOSSARY[s]}</dd></div>" for s in STATES)
    return f'<section class="glossary"><h2>The five answers</h2><dl>{terms}</dl></section>'


def _asset(name: str) -> str:
    return resources("unmask.scanning").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")

"""A report as one HTML file that asks nothing of the network: for a person to read, print, keep and pass on."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files as resources

from unmask.scanning.beside import opinion
from unmask.scanning.drawing import Band, scale, summary, timeline
from unmask.scanning.evidence import unsaid
from unmask.scanning.traces import said
from unmask.scanning.words import (
    C2PA,
    FACE,
    FACES_ASKED,
    GLOSSARY,
    HEAT_NOTE,
    MEASURED,
    PROVENANCE,
    PROVENANCE_NOTE,
    SHORT,
    STATES,
    WHOLE,
    WHOLE_ASKED,
    confessed,
    copies,
    event,
    facts,
    headline,
    map_note,
    meaning_of,
    meaning_of_whole,
    odds,
    percent,
    say,
    shifted,
    short,
    span,
    telling,
    weighs,
)
from unmask.types import EvidenceKind, Explanation, FaceReport, FileReport, PassedOver, Report, State, WholeReport

SHOWN_IN_NOTEBOOK = 20  # rows; the rest is in the full report
SHOWN_OPEN = 8  # files; more than these are folded, and printed only where the reader unfolds them

DRAWN: tuple[EvidenceKind, ...] = ("probability", "seen", "frames", "tiles", "traces")  # shown in another form

CAMERA = {"make", "model", "lens", "software", "date", "exif"}

# Shapes, so that a state is told apart without its colour: triangle, question mark, cross, dash, ring.
ICONS: dict[State, str] = {
    "fake": '<path d="M8 1.5 15 14.5H1z"/><path class="ink" d="M8 6v4.2M8 11.6v1.4"/>',
    "uncertain": '<circle cx="8" cy="8" r="7"/><path class="ink" d="M5.8 6.3a2.2 2.2 0 1 1 3 2Q8 9 8 9.7M8 11v1.4"/>',
    "failed": '<rect x="1.5" y="1.5" width="13" height="13"/><path class="ink" d="m5 5 6 6m0-6-6 6"/>',
    "not_applicable": '<rect x="1.5" y="1.5" width="13" height="13" rx="4"/><path class="ink" d="M4.5 8h7"/>',
    "real": '<circle class="ring" cx="8" cy="8" r="6"/>',
}


def render(report: Report) -> str:
    """The whole report as one HTML document, complete without JavaScript and without a network."""
    ordered = _by_attention(report.files)
    css, js = _asset("report.css"), _asset("report.js")
    only = ordered[0] if len(ordered) == 1 else None
    title = f"{short(only)}: {_name(only.path)}" if only else f"{len(ordered)} files scanned"
    body = _single(only, report) if only else _many(ordered, report)
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
<header class="masthead"><p>unmask report <span>{_moment(report.created)}</span></p></header>
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
    ordered = _by_attention(report.files)
    if len(ordered) == 1:
        body = _verdict(ordered[0], report, 3) + _faces(ordered[0], report, 3) + _whole(ordered[0], report, 3)
    else:
        rest = len(ordered) - SHOWN_IN_NOTEBOOK
        body = _counts(ordered) + _table(ordered[:SHOWN_IN_NOTEBOOK], link=False)
        body += f"<p>… and {rest} more files.</p>" if rest > 0 else ""
    by = f"unmask {say(report.version)}, detector {say(report.detector.name)}"
    return f'<style>{_asset("report.css")}</style><div class="unmask snippet">{body}<p class="fine">{by}</p></div>'


# --- one file --------------------------------------------------------------------------------------------------------


def _single(file: FileReport, report: Report) -> str:
    found = _faces(file, report, 2) + _whole(file, report, 2)
    return _verdict(file, report, 1) + _beside(file, 2) + _sheet(file) + _facts(file) + found + _provenance(file, 2)


def _verdict(file: FileReport, report: Report, level: int) -> str:
    return f"""<section class="verdict {file.state}">
<h{level}>{_icon(file.state)}{headline(file)}</h{level}>
<p class="name"><bdi>{say(_name(file.path), 300)}</bdi></p>
{"".join(f'<p class="confession">{say(text)}</p>' for text in confessed(file.provenance))}
{_about_faces(file, report, level + 1)}{_about_whole(file, report, level + 1)}
</section>
"""


def _about_faces(file: FileReport, report: Report, level: int) -> str:
    """The first answer; under its question, where there is a second one."""
    if file.face_state is None:
        return ""
    number = _number(file, report.unsure, event(whole=False), "Probability of forgery")
    asked = _question(FACES_ASKED, file.face_state, STATES[file.face_state], level) if file.whole else ""
    return f"{asked}{number}<p>{meaning_of(file, report)}</p>{_reasons(file.reasons, 'Why')}"


def _about_whole(file: FileReport, report: Report, level: int) -> str:
    whole = file.whole
    if whole is None:
        return ""
    unsure = report.whole.unsure if report.whole else None
    number = _number(whole, unsure, event(whole=True), "Probability of generation")
    asked = _question(WHOLE_ASKED, whole.state, WHOLE[whole.state], level)
    return f"{asked}{number}<p>{meaning_of_whole(whole, report)}</p>{_reasons(whole.reasons, 'Why')}"


def _question(asked: str, state: State, answer: str, level: int) -> str:
    return f'<h{level} class="question">{asked} <span>{_icon(state)}{answer}</span></h{level}>'


def _number(found: FileReport | WholeReport, unsure: Band | None, what: str, name: str) -> str:
    if found.score is None:
        return '<p class="number">No number is given for this file.</p>'
    between = f" (90\u00a0% interval: {span(found.low, found.high)})" if span(found.low, found.high) else ""
    legend = ["dot: the number"]
    legend += ["bar: how far it may be off (90\u00a0% interval)"] if span(found.low, found.high) else []
    legend += ["shaded: the detector cannot tell there"] if unsure else []
    return f"""<p class="number"><strong>{percent(found.score)}</strong>{between}</p>
<figure>{scale(found.score, found.low, found.high, unsure, name)}
<figcaption>{what[0].upper()}{what[1:]}. {"; ".join(legend).capitalize()}.</figcaption></figure>
<p>{say(weighs(found))}</p>"""


def _beside(file: FileReport, level: int) -> str:
    """What further detectors say, and the fusion of all, where they were asked."""
    if not file.others:
        return ""
    given = [opinion(file), *file.others, *((file.fused,) if file.fused else ())]
    rows = "".join(
        f'<tr><th scope="row">{say(one.name)}</th><td>{"whole image" if one.about == "whole" else "faces"}</td>'
        f"<td>{_icon(one.state)}{(WHOLE if one.about == 'whole' else STATES)[one.state]}</td>"
        f"<td>{percent(one.score) if one.score is not None else '–'}</td><td>{span(one.low, one.high) or '–'}</td>"
        f"<td>{say('; '.join(one.reasons))}</td></tr>"
        for one in given
    )
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("Detector", "Question", "Answer", "Number", "90\u00a0% interval", "Why")
    )
    weight = f"<p>Fusion: {say(weighs(file.fused))}</p>" if file.fused and file.fused.likelihood_ratio else ""
    return f"""<section class="beside"><h{level}>Detectors side by side</h{level}>
<p>The answer above is that of the first. Detectors that agree are not independent witnesses: do not multiply them.</p>
<div class="wide" role="region" aria-label="Detectors side by side" tabindex="0">
<table class="files"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{weight}</section>
"""


def _sheet(file: FileReport) -> str:
    if file.sheet is None:
        return ""
    what = "The image" if file.media and file.media.kind == "image" else "Key frames of the video"
    boxes = ", with boxes around the faces" if file.faces else ""
    below = ", with the faces that were judged, numbered as below" if file.faces else ""
    return f"""<section class="sheet"><figure><img src="{_data(file.sheet)}" alt="{what}{boxes}">
<figcaption>{what}{below}.</figcaption></figure></section>
"""


def _facts(file: FileReport) -> str:
    rows = [("File", f"<bdi>{say(file.path)}</bdi>")]
    rows += [(name, f"<code>{say(text)}</code>" if name == "SHA-256" else say(text)) for name, text in facts(file)]
    return f'<section class="facts">{_pairs(rows)}</section>\n'


def _faces(file: FileReport, report: Report, level: int) -> str:
    if not file.faces:
        return ""
    note = ""
    if len(file.faces) > 1:
        note = (
            "<p>The number of the file is not the highest of these: the more faces are looked at, the more likely is "
        )
        note += "a high number by chance, and the file's number allows for that.</p>"
    note += _map_note(file.faces, report.explanation)
    cards = "".join(_face(k, face, file, report, level + 1) for k, face in enumerate(file.faces, 1))
    return f'<section class="faces"><h{level}>Face by face</h{level}>{note}{cards}</section>\n'


def _whole(file: FileReport, report: Report, level: int) -> str:
    """Where the second answer comes from: the tile that says most, and each frame of a video."""
    whole = file.whole
    if whole is None or not whole.frames:
        return ""
    unsure, name = report.whole.unsure if report.whole else None, "The picture as a whole"
    tiles = sum(frame.tiles for frame in whole.frames)
    drawing = f"<p>Parts of it that were looked at: {tiles}.</p>"
    if len({frame.t for frame in whole.frames}) > 1:
        length = (file.media.seconds if file.media else None) or 0.0
        drawing += f"""<figure>{timeline(whole.frames, length, unsure, name, "chance of generation")}
<figcaption>One dot a frame, each judged alone; filled: 50\u00a0% or above.</figcaption>
</figure>"""
    about = report.whole.explanation if report.whole else report.explanation
    return f"""<section class="faces"><h{level}>{name}</h{level}>{_map_note([whole], about)}<article class="face">
<div class="images">{_pictures(whole, "Its most telling part")}</div><div class="about">{drawing}
{_reasons(unsaid(file, "picture", whole.reasons, DRAWN), MEASURED)}</div>
</article></section>
"""


def _face(k: int, face: FaceReport, file: FileReport, report: Report, level: int) -> str:
    name = f"Face {k}"
    number = "No number is given."
    drawing = ""
    if face.score is not None:
        between = f" (90\u00a0% interval: {span(face.low, face.high)})" if span(face.low, face.high) else ""
        number = f"Chance of forgery: <strong>{percent(face.score)}</strong>{between}"
        drawing = f"<figure>{scale(face.score, face.low, face.high, report.unsure, name)}</figure>"
    if len({s.t for s in face.samples}) > 1:
        length = (file.media.seconds if file.media else None) or 0.0
        drawing += f"""<figure>{timeline(face.samples, length, report.unsure, name)}
<figcaption>One dot a frame, each judged alone; filled: 50\u00a0% or above.
{_sentence(summary(face.samples))}</figcaption>
</figure>"""
    return f"""<article class="face">
<h{level}>{_icon(face.state)}{name}: {FACE[face.state]}</h{level}>
<div class="images">{_pictures(face, name)}</div>
<div class="about"><p>{number}</p>{drawing}{_traces(face)}{_reasons(face.reasons, "Why")}
{_reasons(unsaid(file, f"face {face.track}", face.reasons, DRAWN), MEASURED)}</div>
</article>
"""


def _traces(face: FaceReport) -> str:
    return f"<p>{_sentence(say(said(face.traces)))}</p>" if face.traces else ""


def _map_note(shown: Sequence[FaceReport | WholeReport], explanation: Explanation | None) -> str:
    """Said once, where there are images."""
    if all(one.thumbnail is None for one in shown):
        return ""
    said = map_note(explanation, any(one.heat is not None for one in shown))
    return f"<p>{say(said)}</p>" if said else ""


def _pictures(face: FaceReport | WholeReport, name: str) -> str:
    if face.thumbnail is None:
        return '<p class="missing">Image not kept.</p>'
    out = f'<figure><img src="{_data(face.thumbnail)}" alt="{name}, as the detector saw it">'
    out += "<figcaption>As the detector saw it.</figcaption></figure>"
    if face.heat is not None:
        out += f'<figure><img src="{_data(face.heat)}" alt="{name} with the parts marked that the answer rests on">'
        out += f"<figcaption>{HEAT_NOTE}</figcaption></figure>"
    return out


def _provenance(file: FileReport, level: int) -> str:
    if file.state == "failed" and not file.provenance:
        return ""
    found = dict(file.provenance)
    found["c2pa"] = C2PA.get(found.get("c2pa", "not_checked"), found.get("c2pa", ""))
    if not CAMERA & found.keys():
        found["exif"] = "absent"
    body = "".join(
        f'<tr><th scope="row">{PROVENANCE.get(key) or say(key, 100)}</th><td><bdi>{say(value)}</bdi></td></tr>'
        for key, value in sorted(found.items(), key=lambda item: item[0].startswith("c2pa"))
    )
    return f"""<section class="provenance"><h{level}>What the file says about itself</h{level}>
<p>{PROVENANCE_NOTE}</p>
<table><thead><tr><th scope="col">Field</th><th scope="col">Content</th></tr></thead><tbody>{body}</tbody></table>
</section>
"""


# --- many files ------------------------------------------------------------------------------------------------------


def _many(ordered: Sequence[FileReport], report: Report) -> str:
    if not ordered:
        return '<section class="verdict"><h1>No file was scanned</h1><p>There is nothing to report.</p></section>'
    what = event(report.settings.whole_image)
    if report.whole and not report.settings.whole_image:
        what += "; or, where the answer is about the whole, that it was generated"
    folder = _folder(ordered)
    sections = "".join(_folded(k, file, file.path[len(folder) :], ordered, report) for k, file in enumerate(ordered))
    return f"""<section class="verdict"><h1>{len(ordered)} files scanned</h1>{_counts(ordered)}
<p>Number: {what}. Files that want attention come first.</p>
{f"<p><strong>{say(shifted(report.shift))}</strong></p>" if shifted(report.shift) else ""}
{f"<p>Folder: <bdi>{say(folder)}</bdi></p>" if folder else ""}</section>
<section id="files"><h2>All files</h2>{_table(ordered, link=True)}</section>
<section class="details"><h2>File by file</h2>
<p class="screen">Open a file to see its faces and reasons. What is open is printed.</p>{sections}</section>
"""


def _passed_over(report: Report) -> str:
    if not report.passed_over:
        return ""

    def row(one: PassedOver) -> str:
        more = ", …" if one.count > len(one.first) else ""
        names = f"<bdi>{say(', '.join(one.first))}</bdi>{more}"
        return f"<li>{say(_sentence(one.why)[:-1])} ({one.count:,}): {names}</li>"

    rows = "".join(row(one) for one in report.passed_over)
    return f'<section class="passed"><h2>Passed over</h2><p>Not looked at:</p><ul>{rows}</ul></section>\n'


def _folded(k: int, file: FileReport, path: str, ordered: Sequence[FileReport], report: Report) -> str:
    found = telling(file)
    number = f", {percent(found.score)}" if found.score is not None else ""
    inside = _verdict(file, report, 3) + _beside(file, 4) + _sheet(file) + _facts(file) + _faces(file, report, 4)
    inside += _whole(file, report, 4) + _provenance(file, 4)
    return f"""<details class="file"{" open" if len(ordered) <= SHOWN_OPEN else ""}>
<summary>{_icon(file.state)}<bdi>{say(path, 120)}</bdi>: {short(file)}{number}</summary>
<div id="file-{k}" tabindex="-1">{inside}<p class="back"><a href="#files">Back to the table</a></p></div>
</details>
"""


def _counts(ordered: Sequence[FileReport]) -> str:
    states = [file.state for file in ordered]
    found = [state for state in STATES if state in states]
    items = "".join(f"<li>{_icon(s)}<strong>{states.count(s)}</strong> {SHORT[s]}</li>" for s in found)
    return f'<ul class="counts">{items}</ul>'


def _table(ordered: Sequence[FileReport], *, link: bool) -> str:
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
    first += f" (same file as <bdi>{say(_name(same), 120)}</bdi>)" if same else ""
    rank = list(STATES).index(file.state)
    found = telling(file)
    number = percent(found.score) if found.score is not None else "–"
    return (
        f'<tr><th scope="row">{first}</th>'
        f'<td data-key="{rank}">{_icon(file.state)}{short(file)}</td>'
        f'<td data-key="{-1 if found.score is None else found.score:.6f}">{number}</td>'
        f'<td data-key="{-1 if found.low is None else found.low:.6f}">{span(found.low, found.high) or "–"}</td>'
        f'<td data-key="{len(file.faces)}">{len(file.faces)}</td></tr>'
    )


def _folder(files: Iterable[FileReport]) -> str:
    """What all paths begin with, up to a slash: said once instead of in every row."""
    # By characters, because paths of different roots, and URLs, have no common *path* but may well begin alike.
    common = os.path.commonprefix([file.path for file in files])  # noqa: RUF071
    return common[: common.rfind("/") + 1]


def _by_attention(files: Iterable[FileReport]) -> list[FileReport]:
    rank = {state: k for k, state in enumerate(STATES)}
    return sorted(files, key=lambda f: (rank[f.state], -(telling(f).score or 0.0)))


# --- the same for every report ---------------------------------------------------------------------------------------


def _detector(report: Report) -> str:
    def told(items: Sequence[str]) -> str:
        return _list(items) if items else "<p>Its card does not say.</p>"

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
        ("Made by", f"unmask {say(report.version)} on {_moment(report.created)}, format {say(report.schema_)}"),
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
    cite += f"{_moment(report.created)}, error rate {rate}."
    return f"""<section class="reproduce"><h2>To repeat or cite this report</h2>{_pairs(rows)}
<p>The long codes are SHA-256 sums: the same sums and settings give the same answer. Cite as:</p>
<p class="cite">{cite}</p>
</section>
"""


def _glossary() -> str:
    terms = "".join(f"<div><dt>{_icon(s)}{STATES[s]}</dt><dd>{GLOSSARY[s]}</dd></div>" for s in STATES)
    return f'<section class="glossary"><h2>The five answers</h2><dl>{terms}</dl></section>'


# --- small parts -----------------------------------------------------------------------------------------------------


def _icon(state: State) -> str:
    return f'<svg class="icon {state}" viewBox="0 0 16 16" aria-hidden="true">{ICONS[state]}</svg>'


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    """A description list; the values are HTML already."""
    return "<dl>" + "".join(f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in rows) + "</dl>"


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{_sentence(say(item))}</li>" for item in items) + "</ul>"


def _reasons(items: Sequence[str], title: str) -> str:
    return f'<div class="reasons"><p class="label">{title}</p>{_list(items)}</div>' if items else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", "…")) else ".")


def _name(path: str) -> str:
    """The last part of a path of any system."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or path


def _moment(created: str) -> str:
    return say(re.sub(r"(\d)T(\d\d:\d\d)", r"\1 \2", created).replace("+00:00", "Z").replace("Z", " UTC"), 60)


def _data(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _asset(name: str) -> str:
    return resources("unmask.scanning").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")

"""What a report in HTML says of one file: verdict, faces, the image as a whole, provenance."""

from __future__ import annotations

from collections.abc import Sequence

from unmask.scanning.beside import opinion
from unmask.scanning.drawing import Band, scale, summary, timeline
from unmask.scanning.evidence import unsaid
from unmask.scanning.html_parts import data_url, file_name, icon, pairs, reasons_block, sentence
from unmask.scanning.traces import said
from unmask.scanning.words import (
    C2PA,
    FACE,
    FACES_ASKED,
    HEAT_NOTE,
    MEASURED,
    PROVENANCE,
    PROVENANCE_NOTE,
    STATES,
    WHOLE,
    WHOLE_ASKED,
    confessed,
    event,
    facts,
    headline,
    map_note,
    meaning_of,
    meaning_of_whole,
    percent,
    say,
    span,
    weighs,
)
from unmask.types import EvidenceKind, Explanation, FaceReport, FileReport, Report, State, WholeReport

DRAWN: tuple[EvidenceKind, ...] = ("probability", "seen", "frames", "tiles", "traces")  # shown in another form
CAMERA = {"make", "model", "lens", "software", "date", "exif"}


def single(file: FileReport, report: Report) -> str:
    found = faces_section(file, report, 2) + whole_section(file, report, 2)
    return (
        verdict_block(file, report, 1)
        + beside_block(file, 2)
        + sheet_block(file)
        + facts_block(file)
        + found
        + provenance_section(file, 2)
    )


def verdict_block(file: FileReport, report: Report, level: int) -> str:
    return f"""<section class="verdict {file.state}">
<h{level}>{icon(file.state)}{headline(file)}</h{level}>
<p class="name"><bdi>{say(file_name(file.path), 300)}</bdi></p>
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
    return f"{asked}{number}<p>{meaning_of(file, report)}</p>{reasons_block(file.reasons, 'Why')}"


def _about_whole(file: FileReport, report: Report, level: int) -> str:
    whole = file.whole
    if whole is None:
        return ""
    unsure = report.whole.unsure if report.whole else None
    number = _number(whole, unsure, event(whole=True), "Probability of generation")
    asked = _question(WHOLE_ASKED, whole.state, WHOLE[whole.state], level)
    return f"{asked}{number}<p>{meaning_of_whole(whole, report)}</p>{reasons_block(whole.reasons, 'Why')}"


def _question(asked: str, state: State, answer: str, level: int) -> str:
    return f'<h{level} class="question">{asked} <span>{icon(state)}{answer}</span></h{level}>'


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


def beside_block(file: FileReport, level: int) -> str:
    """What further detectors say, and the fusion of all, where they were asked."""
    if not file.others:
        return ""
    given = [opinion(file), *file.others, *((file.fused,) if file.fused else ())]
    rows = "".join(
        f'<tr><th scope="row">{say(one.name)}</th><td>{"whole image" if one.about == "whole" else "faces"}</td>'
        f"<td>{icon(one.state)}{(WHOLE if one.about == 'whole' else STATES)[one.state]}</td>"
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


def sheet_block(file: FileReport) -> str:
    if file.sheet is None:
        return ""
    what = "The image" if file.media and file.media.kind == "image" else "Key frames of the video"
    boxes = ", with boxes around the faces" if file.faces else ""
    below = ", with the faces that were judged, numbered as below" if file.faces else ""
    return f"""<section class="sheet"><figure><img src="{data_url(file.sheet)}" alt="{what}{boxes}">
<figcaption>{what}{below}.</figcaption></figure></section>
"""


def facts_block(file: FileReport) -> str:
    rows = [("File", f"<bdi>{say(file.path)}</bdi>")]
    rows += [(name, f"<code>{say(text)}</code>" if name == "SHA-256" else say(text)) for name, text in facts(file)]
    return f'<section class="facts">{pairs(rows)}</section>\n'


def faces_section(file: FileReport, report: Report, level: int) -> str:
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


def whole_section(file: FileReport, report: Report, level: int) -> str:
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
{reasons_block(unsaid(file, "picture", whole.reasons, DRAWN), MEASURED)}</div>
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
{sentence(summary(face.samples))}</figcaption>
</figure>"""
    return f"""<article class="face">
<h{level}>{icon(face.state)}{name}: {FACE[face.state]}</h{level}>
<div class="images">{_pictures(face, name)}</div>
<div class="about"><p>{number}</p>{drawing}{_traces(face)}{reasons_block(face.reasons, "Why")}
{reasons_block(unsaid(file, f"face {face.track}", face.reasons, DRAWN), MEASURED)}</div>
</article>
"""


def _traces(face: FaceReport) -> str:
    return f"<p>{sentence(say(said(face.traces)))}</p>" if face.traces else ""


def _map_note(shown: Sequence[FaceReport | WholeReport], explanation: Explanation | None) -> str:
    """Said once, where there are images."""
    if all(one.thumbnail is None for one in shown):
        return ""
    said = map_note(explanation, any(one.heat is not None for one in shown))
    return f"<p>{say(said)}</p>" if said else ""


def _pictures(face: FaceReport | WholeReport, name: str) -> str:
    if face.thumbnail is None:
        return '<p class="missing">Image not kept.</p>'
    out = f'<figure><img src="{data_url(face.thumbnail)}" alt="{name}, as the detector saw it">'
    out += "<figcaption>As the detector saw it.</figcaption></figure>"
    if face.heat is not None:
        out += f'<figure><img src="{data_url(face.heat)}" alt="{name} with the parts marked that the answer rests on">'
        out += f"<figcaption>{HEAT_NOTE}</figcaption></figure>"
    return out


def provenance_section(file: FileReport, level: int) -> str:
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

"""The words of a report: what a state, a number or a file's own claims mean to somebody who has never seen them."""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Mapping, Sequence

from unmask.types import Explanation, FileReport, Opinion, Report, Shift, State, WholeReport

STATES: dict[State, str] = {
    "fake": "Likely forged",
    "uncertain": "Cannot tell",
    "failed": "Could not be read",
    "not_applicable": "No face to judge",
    "real": "No sign of forgery that this detector knows",
}
"""Names of the states, those that want a reader's attention first; of the answer about faces."""

SHORT: dict[State, str] = STATES | {"real": "No known sign of forgery"}
"""The same, for places where a line is short."""

FACE: dict[State, str] = SHORT | {"not_applicable": "Not judged"}
"""The same, of one face."""

WHOLE: dict[State, str] = STATES | {
    "fake": "Likely generated",
    "not_applicable": "Not judged",
    "real": "No sign of generation that this detector knows",
}
"""The same, of the image as a whole."""

WHOLE_SHORT: dict[State, str] = WHOLE | {"real": "No known sign of generation"}

FACES_ASKED, WHOLE_ASKED = "Is a face forged?", "Was it generated as a whole?"
"""The two questions."""

MEASURED = "Also measured"
"""Title of what was measured besides the reasons."""

GLOSSARY: dict[State, str] = {
    "fake": "The traces are of a kind that this detector knows from forgeries, and rare in real material at the chosen "
    "error rate. It is evidence, not proof.",
    "uncertain": "The evidence does not suffice to say either at the chosen error rate, or a check (recompression, "
    "tiny faces, unfamiliar material) took the answer back. It does not mean half forged.",
    "failed": "The file could not be opened or decoded, so it was not judged at all.",
    "not_applicable": "The file was read, but it shows no face that could be judged, and whole pictures were not "
    "asked about. It may still be forged.",
    "real": "The detector found nothing of what it knows from forgeries. It does not show that the file is genuine: "
    "unknown kinds of forgery, edits outside faces, staged scenes and false captions leave no such sign.",
}


def visible(text: str, limit: int = 2000) -> str:
    """Plain text with nothing hidden in it: control, direction and other invisible characters become readable marks.

    A file name may carry U+202E to show "gpj.exe" as "exe.jpg", or half a surrogate pair that no UTF-8 file can hold.
    More than `limit` characters are cut, and the cut is said.
    """
    cut = text[:limit]
    shown = "".join(_shown(c) for c in cut)
    return shown if len(text) <= limit else f"{shown}… ({len(text) - limit} more characters)"


def _shown(c: str) -> str:
    if c in "\n\t":
        return " "
    return f"[U+{ord(c):04X}]" if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} else c


def say(text: str, limit: int = 2000) -> str:
    """`visible`, escaped for HTML text and quoted attributes. Every string that a page shows goes through here."""
    return html.escape(visible(text, limit), quote=True)


def percent(p: float) -> str:
    """0.873 -> "87 %". Never "0 %" or "100 %": no detector is that sure."""
    if not math.isfinite(p):
        return "no number"
    if p < 0.01:
        return "under 1\u00a0%"
    if p > 0.99:
        return "over 99\u00a0%"
    return f"{100 * p:.0f}\u00a0%"


def span(low: float | None, high: float | None) -> str:
    """The interval in words, or nothing where there is none."""
    if low is None or high is None:
        return ""
    a, b = percent(low), percent(high)
    return a if a == b else f"{a if a.startswith('under') else a[:-2]} to {b}"


def odds(rate: float) -> str:
    """0.1 -> "10 in 100"."""
    return f"{100 * rate:g} in 100" if rate >= 0.01 else f"{1000 * rate:g} in 1,000"


def event(whole: bool) -> str:
    """What the number is the probability of, by the question."""
    what = "it was generated as a whole" if whole else "at least one face is forged"
    return f"probability that {what}, if {'generated' if whole else 'forged'} and real files were equally common"


def weighs(found: FileReport | WholeReport | Opinion) -> str:
    """The likelihood ratio as a plain sentence, or nothing where there is none."""
    ratio = found.likelihood_ratio
    if ratio is None:
        return ""
    if isinstance(found, FileReport) or (isinstance(found, Opinion) and found.about == "faces"):
        forged, real = "if at least one face is forged", "if none is"
    else:
        forged, real = "if it was generated as a whole", "if it was not"
    first, second = (forged, real) if ratio.log10 >= 0 else (real, forged)
    times = 10 ** abs(ratio.log10)
    much = f"about {times:.2g} times as probable {first} as {second}"
    if ratio.bounded:
        much = f"at least {times:,.0f} times as probable {first} as {second}, and the calibration data show no more"
    if times < 1.05:
        much = f"equally probable {first} and {second}"
    interval = f"90\u00a0% interval {ratio.low:.1f} to {ratio.high:.1f}"
    return f"What the detector saw is {much} (likelihood ratio, log10: {ratio.log10:.1f}, {interval})."


def copies(files: Sequence[FileReport]) -> dict[int, str]:
    """Position of each file whose content was listed before -> the path of the first one: one finding, not two."""
    first: dict[str, str] = {}
    found = {}
    for i, file in enumerate(files):
        if file.sha256 and first.setdefault(file.sha256, file.path) != file.path:
            found[i] = first[file.sha256]
    return found


def shifted(shift: Shift | None) -> str:
    """The shift alarm in a sentence, or nothing where it did not ring."""
    if shift is None or shift.alarm_after is None:
        return ""
    return (
        f"{shift.far:,} of {shift.files:,} files are further from the detector's training data than 99 in 100 of its "
        "validation crops: this batch is unlike what it was calibrated on, and its error rates may not hold here."
    )


def telling(file: FileReport) -> FileReport | WholeReport:
    """The answer that the file's state rests on: that about faces, or where that is another one, about the whole."""
    return file if file.whole is None or file.face_state == file.state else file.whole


def headline(file: FileReport) -> str:
    """The file's state in words."""
    return (STATES if telling(file) is file else WHOLE)[file.state]


def short(file: FileReport) -> str:
    """The same, for places where a line is short."""
    return (SHORT if telling(file) is file else WHOLE_SHORT)[file.state]


def meaning(state: State, error_rate: float) -> str:
    """What the verdict on a file means, and what it does not, in two or three sentences."""
    often = odds(error_rate)
    return {
        "fake": f"The detector found traces that it knows from forgeries. At most about {often} real files like those "
        "it was calibrated on would get this answer by mistake. It is evidence, not proof: read the reasons, and ask "
        "where the file comes from.",
        "real": f"The detector found nothing of what it knows from forgeries. At most about {often} forged files like "
        "those it was calibrated on would get this answer by mistake, and more of kinds that it has never seen. It "
        "does not show that the file is genuine.",
        "uncertain": "The evidence does not suffice to say either. This is an answer, not a fault: do not read it as "
        "half forged, and do not round it to the nearer side. The reasons say what stood in the way.",
        "not_applicable": "The file was read, but no face was found that could be judged, so there is no number. "
        "This says nothing for or against the file.",
        "failed": "The file could not be opened or decoded, so nothing was judged. The reasons say why.",
    }[state]


def meaning_of(file: FileReport, report: Report) -> str:
    """`meaning` of one file's verdict; where a check took a clear number back, it says so instead."""
    state = file.face_state or file.state
    if state == "uncertain" and len(file.faces) == 1 and (alone := _alone(file.score, report.unsure)):
        return _taken_back(STATES[alone])
    return meaning(state, report.settings.error_rate)


def meaning_of_whole(whole: WholeReport, report: Report) -> str:
    """The same, of the answer about the image as a whole."""
    unsure = report.whole.unsure if report.whole else None
    if whole.state == "uncertain" and (alone := _alone(whole.score, unsure)):
        return _taken_back(WHOLE[alone])
    often = odds(report.settings.error_rate)
    return {
        "fake": "The detector found traces that it knows from generated pictures, or from pictures that went through a "
        f"generator's decoder. At most about {often} real files like those it was calibrated on would get this answer "
        "by mistake. It is evidence, not proof.",
        "real": f"The detector found nothing of what it knows from generators. At most about {often} generated files "
        "like those it was calibrated on would get this answer by mistake, and more of generators that it has never "
        "seen, or after strong compression. It does not show that the file is genuine.",
    }.get(whole.state) or meaning(whole.state, report.settings.error_rate)


def _alone(score: float | None, unsure: tuple[float, float] | None) -> State | None:
    """What a number by itself would say, where it lies outside of what is too close to call."""
    if score is None or unsure is None or unsure[0] <= score <= unsure[1]:
        return None
    return "fake" if score > unsure[1] else "real"


def _taken_back(answer: str) -> str:
    return (
        f"By its number alone the answer would be “{answer}”, but a check took it back: for a file like this "
        "one the number cannot be relied on. The reasons say which check."
    )


PROVENANCE_NOTE = (
    "Claims that the file makes about itself. Camera fields can be written by anyone. Content Credentials (C2PA) are "
    "signed: a valid one shows who signed and that the file has not changed since, not that the scene is true. "
    "Most honest files carry none."
)

PROVENANCE: dict[str, str] = {
    "make": "Camera maker",
    "model": "Camera model",
    "lens": "Lens",
    "software": "Software",
    "date": "Date",
    "gps": "Position",
    "exif": "Camera data (EXIF)",
    "generator": "Traces of a generator",
    "generator_model": "Generator: model",
    "generator_prompt": "Generator: prompt",
    "generator_settings": "Generator: settings",
    "digital_source": "Digital source type (IPTC)",
    "declared": "Declared",
    "c2pa": "Content Credentials (C2PA)",
    "c2pa_why": "C2PA: why",
    "c2pa_signer": "C2PA: signed by",
    "c2pa_issuer": "C2PA: certificate from",
    "c2pa_tool": "C2PA: made with",
    "c2pa_date": "C2PA: signed on",
    "c2pa_actions": "C2PA: what was done",
    "c2pa_trust": "C2PA: signer",
}
"""Names of the fields of `FileReport.provenance`; others are shown by their key."""

C2PA = {
    "valid": "valid: signed, and not changed since. This does not say that the scene is true",
    "invalid": "invalid: the signature does not fit the file, which was changed after it was signed, or is damaged",
    "present": "present, but could not be validated",
    "absent": "absent, as in most files",
    "not_checked": "not checked",
}

HEAT_NOTE = "Red: where hiding the image changes the answer most. It is not a proof of where the image was edited."


def map_note(explanation: Explanation | None, shown: bool) -> str:
    """How well the maps that are shown were measured to point at forgeries, or why none is shown."""
    if explanation is None:
        return "" if shown else "No map is shown: how well maps of this detector point at forgeries was not measured."
    e = explanation
    measured = (
        f"On {e.crops} forgeries with known masks its highest point lay in the forged region in {percent(e.pointing)} "
        f"of cases, with {percent(e.mass)} of its weight; for a map that always marks the centre, "
        f"{percent(e.centre_pointing)} and {percent(e.centre_mass)}."
    )
    if shown:
        return f"Maps by {e.explainer}. {measured}"
    if e.localises:
        return ""  # the detector has maps; of this file none was made
    best = f"the best one for this detector ({e.explainer})"
    return f"No map is shown: {best} is not reliably better than the centre. {measured}"


def size(seconds: float) -> str:
    """Seconds as a person reads them: "4.2 s", "3 min 07 s"."""
    if seconds < 60:
        return f"{seconds:.1f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}\u00a0h {minutes:02d}\u00a0min" if hours else f"{minutes}\u00a0min {rest:02d}\u00a0s"


def facts(file: FileReport) -> list[tuple[str, str]]:
    """What is known of a file besides its answer, as (name, text): kind, size, length, frames looked at, SHA-256."""
    rows: list[tuple[str, str]] = []
    media = file.media
    if media:
        rows.append(("Kind", f"{'Picture' if media.kind == 'image' else 'Video'}, {visible(media.format)}"))
        rows.append(("Size", f"{media.width} × {media.height} pixels"))
        if media.seconds is not None:
            rate = f", {media.fps:.4g} frames per second" if media.fps else ""
            rows.append(("Length", size(media.seconds) + rate))
        if media.kind == "video" or media.frames_failed:
            missing = f"; {media.frames_failed} could not be read" if media.frames_failed else ""
            apart = f", one every {media.interval:.2g}\u00a0s and more where a face is seldom" if media.interval else ""
            length = max((s.frames for face in file.faces for s in face.samples), default=1)
            if length > 1 and media.interval:
                apart = f", {length} in a row every {media.interval:.2g}\u00a0s"
            rows.append(("Frames", f"{media.frames_read} looked at{apart}{missing}"))
    if file.face_state not in (None, "failed"):
        rows.append(("Faces", str(len(file.faces)) if file.faces else "none"))
    if file.seconds_spent:
        rows.append(("Time taken", size(file.seconds_spent.get("all", sum(file.seconds_spent.values())))))
    if file.sha256:
        rows.append(("SHA-256", visible(file.sha256)))
    return rows


def claims(provenance: Mapping[str, str]) -> list[str]:
    """What a file itself says of a generator that made it."""
    said = [text for key in ("declared", "generator") if (text := provenance.get(key))]
    if said and (model := provenance.get("generator_model")):
        said[-1] += f" (model {model})"
    return said


def confessed(provenance: Mapping[str, str]) -> tuple[str, ...]:
    """The same in sentences. Nobody writes that into a genuine image by accident, so it stands beside the verdict;
    that a file says nothing means nothing."""
    return tuple(f"The file itself says that a generator made it: {text}." for text in claims(provenance))

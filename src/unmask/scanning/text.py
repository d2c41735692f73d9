"""A report as text for a terminal, a log or `repr`: one line for each file, more for a single one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.text import Text

from unmask.scanning.evidence import unsaid
from unmask.scanning.listing import told
from unmask.scanning.traces import said
from unmask.scanning.words import (
    FACES_ASKED,
    MEASURED,
    SHORT,
    STATES,
    WHOLE,
    WHOLE_ASKED,
    WHOLE_SHORT,
    confessed,
    copies,
    event,
    headline,
    meaning_of,
    meaning_of_whole,
    percent,
    shifted,
    short,
    span,
    telling,
    visible,
    weighs,
)
from unmask.types import EvidenceKind, FaceReport, FileReport, Opinion, PassedOver, Report, Shift, State, WholeReport

COLOURS: dict[State, str] = {
    "fake": "bold red",
    "real": "green",
    "uncertain": "yellow",
    "not_applicable": "dim",
    "failed": "magenta",
}
IN_LINE: tuple[EvidenceKind, ...] = ("probability", "seen", "traces")  # said in a line of their own
SHOWN = 100  # files in the text of a report
_WIDTH = max(map(len, (*SHORT.values(), *WHOLE_SHORT.values())))


def whole(report: Report) -> Text:
    """The report on its only file in full, or the first verdicts and the count of all."""
    over = [passed_over(report.passed_over)] if report.passed_over else []
    if len(report.files) == 1:
        return Text("\n").join([single(report.files[0], report), *over])
    rest = len(report.files) - SHOWN
    same = copies(report.files[:SHOWN])
    rows = [line(file, same=same.get(i, "")) for i, file in enumerate(report.files[:SHOWN])]
    rows += [Text(f"... and {rest} more")] if rest > 0 else []
    return Text("\n").join([*rows, summary([file.state for file in report.files]), *alarm(report.shift), *over])


def line(file: FileReport | FaceReport, name: str | None = None, same: str = "") -> Text:
    """Verdict, number with interval, name, first reason. `name`: instead of the file's path; `same`: path of another
    file of the same content."""
    if name is None:
        name = file.path if isinstance(file, FileReport) else f"face {file.track}"
    found = telling(file) if isinstance(file, FileReport) else file
    said = short(file) if isinstance(file, FileReport) else SHORT[file.state]
    words = Text.assemble((f"{said:<{_WIDTH}}", COLOURS[file.state]), f"  {number(found):<25}  ", visible(name))
    if isinstance(file, FileReport) and confessed(file.provenance):
        words.append("  the file says that a generator made it", "bold red")
    if same:
        words.append(f"  same file as {visible(same, 200)}", "yellow")
    if found.reasons:
        more = f" (+{len(found.reasons) - 1} more)" if len(found.reasons) > 1 else ""
        words.append(f"  {visible(found.reasons[0], 200)}{more}", "dim")
    return words


def single(file: FileReport, report: Report) -> Text:
    """Everything that a reader needs to weigh one verdict."""
    rows = [Text.assemble((headline(file), COLOURS[file.state]), f"  {visible(file.path)}")]
    rows += [Text(text, "bold red") for text in map(visible, confessed(file.provenance))]
    if file.face_state is not None:
        asked = (FACES_ASKED, STATES[file.face_state]) if file.whole else None
        rows += _answer(file, file.face_state, asked, event(whole=False), meaning_of(file, report))
        rows += [line(face, f"face {face.track}, {_seen(face)}") for face in file.faces]
        rows += [Text(f"  {visible(said(face.traces))}") for face in file.faces if face.traces]
        rows += _measured(file)
    if file.whole is not None:
        whole, asked = file.whole, (WHOLE_ASKED, WHOLE[file.whole.state])
        rows += _answer(whole, whole.state, asked, event(whole=True), meaning_of_whole(whole, report))
    rows += [_opinion(one) for one in (*file.others, *((file.fused,) if file.fused else ()))]
    if file.media:
        rows.append(Text(_media(file), "dim"))
    rows.append(Text(_detectors(report), "dim"))
    return Text("\n").join(rows)


def _measured(file: FileReport) -> list[Text]:
    """What was measured besides the reasons, of the face that the number rests on."""
    about = [face for face in file.faces if face.track == file.rests_on]
    found = [text for face in about for text in unsaid(file, f"face {face.track}", face.reasons, IN_LINE)]
    head = [Text(f"{MEASURED}, of face {file.rests_on}:")] if found else []
    return [*head, *(Text(f"  - {visible(text)}") for text in found)]


def _answer(
    found: FileReport | WholeReport, state: State, asked: tuple[str, str] | None, what: str, meaning: str
) -> list[Text]:
    """One question and its answer; `asked`: the question and the answer in words, where there are two of them."""
    rows = [Text.assemble((f"{asked[0]} ", "bold"), (asked[1], COLOURS[state]))] if asked else []
    if found.score is not None:
        rows.append(Text(f"{number(found)}: {what}; in brackets its 90 % interval"))
    if weight := weighs(found):
        rows.append(Text(weight))
    return [*rows, Text(meaning), *(Text(f"  - {visible(reason)}") for reason in found.reasons)]


def _opinion(one: Opinion) -> Text:
    """What a further detector or a fusion says, in one line."""
    first = f"  {visible(one.reasons[0], 200)}" if one.reasons else ""
    question = "whole image" if one.about == "whole" else "faces"
    answer = (STATES if one.about == "faces" else WHOLE)[one.state]
    return Text.assemble(
        (answer, COLOURS[one.state]), f"  {number(one)}  {visible(one.name)} ({question})", (first, "dim")
    )


def _detectors(report: Report) -> str:
    whole = visible(report.whole.name) if report.whole else "not asked: no detector of them was given or is installed"
    if report.settings.whole_image:
        return f"detector of whole images {whole}"
    name, faces = visible(report.detector.name), visible(report.settings.faces)
    return f"detector {name}, face detector {faces}; whole images: {whole}"


def summary(states: Iterable[State] | Mapping[State, int]) -> Text:
    """How many files are what; `states` of the files, or how many are in each."""
    counts = Counter(states)
    files = counts.total()
    parts = [f"{counts[state]} {SHORT[state].lower()}" for state in STATES if counts[state]]
    return Text(f"{files:,} {'file' if files == 1 else 'files'}: {', '.join(parts) or 'nothing to report'}", "bold")


def alarm(shift: Shift | None) -> list[Text]:
    """That a batch is unlike the calibration data, where it is."""
    return [Text(shifted(shift), "yellow")] if shifted(shift) else []


def passed_over(passed: Sequence[PassedOver]) -> Text:
    """What folders held that was not looked at."""
    count = sum(one.count for one in passed)
    return Text(visible(f"{count:,} {'file' if count == 1 else 'files'} passed over: {told(passed)}"), "yellow")


def number(found: FileReport | FaceReport | WholeReport | Opinion) -> str:
    """ "87 % (70 % to 95 %)", or a dash: a state without a number has none."""
    if found.score is None:
        return "-"
    between = span(found.low, found.high)
    return percent(found.score) + (f" ({between})" if between else "")


def _seen(face: FaceReport) -> str:
    first, last = face.samples[0].t, face.samples[-1].t
    frames = f"{len(face.samples)} {'frame' if len(face.samples) == 1 else 'frames'}"
    return f"{frames} from {first:.1f} to {last:.1f} s" if last > first else frames


def _media(file: FileReport) -> str:
    media = file.media
    assert media is not None
    length = f", {media.seconds:.1f} s" if media.seconds is not None else ""
    unread = f", {media.frames_failed} unread" if media.frames_failed else ""
    frames = f", {media.frames_read} frames looked at{unread}" if media.kind == "video" else ""
    return f"{media.format} {media.kind}, {media.width}×{media.height}{length}{frames}"

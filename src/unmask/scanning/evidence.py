"""What was measured, piece by piece, and the one sentence that each piece allows.

A piece of evidence has a kind, what it is about, and facts. Its sentence is a template of its kind, and the template's
placeholders are its facts: what was not measured has no words. Words of strength ("only", "unlike", "changes") are
chosen by a predicate over the facts, never by the verdict. Change a fact, and the sentence changes with it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from unmask.scanning.words import C2PA, percent, size
from unmask.types import Evidence, EvidenceKind, Fact, FileReport, printable

Facts = Mapping[str, Fact]
MOVED = 0.05  # of a score: what changes it by less does not matter to a reader
ANSWERS = {"fake": "likely forged", "uncertain": "cannot tell", "real": "no known sign of forgery"}
EVENTS = {"file": "at least one face is forged", "face": "the face is forged", "picture": "it was generated as a whole"}


@dataclass(frozen=True)
class If:
    """One template where the predicate holds of the facts, and another where it does not."""

    holds: Callable[[Facts], bool]
    then: Template
    otherwise: Template


Template = str | If


def number(facts: Facts, name: str) -> float:
    """A fact as a number."""
    return float(facts[name])


def below(name: str, limit: str) -> Callable[[Facts], bool]:
    return lambda facts: number(facts, name) < number(facts, limit)


def above(name: str, limit: str) -> Callable[[Facts], bool]:
    return lambda facts: number(facts, name) > number(facts, limit)


def equals(name: str, value: Fact) -> Callable[[Facts], bool]:
    return lambda facts: facts[name] == value


def known(name: str) -> Callable[[Facts], bool]:
    return lambda facts: name in facts


def moved(facts: Facts) -> bool:
    return abs(number(facts, "after") - number(facts, "before")) >= MOVED


def all_seen(facts: Facts) -> bool:
    return number(facts, "seen") >= number(facts, "frames")


CALL = "{real:share} of real examples score this high and {forged:share} of forged ones this low in the validation data"
NO_FACE = "no face was found in "
NO_FACE_OF = "no face of about {least:.0f} px or more was found in "
NO_WINDOW = " stays in sight for {length} frames in a row, in {windows} windows of the video"
TOO_LITTLE = "; below {least:.0f} px there is too little to judge"
TRAINING = "this detector was trained on (distance {distance:.2f}, limit {limit:.2f})"

SENTENCES: Mapping[EvidenceKind, Template] = {
    # the number and what it rests on
    "probability": "the probability that {event} is {score:percent} (90 % interval: {low:percent} to {high:percent})",
    "rare_real": "only {share:share} of real examples in the validation data score this high",
    "rare_forged": "only {share:share} of forged examples in the validation data score this low",
    "undecided": If(
        equals("faces", 1),
        CALL + "; a call needs at most {needed:share}",
        CALL + "; a call needs at most {needed:share} among {faces} faces",
    ),
    "answers": "{faces:faces}: {state:answer}",
    "rests_on": If(
        equals("counted", 1), "the number rests on face {face} alone", "the number rests most on face {face}"
    ),
    "left_out": "{faces:faces,have} no part in the number: not fit to be judged, see there",
    "none_fit": "no number is given: no face in it is fit to be judged",
    "stands_out": "one face stands out, but among {faces} faces not enough to call the file forged",
    # what changed, and what did not
    "turns": "the verdict changes under {change}: from {before:.2f} to {after:.2f}",
    "holds": "under {changes} the score is {lowest:percent} to {highest:percent} (before: {before:percent})",
    "region": If(
        moved,
        "of {regions}, hiding the {region} changes the score of one frame most, from {before:percent} to "
        "{after:percent}: the detector looks there, which need not be where the image was edited",
        "hiding {regions} one by one changes the score of one frame little, most with the {region}: from "
        "{before:percent} to {after:percent}",
    ),
    # what was looked at
    "size": If(
        below("pixels", "least"),
        "{what} is {pixels:whole} px in size" + TOO_LITTLE,
        "{what} is {pixels:whole} px in size; {least:.0f} px are enough",
    ),
    "short_side": "the picture's short side has {pixels} px" + TOO_LITTLE,
    "distance": If(
        above("distance", "limit"),
        "{what} is unlike those " + TRAINING,
        "{what} is within the range of what " + TRAINING,
    ),
    "turned": If(
        equals("degrees", 180),
        "the image stands on its head: the face was found after turning it by {degrees}°; turn it, scan it again",
        "the image lies on its side: the face was found after turning it by {degrees}°; turn it, scan it again",
    ),
    "seldom": If(
        all_seen,
        "only {seen:frame} of the video could be looked at",
        "{what} was seen in only {seen} of {frames} frames",
    ),
    "seen": "{what} was seen in {seen} of {frames} frames, from {first:time} to {last:time}",
    "frames": "each judged alone, {above} of {looks} {unit} score 50 % or above; the highest is {highest:percent} at "
    "{highest_at:time}, the lowest {lowest:percent} at {lowest_at:time}",
    "tiles": "{tiles:part} of it were looked at, in {frames:frame}",
    "traces": If(
        equals("classes", ""),
        "traces resemble none of the {among} kinds that this detector knows",
        "traces resemble: {classes} (of {among} kinds; another one that it does not know may look alike)",
    ),
    # what was not looked at
    "unread": "{failed} of {frames} frames could not be read",
    "stopped": "reading stopped after {frames} frames: {why}",
    "no_face": If(
        known("frames"),
        If(known("least"), NO_FACE_OF + "{frames:frame}", NO_FACE + "{frames:frame}"),
        If(known("least"), NO_FACE_OF + "the image", NO_FACE + "the image"),
    ),
    "no_window": If(known("least"), "no face of about {least:.0f} px or more" + NO_WINDOW, "no face" + NO_WINDOW),
    "crowd": "a crowd: only the {most} largest faces of a frame were judged",
    "interval": If(
        equals("length", 1),
        "one frame every {seconds:.3g} s was looked at: what is shorter may have been missed",
        "one window of {length} frames in a row every {seconds:.3g} s was looked at: what is shorter may have been "
        "missed",
    ),
    "brief": "{count:brief detection} ignored: {why}",
    # what the file says of itself, and what others say in words of their own
    "claim": "the file itself says that a generator made it: {says}",
    "credentials": "Content Credentials (C2PA): {state:c2pa}",
    "note": "{says}",
}


def share(p: float) -> str:
    """0.031 -> "3.1 %", 0.31 -> "31 %"."""
    return f"{100 * p:.2g} %" if p < 0.1 else f"{100 * p:.0f} %"


def named(numbers: str) -> str:
    """ "2, 3" -> "faces 2, 3"."""
    return f"{'faces' if ',' in numbers else 'face'} {numbers}"


def counted(n: int, noun: str) -> str:
    """ "1 frame", "2 frames"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


FORMATS: Mapping[str, Callable[[Any], str]] = {
    "percent": percent,
    "share": share,
    "time": size,
    "whole": lambda value: str(int(value)),  # rounded down: 39.6 is not "40, below 40"
    "faces": named,
    "faces,have": lambda numbers: f"{named(numbers)} {'have' if ',' in numbers else 'has'}",
    "answer": lambda state: ANSWERS[state],
    "c2pa": lambda state: C2PA.get(state, state),
    "frame": lambda n: counted(n, "frame"),
    "part": lambda n: counted(n, "part"),
    "brief detection": lambda n: counted(n, "brief detection"),
}


class _Words(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        own = FORMATS.get(format_spec)
        return own(value) if own else str(super().format_field(value, format_spec))


def template(kind: EvidenceKind, facts: Facts) -> str:
    """The one that the facts choose."""
    chosen = SENTENCES[kind]
    while isinstance(chosen, If):
        chosen = chosen.then if chosen.holds(facts) else chosen.otherwise
    return chosen


def sentence(kind: EvidenceKind, about: str, facts: Facts) -> str:
    """The one sentence that this evidence allows, without a capital and a full stop.

    Args:
        about: "file", "face" or "face 2", or "picture".
    Raises: KeyError for facts of another kind.
    """
    subject = about.split(" ")[0]
    given = {**facts, "what": f"the {subject}", "event": EVENTS[subject]}
    return _Words().vformat(template(kind, facts), (), given)


def piece(kind: EvidenceKind, about: str, facts: Facts) -> Evidence:
    """A piece of evidence with its sentence; see `sentence`."""
    told = {name: printable(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}
    return Evidence(kind=kind, about=about, facts=told, text=sentence(kind, about, told))


def note(says: str, about: str = "file") -> Evidence:
    """What another part says in its own words."""
    return piece("note", about, {"says": says})


def once(pieces: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """Each piece once, where it stands first."""
    found = dict[str, Evidence]()
    for one in pieces:
        found.setdefault(one.model_dump_json(), one)
    return tuple(found.values())


def unsaid(file: FileReport, about: str, reasons: Iterable[str], shown: Container[EvidenceKind]) -> list[str]:
    """What was measured of one face, or of the picture, and not said yet.

    Args:
        reasons: texts that the reader has in sight already.
        shown: kinds that are shown in another form: the number, a timeline.
    """
    said = set(reasons)
    return [one.text for one in file.evidence if one.about == about and one.kind not in shown and one.text not in said]

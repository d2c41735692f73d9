"""TruthLens: nine questions to a vision-language model about one face, and a judge that reads the answers alone.

The idea in three sentences. "Is this face fake?" is too coarse a question for a frozen model. Nine questions, each
about one thing that forgeries get wrong, are asked one at a time. A text model that never sees the image reads all
answers and says real or fake, with a reason.

arXiv 2503.15342 (there is another TruthLens, arXiv 2503.15867). The questions are written anew from the paper's list;
where the authors' first release took any reply with the word "fake" as FAKE, a reply here is parsed or counted as
unreadable, never guessed. A leading question invites an invented defect, and the judge cannot see the image: read the
nine answers before the verdict.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unmask.errors import InputError, OutputError
from unmask.journal import appended
from unmask.types import Pixels, Plain
from unmask.vlm.chat import ChatError, ChatModel, Message

Verdict = Literal["real", "fake"]
Mode = Literal["structured", "joined"]


@dataclass(frozen=True)
class Probe:
    """One question. `conditional`: its answer may be that there is nothing to judge."""

    key: str
    title: str
    question: str
    conditional: bool = False


PROBES: tuple[Probe, ...] = (
    Probe(
        "lighting",
        "Lighting and shadows",
        "Describe the light on the face and the shadows it casts. Do they agree with one source of light, or does "
        "a shadow or a direction of light contradict the others?",
    ),
    Probe(
        "texture",
        "Texture and skin",
        "Describe the skin: pores, wrinkles, blemishes. Does it look like skin, or is it smoother or more uniform "
        "than skin is?",
    ),
    Probe(
        "symmetry",
        "Symmetry and proportions",
        "Describe the proportions of eyes, nose, mouth and outline. Are they natural, or is something placed or "
        "shaped in a way that a face is not?",
    ),
    Probe(
        "reflections",
        "Reflections and highlights",
        "Describe the highlights in the eyes and on the skin. Do they fit the surroundings, or do they contradict "
        "each other?",
    ),
    Probe(
        "facial_features",
        "Features and expression",
        "Describe the expression. Do eyes, brows and mouth act together, or does the expression look forced or "
        "put together?",
    ),
    Probe(
        "facial_hair",
        "Facial hair",
        "If the face has a beard, a moustache or stubble, describe how it grows and takes the light. Is it "
        "natural? If there is none, answer: not applicable.",
        conditional=True,
    ),
    Probe(
        "eyes",
        "Eyes and pupils",
        "Describe both pupils and irises: size, shape, place. Are they alike and round, or does one of them look "
        "wrong?",
    ),
    Probe(
        "background",
        "Background and depth",
        "Describe how the face meets the background. Do edges and blur follow from the distance, or is the face "
        "cut off from what is behind it?",
    ),
    Probe(
        "overall_realism",
        "The face as a whole",
        "Consider the face as a whole. Does it look like a photograph of a person, or do you see signs of editing "
        "or generation? Name them.",
    ),
)
FIRST_RELEASE = (
    "eyes", "facial_features", "facial_hair", "overall_realism", "reflections", "symmetry", "texture",
)  # fmt: skip
SYSTEM = (
    "You examine photographs of faces for forgery. You are given what an observer wrote about one photograph; you "
    "do not see it. Weigh light and shadow, skin, symmetry and proportions, reflections, and the eyes. Answer "
    'with JSON alone: {"verdict": "REAL" or "FAKE", "justification": one or two sentences}. Take neither answer '
    "for granted."
)
ASK = "Is the photograph described here REAL or FAKE?\n\n"
SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"enum": ["REAL", "FAKE"]}, "justification": {"type": "string"}},
    "required": ["verdict", "justification"],
    "additionalProperties": False,
}
YES_NO = "Is this photograph of a face real or fake? Answer with one word: REAL or FAKE."


class Answer(Plain):
    """One probe of one image; `error` instead of a text where the model did not answer."""

    image: str
    probe: str
    text: str = ""
    error: str = ""
    model: str = ""
    seed: int = 0

    @property
    def applies(self) -> bool:
        """Whether there was something to judge: no beard is no evidence of anything."""
        return not self.error and not re.match(r"\W*(not applicable|n/?a)\b", self.text, re.IGNORECASE)


class Judgement(Plain):
    """What the judge said. `verdict` None = unreadable; `graded`: P(fake) from its log-probabilities, or None."""

    image: str
    verdict: Verdict | None
    justification: str = ""
    status: str = "parsed"
    reply: str = ""
    graded: float | None = None
    used: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    model: str = ""


# --- the four steps --------------------------------------------------------------------------------------------------


def probe(model: ChatModel, name: str, image: Pixels, one: Probe, *, seed: int = 0, decoder: str = "") -> Answer:
    """One question in a context of its own. An error is recorded as one, never passed on as a description."""
    try:
        reply = model.chat([Message("user", one.question)], [image], max_tokens=256, seed=seed, decoder=decoder)
    except ChatError as error:
        return Answer(image=name, probe=one.key, error=str(error), seed=seed, model=model.name)
    if not reply.text.strip():
        return Answer(image=name, probe=one.key, error="the model answered nothing", seed=seed, model=reply.model)
    return Answer(image=name, probe=one.key, text=reply.text, seed=seed, model=reply.model)


def aggregate(answers: Sequence[Answer], mode: Mode = "structured") -> str:
    """What the judge reads: answers under their titles in the order of PROBES, or all in one line without titles."""
    by_key = {answer.probe: answer for answer in answers if answer.applies}
    kept = [(one.title, by_key[one.key].text.strip()) for one in PROBES if one.key in by_key]
    if not kept:
        raise InputError("no probe was answered, so there is nothing to judge")
    return (
        "\n\n".join(f"[{title}]\n{text}" for title, text in kept)
        if mode == "structured"
        else " | ".join(text for _, text in kept)
    )


def judge(model: ChatModel, name: str, answers: Sequence[Answer], *, mode: Mode = "structured") -> Judgement:
    """The verdict of a text model on the answers alone; graded too where the model gives log-probabilities."""
    used = tuple(answer.probe for answer in answers if answer.applies)
    missing = tuple(answer.probe for answer in answers if answer.error)
    about: dict[str, Any] = {"image": name, "used": used, "missing": missing, "model": model.name}
    if not used:
        return Judgement(verdict=None, status="no answers", **about)
    text = ASK + aggregate(answers, mode)
    messages = [Message("system", SYSTEM), Message("user", text)]
    schema = SCHEMA if "json_schema" in model.capabilities else None
    try:
        reply = model.chat(messages, max_tokens=256, json_schema=schema)
    except ChatError as error:
        return Judgement(verdict=None, status=f"no reply: {error}", **about)
    verdict, justification, status = parse(reply.text)
    about["model"] = reply.model
    return Judgement(
        verdict=verdict,
        justification=justification,
        status=status,
        reply=reply.text,
        graded=graded(model, text),
        **about,
    )


def graded(model: ChatModel, text: str) -> float | None:
    """P(fake) among the first words FAKE and REAL of a one-word answer; None without log-probabilities."""
    if "logprobs" not in model.capabilities:
        return None
    messages = [Message("system", "Answer with one word: REAL or FAKE."), Message("user", text)]
    try:
        reply = model.chat(messages, max_tokens=1, logprobs=20)
    except ChatError:
        return None
    mass = {"real": 0.0, "fake": 0.0}
    for token, logprob in reply.logprobs[0].items() if reply.logprobs else ():
        word = token.strip().lower()
        for name in mass:
            if word and (name.startswith(word) or word == name):
                mass[name] += math.exp(logprob)
    total = mass["real"] + mass["fake"]
    return mass["fake"] / total if total > 0 else None


# --- the reply -------------------------------------------------------------------------------------------------------

LONGEST = 10_000  # characters: a verdict is short, and Python's own parser is not made for the hostile and long
_FENCE = re.compile(r"^```[a-zA-Z]*\s*|\s*```$")
_FIELD = re.compile(
    r"""(?:^|[\n,{])\s*["'*]*verdict["'*]*\s*[:=]\s*["'*]*\s*(REAL|FAKE)\b(?!\s*(?:or|/|\|))""", re.IGNORECASE
)


def parse(reply: str) -> tuple[Verdict | None, str, str]:
    """JSON, a Python literal, one such object inside prose, or a line `verdict: X`; else unreadable, never guessed.

    Returns: verdict or None, justification, how it was read ("json", "literal", "embedded", "field") or why not.
    """
    text = _FENCE.sub("", reply.strip()).strip()[:LONGEST]
    if not text:
        return None, "", "empty"
    for how, read in (("json", json.loads), ("literal", ast.literal_eval)):
        found = _object(text, read)
        if found is not None:
            return _verdict(found, how)
    inside = [o for o in map(_loads, re.findall(r"\{[^{}]*\}", text)) if o is not None and "verdict" in o]
    said = {str(o["verdict"]).strip().upper() for o in inside}
    if len(said) == 1:
        return _verdict(inside[0], "embedded")
    if len(said) > 1:
        return None, "", "contradicts itself"
    fields = {word.lower() for word in _FIELD.findall(text)}
    if len(fields) == 1:
        verdict: Verdict = "fake" if fields == {"fake"} else "real"
        return verdict, "", "field"
    return None, "", "contradicts itself" if fields else "unreadable"


def _verdict(found: Mapping[str, Any], how: str) -> tuple[Verdict | None, str, str]:
    said = found.get("verdict")
    word = said.strip().lower() if isinstance(said, str) else ""
    why = found.get("justification")
    if word == "fake":
        return "fake", why if isinstance(why, str) else "", how
    if word == "real":
        return "real", why if isinstance(why, str) else "", how
    return None, "", "no verdict"


def _object(text: str, read: Callable[[str], Any]) -> dict[str, Any] | None:
    try:
        found = read(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return {str(k).lower(): v for k, v in found.items()} if isinstance(found, dict) else None


def _loads(text: str) -> dict[str, Any] | None:
    found = _object(text, json.loads)
    return _object(text, ast.literal_eval) if found is None else found


# --- many images -----------------------------------------------------------------------------------------------------


def run(
    model: ChatModel,
    judging: ChatModel,
    images: Mapping[str, Callable[[], Pixels]],
    out: Path,
    *,
    probes: Sequence[Probe] = PROBES,
    mode: Mode = "structured",
    seed: int = 0,
    progress: Callable[[int], None] = lambda n: None,
) -> list[Judgement]:
    """All images, each answer one line of OUT/probes.jsonl and each verdict one of OUT/verdicts.jsonl; resumable.

    Args:
        images: name -> what reads it, asked only where something is missing.
    Raises: UnmaskError for a folder of other models or questions.
    """
    out.mkdir(parents=True, exist_ok=True)
    wish = {
        "model": model.name,
        "judge": judging.name,
        "mode": mode,
        "seed": seed,
        "questions": [p.question for p in probes],
    }
    busy = f"another run is writing into {out}; wait for it"
    with appended(out / "probes.jsonl", busy) as asked, appended(out / "verdicts.jsonl", busy) as judged:
        answers = [Answer.model_validate_json(line) for line in _lines(asked, wish, out)]
        verdicts = {v.image: v for v in (Judgement.model_validate_json(line) for line in _lines(judged, wish, out))}
        known = {(a.image, a.probe): a for a in answers if not a.error}
        for name, read in images.items():
            if name not in verdicts:
                of_image = []
                missing = [one for one in probes if (name, one.key) not in known]
                image = read() if missing else None
                for one in probes:
                    answer = known.get((name, one.key))
                    if answer is None:
                        assert image is not None
                        answer = probe(model, name, image, one, seed=seed)
                        _add(asked, answer)
                    of_image.append(answer)
                verdicts[name] = judge(judging, name, of_image, mode=mode)
                _add(judged, verdicts[name])
            progress(1)
    return [verdicts[name] for name in images]


def _lines(file: Any, wish: dict[str, Any], out: Path) -> list[bytes]:
    """The lines of an earlier run; the first says what was wanted."""
    file.seek(0)
    lines: list[bytes] = file.read().splitlines()
    if not lines:
        file.write(json.dumps(wish).encode() + b"\n")
        file.flush()
        return []
    if json.loads(lines[0]) != wish:
        raise OutputError(f"{out} holds answers of other models or questions: give a new folder")
    return lines[1:]


def _add(file: Any, row: Plain) -> None:
    file.write(row.model_dump_json().encode() + b"\n")
    file.flush()

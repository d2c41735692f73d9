"""What a vision-language model says of the faces in a file: marked as its words, and no part of any verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field

from unmask.types import Pixels, Plain
from unmask.vlm.chat import ChatModel
from unmask.vlm.truthlens import PROBES, Answer, Judgement, Probe, judge, probe

SENT_NOWHERE = "this process"
CAUTION = (
    "These are the words of a language model that looked at the image. They were not measured, may be invented, and "
    "have no part in the verdict above."
)


class FaceStatements(Plain):
    """`about`: "face 2"; `answers`: to the probes, as they came; `judgement`: what the judge made of them."""

    about: str
    answers: tuple[Answer, ...]
    judgement: Judgement
    agrees: bool | None = Field(None, description="with the detector's state; None where either did not decide")


class Statements(Plain):
    """Who described which images, where they were sent, and what was said."""

    kind: Literal["statements of a model"] = "statements of a model"
    caution: str = CAUTION
    model: str
    sent_to: str = Field(description="address of the server that got the images, or that they stayed here")
    judge: str
    judge_at: str
    pictures: int = Field(description="that the model was shown")
    faces: tuple[FaceStatements, ...]


def describe(
    model: ChatModel,
    judging: ChatModel,
    faces: Sequence[tuple[str, str, Pixels]],
    *,
    probes: Sequence[Probe] = PROBES,
    decoder: str = "",
    progress: Callable[[str], None] = lambda what: None,
) -> Statements:
    """
    Args:
        faces: (what it is, the detector's state of it, image (H, W, 3)).
        decoder: a decoding rule, for models in this process.
    """
    told = []
    for about, state, image in faces:
        answers = []
        for one in probes:
            progress(f"{about}: {one.title}")
            answers.append(probe(model, about, image, one, decoder=decoder))
        verdict = judge(judging, about, answers)
        decided = verdict.verdict is not None and state in ("fake", "real")
        told.append(
            FaceStatements(
                about=about,
                answers=tuple(answers),
                judgement=verdict,
                agrees=verdict.verdict == state if decided else None,
            )
        )
    return Statements(
        model=model.name,
        sent_to=model.address or SENT_NOWHERE,
        judge=judging.name,
        judge_at=judging.address or SENT_NOWHERE,
        pictures=len(told),
        faces=tuple(told),
    )


def lines(said: Statements) -> list[str]:
    """As text: who says it first, then each answer, then the judge's."""
    where = f"images were sent to {said.sent_to}" if said.sent_to != SENT_NOWHERE else "no image left this process"
    out = [f"What the model {said.model} says ({where}). {said.caution}"]
    titles = {one.key: one.title for one in PROBES}
    for face in said.faces:
        out.append(f"{face.about}:")
        for answer in face.answers:
            text = answer.text.strip() if not answer.error else f"no answer: {answer.error}"
            out.append(f"  {titles.get(answer.probe, answer.probe)}: “{text}”")
        verdict = face.judgement
        graded = "" if verdict.graded is None else f", {100 * verdict.graded:.0f} % of its probability on fake"
        word = verdict.verdict or f"unreadable ({verdict.status})"
        reason = f" “{verdict.justification}”" if verdict.justification else ""
        out.append(f"  The judge {verdict.model or said.judge}, on these words alone: {word}{graded}.{reason}")
        if face.agrees is not None:
            out.append(f"  It {'agrees with' if face.agrees else 'contradicts'} the detector, whose verdict stands.")
    return out

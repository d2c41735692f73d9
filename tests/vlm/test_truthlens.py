"""TruthLens: its four steps on a planted observer, and replies made to be misread."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from unmask.types import UnmaskError
from unmask.vlm import truthlens
from unmask.vlm.chat import Capability, ChatModel, Reply, Request
from unmask.vlm.scripted import Scripted
from unmask.vlm.truthlens import PROBES, Answer, aggregate, judge, parse, probe, run

IMAGE = np.zeros((4, 4, 3), np.uint8)

REPLIES: list[tuple[str, str | None]] = [
    ('{"verdict": "FAKE", "justification": "seam"}', "fake"),
    ('{"verdict": "REAL", "justification": "no signs of being fake"}', "real"),
    ('{"verdict": "real"}', "real"),
    ('{"verdict": " Fake "}', "fake"),
    ('{"VERDICT": "FAKE"}', "fake"),
    ("{'verdict': 'REAL', 'justification': 'natural'}", "real"),
    ("{'verdict': 'FAKE', 'justification': \"the eyes don't match\"}", "fake"),
    ('```json\n{"verdict": "FAKE", "justification": "x"}\n```', "fake"),
    ('```\n{"verdict": "REAL", "justification": "x"}\n```', "real"),
    ('Here is my answer: {"verdict": "REAL", "justification": "I do not think it is fake"}', "real"),
    ('{"verdict": "FAKE", "justification": "x"} I hope this helps with the real question.', "fake"),
    ("Verdict: FAKE", "fake"),
    ("Justification: none\nverdict = REAL", "real"),
    ("**Verdict:** FAKE\nThe skin is too smooth.", "fake"),
    ("There are no signs of being fake.", None),
    ("This is not fake.", None),
    ("It is not real.", None),
    ("FAKE or REAL? I cannot say.", None),
    ("Verdict: REAL or FAKE", None),
    ("Verdict: FAKE/REAL", None),
    ('{"verdict": "REAL or FAKE"}', None),
    ('{"verdict": "UNSURE", "justification": "could be fake"}', None),
    ('{"verdict": null}', None),
    ('{"verdict": true}', None),
    ('{"verdict": ["FAKE"]}', None),
    ('{"justification": "the image is fake"}', None),
    ('{"verdict": "FAKE"} {"verdict": "REAL"}', None),
    ("Verdict: FAKE\nVerdict: REAL", None),
    ("", None),
    ("   \n", None),
    ("```json\n```", None),
    ("[]", None),
    ('["FAKE"]', None),
    ('"FAKE"', None),
    ("I can give no verdict: FAKE would be a guess.", None),
    ("The word fake was in the description, but the face is genuine.", None),
    ("unrealistic", None),
    ('{"verdict": "FAKE", "justif', "fake"),  # cut off, but after it was said
    ("__import__('os').system('true')", None),
    ("(" * 500, None),
    ("Error code: 429 - rate limit while asking whether it is fake", None),
    ("The photograph is authentic, nothing fake about it.", None),
]


@pytest.mark.parametrize(("reply", "verdict"), REPLIES)
def test_a_reply_is_read_or_counted_as_unreadable(reply: str, verdict: str | None) -> None:
    assert parse(reply)[0] == verdict


def test_the_substring_rule_of_the_first_release_fails_on_these_replies() -> None:
    def substring(reply: str) -> str:
        return "fake" if "fake" in reply.lower() else "real"

    assert len(REPLIES) >= 40
    assert sum(substring(reply) != verdict for reply, verdict in REPLIES) >= 8


class Observer(ChatModel):
    """Answers "defect" or "fine" to each probe: the truth of the image, flipped with probability `error`."""

    capabilities = frozenset[Capability]({"images"})
    name = "observer"

    def __init__(self, error: float) -> None:
        self.error, self.rng = error, np.random.default_rng(0)

    def answer(self, asked: Request) -> Reply:
        flip = self.rng.random() < self.error
        return Reply("defect" if bool(asked.images[0][0, 0, 0]) != flip else "fine", "stop", self.name)


class Majority(ChatModel):
    """A judge that counts defects among the answers it is given."""

    name = "majority"

    def answer(self, asked: Request) -> Reply:
        text = asked.messages[-1].text
        said = "FAKE" if text.count("defect") > text.count("fine") else "REAL"
        return Reply(f'{{"verdict": "{said}", "justification": "counted"}}', "stop", self.name)


@pytest.mark.parametrize("error", [0.0, 0.1, 0.3, 0.5])
def test_the_plumbing_loses_and_reorders_nothing(error: float) -> None:
    """Nine answers that are each wrong with probability e: the majority is right as the binomial says."""
    observer, right, count = Observer(error), 0, 300
    for number in range(count):
        image = np.full((2, 2, 3), number % 2, np.uint8)
        answers = [probe(observer, "image", image, one) for one in PROBES]
        assert [line for line in aggregate(answers).splitlines() if line.startswith("[")] == [
            f"[{one.title}]" for one in PROBES
        ]
        right += judge(Majority(), "image", answers).verdict == ("fake" if number % 2 else "real")
    expected = sum(math.comb(9, k) * (1 - error) ** k * error ** (9 - k) for k in range(5, 10))
    deviation = math.sqrt(expected * (1 - expected) / count)
    assert abs(right / count - expected) <= 2.6 * deviation  # 99 % of the binomial; at e = 0 exactly 1


def test_a_beard_that_is_not_there_and_an_error_are_no_descriptions() -> None:
    model = Scripted([("beard", "Not applicable."), ("pupils", ""), ("skin: pores", "It looks fake."), ("", "fine")])
    answers = [probe(model, "image", IMAGE, one) for one in PROBES]
    text = aggregate(answers)
    assert "Facial hair" not in text
    assert "Eyes and pupils" not in text
    found = judge(Scripted([("", "no idea")]), "image", answers)
    assert (found.verdict, found.status, found.missing) == (None, "unreadable", ("eyes",))
    assert "facial_hair" not in found.used
    assert judge(model, "image", [Answer(image="image", probe="eyes", error="down")]).status == "no answers"


def test_a_run_goes_on_where_it_was_killed_and_refuses_other_models(tmp_path: Path) -> None:
    model = Scripted([("", "fine")])
    judging = Scripted([("", '{"verdict": "REAL", "justification": "all fine"}')], name="judge")
    images = {name: (lambda: IMAGE) for name in ("one", "two")}
    first = run(model, judging, images, tmp_path)
    assert len(model.asked) == 2 * len(PROBES)
    lines = (tmp_path / "probes.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "probes.jsonl").write_text("".join(lines[:-1]) + lines[-1][:20])
    (tmp_path / "verdicts.jsonl").write_text("".join((tmp_path / "verdicts.jsonl").read_text().splitlines(True)[:-1]))
    assert run(model, judging, images, tmp_path) == first
    assert len(model.asked) == 2 * len(PROBES) + 1  # the one answer that was torn off
    with pytest.raises(UnmaskError, match="other models"):
        run(model, Scripted([], name="another"), images, tmp_path)


class Graded(ChatModel):
    capabilities = frozenset[Capability]({"logprobs"})
    name = "graded"

    def answer(self, asked: Request) -> Reply:
        if asked.logprobs:
            tokens = {" FAKE": math.log(0.3), "F": math.log(0.1), "REAL": math.log(0.2), "The": math.log(0.4)}
            return Reply("FAKE", "length", self.name, (tokens,))
        return Reply("verdict: FAKE", "stop", self.name)


def test_a_graded_score_is_apart_from_the_hard_verdict() -> None:
    found = judge(Graded(), "image", [Answer(image="image", probe="eyes", text="odd")])
    assert found.verdict == "fake"
    assert found.graded == pytest.approx(0.4 / 0.6)  # (0.3 + 0.1) / (0.3 + 0.1 + 0.2)
    assert judge(Majority(), "image", [Answer(image="image", probe="eyes", text="fine")]).graded is None
    assert len(truthlens.FIRST_RELEASE) == 7

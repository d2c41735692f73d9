"""Each sentence follows from its facts: flip one and it changes; random reports never claim more than their numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import Formatter
from typing import Any, get_args

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.scanning.test_verdict import calibration
from unmask.bundles.calibration import p_values
from unmask.scanning.evidence import SENTENCES, note, once, piece, sentence, template
from unmask.scanning.person import Judge, Seen
from unmask.scanning.regions import NAMES, hidden, regions
from unmask.scanning.verdict import Verdict, file_verdict
from unmask.scanning.words import percent
from unmask.types import Evidence, EvidenceKind, Face, Fact, Pixels, Settings

# Of each kind one piece for each of its sentences: what it is about, and its facts.
EXAMPLES: dict[EvidenceKind, tuple[str, list[dict[str, Fact]]]] = {
    "probability": ("face 1", [{"score": 0.91, "low": 0.8, "high": 0.95}]),
    "rare_real": ("face 1", [{"share": 0.03}]),
    "rare_forged": ("face 1", [{"share": 0.03}]),
    "undecided": ("face 1", [{"real": 0.2, "forged": 0.3, "needed": 0.1 / k, "faces": k} for k in (1, 2)]),
    "answers": ("file", [{"faces": "1, 2", "state": "fake"}, {"faces": "3", "state": "uncertain"}]),
    "rests_on": ("file", [{"face": 2, "counted": 1}, {"face": 2, "counted": 3}]),
    "left_out": ("file", [{"faces": "2"}, {"faces": "2, 3"}]),
    "none_fit": ("file", [{}]),
    "stands_out": ("file", [{"faces": 4}]),
    "turns": ("face 1", [{"change": "JPEG 70", "before": 0.88, "after": 0.27}]),
    "holds": ("face 1", [{"changes": "JPEG 70 and half size", "before": 0.9, "lowest": 0.85, "highest": 0.92}]),
    "region": (
        "face 1",
        [{"regions": "eyes and mouth", "region": "eyes", "before": 0.9, "after": after} for after in (0.4, 0.89)],
    ),
    "size": ("face 1", [{"pixels": 31.6, "least": 40.0}, {"pixels": 90.0, "least": 40.0}]),
    "short_side": ("picture", [{"pixels": 30, "least": 224}]),
    "distance": ("face 1", [{"distance": 2.1, "limit": 1.5}, {"distance": 1.1, "limit": 1.5}]),
    "turned": ("face 1", [{"degrees": 90}, {"degrees": 180}]),
    "seldom": ("face 1", [{"seen": 2, "frames": 8}, {"seen": 2, "frames": 2}]),
    "seen": ("face 1", [{"seen": 8, "frames": 32, "first": 0.5, "last": 70.0}]),
    "frames": (
        "face 1",
        [
            {
                "above": 3, "looks": 8, "unit": "frames", "highest": 0.9, "highest_at": 2.0, "lowest": 0.1,
                "lowest_at": 4.0,
            }
        ],
    ),
    "tiles": ("picture", [{"tiles": 4, "frames": 1}]),
    "traces": ("face 1", [{"classes": "", "among": 5}, {"classes": "StyleGAN or swap", "among": 5}]),
    "unread": ("file", [{"failed": 2, "frames": 32}]),
    "stopped": ("file", [{"frames": 12, "why": "over the limit"}]),
    "no_face": ("file", [{"frames": 12, "least": 48.0}, {"frames": 12}, {"least": 48.0}, {}]),
    "no_window": ("file", [{"length": 8, "windows": 4}, {"length": 8, "windows": 4, "least": 48.0}]),
    "crowd": ("file", [{"most": 20}]),
    "interval": ("file", [{"seconds": 2.5, "length": 1}, {"seconds": 2.5, "length": 8}]),
    "brief": ("file", [{"count": 1, "why": "seen once"}, {"count": 3, "why": "seen once"}]),
    "claim": ("file", [{"says": "IPTC says trainedAlgorithmicMedia"}]),
    "credentials": ("file", [{"state": "valid"}]),
    "note": ("file", [{"says": "a sidecar was not read"}]),
}  # fmt: skip
PIECES = [(kind, about, facts) for kind, (about, all_facts) in EXAMPLES.items() for facts in all_facts]
SURE = re.compile(r"\b(proves?|proof|certain(ly)?|definitely|surely|genuine|authentic|impossible|always|never)\b", re.I)


def others(value: Fact) -> Iterator[Fact]:
    """Other values of the same kind, far enough away to be seen in print."""
    if isinstance(value, str):
        yield from ("", "7", "8, 9", "real", "fake", "invalid", value + " and more")
    elif isinstance(value, int):
        yield from (1, 2, 180, value + 7)
    else:
        yield from (0.03, 0.71, value + 120)


def test_every_kind_has_a_sentence_an_example_and_a_row_in_the_docs() -> None:
    assert set(SENTENCES) == set(EXAMPLES) == set(get_args(EvidenceKind))
    documented = dict(
        re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", (REPOSITORY / "docs/report.md").read_text("utf-8"), re.M)
    )
    for kind, (_, examples) in EXAMPLES.items():
        assert set(re.findall(r"`(\w+)`", documented[kind])) == {name for facts in examples for name in facts}, kind


@pytest.mark.parametrize(("kind", "about", "facts"), PIECES)
def test_every_fact_is_heard(kind: EvidenceKind, about: str, facts: dict[str, Fact]) -> None:
    text = sentence(kind, about, facts)
    for name, value in facts.items():
        changed = []
        for other in others(value):
            try:
                changed.append(sentence(kind, about, facts | {name: other}) != text)
            except KeyError:  # no such state
                continue
        assert any(changed), (name, text)


@pytest.mark.parametrize(("kind", "about", "facts"), PIECES)
def test_without_a_fact_its_sentence_cannot_be_said(kind: EvidenceKind, about: str, facts: dict[str, Fact]) -> None:
    text = sentence(kind, about, facts)
    for name in facts:
        fewer = {key: value for key, value in facts.items() if key != name}
        try:
            assert sentence(kind, about, fewer) != text, name
        except KeyError:
            continue


# --- random reports --------------------------------------------------------------------------------------------------


def random_report(rng: np.random.Generator) -> tuple[Verdict, list[Verdict], list[list[Seen]], float]:
    """Faces of random scores, sizes, distances and courses, judged as a scan does."""
    frames = int(rng.integers(1, 33)) if rng.random() < 0.6 else None
    rate = float(rng.choice([0.05, 0.1, 0.3]))
    people = [person(rng, frames) for _ in range(rng.integers(1, 5))]

    def margins(crops: Pixels) -> Any:
        return np.asarray(rng.normal(0, 3, len(crops)), np.float32)

    judge = Judge(
        calibration(), float(rng.uniform(0.5, 3)) if rng.random() < 0.5 else None, margins, Settings(error_rate=rate)
    )
    k = max(1, sum(not judge.unfit(seen) for seen in people))
    verdicts = []
    for number, seen in enumerate(people, 1):
        verdict = judge.checked(judge.seen(judge.verdict(seen, k, frames), seen, frames), seen, k)
        verdicts.append(judge.region(verdict, seen).of(f"face {number}"))
    return file_verdict(verdicts, [len(seen) for seen in people]), verdicts, people, rate / k


def person(rng: np.random.Generator, frames: int | None) -> list[Seen]:
    side, mean = float(rng.uniform(20, 200)), float(rng.normal(0, 3))
    points = np.array([[5, 6], [11, 6], [8, 9], [6, 12], [10, 12]], np.float32)
    turned = int(rng.choice([0, 0, 90, 180, 270]))
    return [
        Seen(
            Face(i, 0.4 * i, (0.0, 0.0, side, side), points, 0.9, turned),
            np.eye(2, 3, dtype=np.float32),
            mean + float(rng.normal()),
            float(rng.uniform(0, 4)),
            np.full((16, 16, 3), 90, np.uint8) if i == 0 else None,
        )
        for i in range(int(rng.integers(1, (frames or 1) + 1)))
    ]


def digits(text: str) -> set[str]:
    return set(re.findall(r"\d+", text))


def printed(value: Fact) -> str:
    """All the ways in which a sentence may print a fact."""
    if isinstance(value, str):
        return value
    minutes, rest = divmod(round(value), 60)
    plain = f"{value} {int(value)} {value:.0f} {value:.1f} {value:.2f} {value:.3g}"
    return f"{plain} {percent(value)} {100 * value:.2g} {100 * value:.0f} {minutes} {rest:02d}"


def claims_no_more(one: Evidence) -> None:
    assert one.text == sentence(one.kind, one.about, one.facts)
    assert not SURE.search(one.text), one.text
    fixed = "".join(literal for literal, *_ in Formatter().parse(template(one.kind, one.facts)))
    allowed = digits(fixed) | digits(" ".join(map(printed, one.facts.values())))
    assert digits(one.text) <= allowed, (one.text, digits(one.text) - allowed)
    f: dict[str, Any] = one.facts
    if one.kind == "distance":
        assert ("unlike" in one.text) == (f["distance"] > f["limit"])
    if one.kind == "size":
        assert ("too little" in one.text) == (f["pixels"] < 40)
    if one.kind == "turns":
        assert (f["before"] - 0.5) * (f["after"] - 0.5) <= 0
    if one.kind == "holds":
        assert f["lowest"] <= f["highest"]
    if one.kind == "region":
        assert ("changes the score of one frame little" in one.text) == (abs(f["after"] - f["before"]) < 0.05)
    if one.kind == "frames":
        assert f["lowest"] <= f["highest"]
        assert (f["above"] == 0) == (f["highest"] < 0.5)
        assert (f["above"] == f["looks"]) == (f["lowest"] >= 0.5)


def reports_claim_no_more(count: int, seed: int) -> set[str]:
    rng, kinds = np.random.default_rng(seed), set()
    for _ in range(count):
        file, faces, people, needed = random_report(rng)
        for one in once([*file.reasons, *(one for face in faces for one in (*face.reasons, *face.measured))]):
            claims_no_more(one)
            kinds.add(one.kind)
        for face, seen in zip(faces, people, strict=True):
            p_real, p_fake = p_values(calibration(), float(np.mean(np.array([s.margin for s in seen], np.float32))))
            rare = {one.kind for one in face.reasons} & {"rare_real", "rare_forged"}
            assert "rare_real" not in rare or p_real <= needed
            assert "rare_forged" not in rare or p_fake < p_real
            if face.state in ("fake", "real"):
                assert rare == {"rare_real" if face.state == "fake" else "rare_forged"}
            assert face.counted or {"size", "distance"} & {one.kind for one in face.reasons}
        for one in file.reasons:
            if one.kind == "answers":
                told = {faces[int(number) - 1].state for number in str(one.facts["faces"]).split(", ")}
                assert told == {one.facts["state"]}
            if one.kind == "rests_on" and "alone" in one.text:
                assert [i for i, face in enumerate(faces, 1) if face.counted] == [one.facts["face"]]
        assert (file.score is None) == ("none_fit" in {one.kind for one in file.reasons})
    return kinds


def test_random_reports_never_claim_more_than_their_numbers() -> None:
    kinds = reports_claim_no_more(60, 1)
    assert len(kinds) > 12, kinds


@pytest.mark.slow
def test_a_thousand_random_reports_never_claim_more_than_their_numbers() -> None:
    reports_claim_no_more(1000, 2)


# --- regions ---------------------------------------------------------------------------------------------------------


def test_parts_of_a_face_are_where_its_points_are() -> None:
    # Eyes 40 apart: squares reach 14 to each side, the face 28 beyond its points.
    points = np.array([[40, 40], [80, 40], [60, 60], [45, 80], [75, 80]], np.float32)
    masks = regions(points, 120)
    assert tuple(masks) == NAMES
    assert masks["eyes"].sum() == 2 * 29 * 29
    assert masks["nose"].sum() == 29 * 29
    assert masks["mouth"].sum() == 29 * 59
    assert masks["surroundings"].sum() == 120 * 120 - 97 * 97
    assert masks["mouth"][80, 45]
    crop = np.zeros((120, 120, 3), np.uint8)
    for one, mask in zip(hidden(crop, masks), masks.values(), strict=True):
        assert np.array_equal(one[..., 0] == 127, mask)
    assert "surroundings" not in regions(points - 30, 70)  # a tight crop has none


def test_the_part_that_moves_the_score_is_the_one_that_is_named() -> None:
    """A detector that looks at the mouth alone."""
    points = np.array([[5, 6], [11, 6], [8, 9], [6, 12], [10, 12]], np.float32)
    crop = np.zeros((16, 16, 3), np.uint8)

    def margins(crops: Pixels) -> Any:
        return np.where(crops[:, 12, 8, 0] == 127, -2.0, 2.0).astype(np.float32)

    seen = [Seen(Face(0, 0.0, (0.0, 0.0, 99.0, 99.0), points, 0.9), np.eye(2, 3, dtype=np.float32), 2.0, None, crop)]
    judge = Judge(calibration(), None, margins, Settings())
    (one,) = judge.region(Verdict("fake", 0.88), seen).measured
    assert one.facts["region"] == "mouth"
    # 1 / (1 + e^-2) = 0.88 and 1 / (1 + e^2) = 0.12
    assert "hiding the mouth changes the score of one frame most, from 88\u00a0% to 12\u00a0%" in one.text


def test_a_piece_that_is_given_twice_is_kept_once() -> None:
    a, b = piece("tiles", "picture", {"tiles": 4, "frames": 1}), piece("tiles", "picture", {"tiles": 5, "frames": 1})
    assert once([a, b, a]) == (a, b)


def test_names_that_are_no_text_become_text() -> None:
    one = note("/data/caf\udce9.webp is not there")
    assert one.text == one.facts["says"] == "/data/caf\\xe9.webp is not there"
    assert Evidence.model_validate_json(one.model_dump_json()) == one

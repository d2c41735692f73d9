"""Similarity, answers and attributes by hand."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.bundles.embedding import EmbeddingCard
from unmask.errors import InputError
from unmask.faces.standard import from_five
from unmask.identity.attributes import NAMES, Difference, attributes, differences, upright
from unmask.identity.compare import answer, check_version, compare, leave_one_out, similarity
from unmask.identity.gallery import Identity, IdentityCard
from unmask.types import InputSpec

FIVE = np.array([(40, 50), (80, 50), (60, 74), (43, 91), (77, 91)], np.float32)


def person(embeddings: np.ndarray) -> Identity:
    card = IdentityCard(
        name="ann", created="now", consent="Ann, today", encoder="e", encoder_sha256="a" * 64, photos=()
    )
    return Identity(card, embeddings.astype(np.float32), np.zeros((len(embeddings), len(NAMES)), np.float32))


def test_cosines() -> None:
    held = np.array([[1.0, 0], [0, 1.0]], np.float32)
    # The mean of (1, 0) and (0, 1) points to (1, 1) / sqrt 2: its cosine with (1, 0) is 1 / sqrt 2.
    assert similarity(held, np.array([1.0, 0], np.float32)) == pytest.approx(0.5**0.5)
    assert leave_one_out(held).tolist() == [0.0, 0.0]
    assert len(leave_one_out(held[:1])) == 0


@pytest.mark.parametrize(
    ("similar", "traces", "expected"),
    [
        (0.6, "real", "consistent"), (0.6, "fake", "forgery"), (0.6, "uncertain", "cannot tell"),
        (0.4, "fake", "somebody else"), (0.4, "real", "somebody else"), (0.5, "real", "consistent"),
    ],
)  # fmt: skip
def test_answers(similar: float, traces: str, expected: str) -> None:
    assert answer(similar, 0.5, traces) == expected  # type: ignore[arg-type]


def test_a_comparison_says_how_usual_it_is() -> None:
    held = np.array([[1.0, 0], [0.8, 0.6], [0.6, 0.8]])
    found = compare(person(held), np.array([1.0, 0], np.float32), 0.5, "fake", 0.9)
    assert found.answer == "forgery"
    assert "not authentic" in found.sentence
    assert found.usual is not None
    assert found.usual[0] == pytest.approx(1.4 / 2**0.5 / 1.4, abs=0.01)  # (1, 0) against the mean of the others
    with pytest.raises(InputError, match="cosine between -1 and 1"):
        compare(person(held), np.array([1.0, 0], np.float32), 50, "real", 0.1)


def test_an_old_gallery_is_read_where_the_card_says_so() -> None:
    card = EmbeddingCard(name="new", version="2", input=InputSpec(), dim=2, licence="", sha256="b" * 64)
    with pytest.raises(InputError, match="enrol anew"):
        check_version(person(np.eye(2)), card)
    check_version(person(np.eye(2)), card.model_copy(update={"comparable": ("a" * 64,)}))
    check_version(person(np.eye(2)), card.model_copy(update={"sha256": "a" * 64}))


def test_upright_points_do_not_depend_on_place_turn_and_size() -> None:
    points = from_five(FIVE)
    turn = np.array([[0.0, -1.0], [1.0, 0.0]], np.float32)
    moved = 2 * points @ turn + np.array([300, 200], np.float32)
    np.testing.assert_allclose(upright(moved), upright(points), atol=1e-5)
    assert upright(points)[36:42].mean(0) == pytest.approx([-0.5, 0], abs=1e-6)
    with pytest.raises(InputError, match="span no face"):
        upright(np.zeros((81, 2), np.float32))


def test_a_wider_mouth_is_said() -> None:
    image = np.full((128, 128, 3), (200, 150, 100), np.uint8)
    points = from_five(FIVE)
    wide = points.copy()
    wide[48, 0] -= 8
    wide[54, 0] += 8
    usual, query = attributes(image, points), attributes(image, wide)
    place = {name: n for n, name in enumerate(NAMES)}
    eyes = float(np.hypot(*(points[42:48].mean(0) - points[36:42].mean(0))))
    assert query[place["mouth width"]] - usual[place["mouth width"]] == pytest.approx(16 / eyes, abs=1e-4)
    assert usual[place["skin redness"]] == pytest.approx(200 / 450)
    assert usual[place["skin lightness"]] == pytest.approx(100 * (0.2126 * 200 + 0.7152 * 150 + 0.0722 * 100) / 255)
    (said,) = differences(np.stack([usual, usual]), query)
    assert (said.name, said.region) == ("mouth width", "mouth")
    assert said.deviations == pytest.approx(16 / eyes / 0.06, abs=0.01)  # the least deviation, for two equal photos
    assert str(Difference("nose width", "nose", -2.5)).startswith(
        "nose width: narrower than in the enrolled photos (-2.5"
    )

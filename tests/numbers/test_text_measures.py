"""Measures of explanations in words, by hand."""

from __future__ import annotations

import math

import pytest

from unmask.measure.text import (
    artefact_f1,
    chair,
    embedding_similarity,
    named,
    pope,
    rouge_l,
    text_baselines,
    yes_or_no,
)

ARTEFACTS = {
    "smooth skin": ["skin is too smooth", "plastic skin"],
    "mismatched eyes": ["pupils differ", "eyes differ"],
    "seam": ["visible edge", "blending boundary"],
}


def test_rouge_l() -> None:
    # "the cat on mat" and "the cat sat on the mat": LCS the cat on mat = 4, 2 4 / (4 + 6)
    assert rouge_l("The cat on mat.", "the cat sat on the mat") == pytest.approx(0.8)
    assert rouge_l("a b", "b a") == pytest.approx(0.5)  # one of two words in order
    assert rouge_l("", "word") == 0


def test_cosine_of_embeddings() -> None:
    # cos = 1 and cos = 3/5: mean 0.8
    assert embedding_similarity([[2, 0], [3, 4]], [[5, 0], [1, 0]]) == pytest.approx(0.8)


def test_artefacts_are_named_unless_denied() -> None:
    assert named("The skin is too smooth, and the pupils differ.", ARTEFACTS) == {"smooth skin", "mismatched eyes"}
    assert named("There is no visible edge. Plastic skin.", ARTEFACTS) == {"smooth skin"}
    assert named("No seam, but the eyes differ", ARTEFACTS) == {"mismatched eyes"}
    assert named("Seams at the jaw", ARTEFACTS) == {"seam"}


def test_a_constant_and_a_swapped_explanation_are_told_apart_by_artefacts_where_overlap_does_not() -> None:
    truth = [{"smooth skin"}, {"mismatched eyes"}, {"seam"}, {"seam"}]
    head = "This is a fake image. On close inspection of the face the following was found: "
    say = {"smooth skin": "plastic skin.", "mismatched eyes": "pupils differ.", "seam": "visible edge."}
    right = [head + say[next(iter(tags))] for tags in truth]

    def overlap(predicted: list[str], reference: list[str]) -> float:
        return sum(map(rouge_l, predicted, reference)) / len(reference)

    def artefacts(predicted: list[str], reference: list[str]) -> float:
        return artefact_f1([named(t, ARTEFACTS) for t in predicted], [named(t, ARTEFACTS) for t in reference])

    by_overlap, by_artefact = (text_baselines(right, right, metric) for metric in (overlap, artefacts))
    assert by_overlap.value == by_artefact.value == 1
    assert by_overlap.constant > 0.9  # the template alone
    assert by_artefact.constant == pytest.approx(0.5)  # "seam" for all: 2 of 4 hits, 2 2 / (4 + 4)
    assert artefact_f1([{"seam"}], [{"smooth skin"}]) == 0
    assert math.isnan(artefact_f1([set()], [set()]))


def test_chair_with_synonyms_and_double_words() -> None:
    words = {"person": ["man", "woman"], "dog": ["puppy"], "hot dog": [], "car": ["automobile"]}
    captions = ["A man eats a hot dog.", "Two puppies near cars and a woman"]
    truth = [{"person", "hot dog"}, {"dog"}]
    # mentions: person, hot dog; dog, car, person: 5, of which car and person are not there: 2/5; 1 of 2 captions;
    # all three objects that are there were named
    found = chair(captions, truth, words)
    assert (found.instances, found.sentences, found.recall) == pytest.approx((2 / 5, 1 / 2, 1))


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        ("Yes, there is.", "yes"),
        ("No.", "no"),
        ("There isn't any", "no"),
        ("I know what a car is", "unparsed"),
        ("yes and no", "unparsed"),
        ("It is not there. Yes", "no"),
        ("", "unparsed"),
    ],
)
def test_yes_and_no_are_whole_words(reply: str, read: str) -> None:
    assert yes_or_no(reply) == read


def test_pope() -> None:
    # yes-yes, yes-no, no-yes, no-no, unreadable-no: accuracy 2/5, precision 1/2, recall 1/2, yes 2/5
    found = pope(["yes", "yes", "no", "no", "maybe"], [True, False, True, False, False])
    assert (found.accuracy, found.precision, found.recall, found.f1) == pytest.approx((0.4, 0.5, 0.5, 0.5))
    assert (found.yes, found.unparsed) == (0.4, 1)

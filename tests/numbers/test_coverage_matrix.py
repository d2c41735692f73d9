"""The matrix of generation families and evidence: made from files, never by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from unmask.errors import InputError
from unmask.measure.coverage_matrix import (
    EVIDENCE,
    GENERATION,
    GENERATORS,
    OUT_OF_SCOPE,
    UNTESTED,
    Figure,
    evidence_of,
    family_of,
    markdown,
    matrix,
    words,
)
from unmask.registry import card, names

FIGURE = Figure("npr-tiny", "ffpp/Deepfakes", 0.75, 0.5, 1.0, 10, 10, 5, "video", False, "ab" * 32, "result.json cd")


def test_without_results_no_cell_has_a_number() -> None:
    empty = matrix([])
    said = {words(empty, family, evidence) for family in GENERATION for evidence in EVIDENCE}
    assert said == {OUT_OF_SCOPE, UNTESTED}
    assert {words(empty, "G8", evidence) for evidence in EVIDENCE} == {OUT_OF_SCOPE}  # sound is not looked at
    assert {words(empty, family, "D9") for family in GENERATION} == {OUT_OF_SCOPE}


def test_the_figure_shown_rests_on_most_groups_and_is_not_the_best() -> None:
    better = replace(FIGURE, detector="spsl", made="FaceSwap", value=0.99, groups=4)
    found = matrix([better, FIGURE])
    assert words(found, "G1", "D2") == "0.750 [0.500, 1.000], 5 groups (+1)"
    as_many = replace(FIGURE, detector="srm", value=0.7)
    assert words(matrix([better, FIGURE, as_many]), "G1", "D2") == "0.700 [0.500, 1.000], 5 groups (+2)"
    page = markdown(found, "unmask eval map result.json")
    assert page.count("0.750 [0.500, 1.000]") == 2  # in the matrix and in the list
    assert page.count("0.990 [0.500, 1.000]") == 1
    assert "result.json cd" in page


def test_where_names_belong() -> None:
    assert family_of("ffpp/Face2Face", {}) == "G2"
    assert family_of("Stable_Diffusion-2.1", {}) == "G5"
    assert family_of("mine", {}) is None
    assert family_of("mine", {"mine": "G7"}) == "G7"
    assert evidence_of("embedded", {}) == "D1"
    assert evidence_of("unmask-embedded-3", {}) == "D1"
    assert evidence_of("tsom-pp-tiny", {}) == "D1"
    assert evidence_of("nprx", {}) is None
    found = matrix([replace(FIGURE, made="mine")])
    assert (len(found.cells), len(found.unplaced)) == (0, 1)


def test_every_detector_s_card_names_its_column() -> None:
    assert {card("detector", name).evidence for name in names("detector")} <= set(EVIDENCE.values())


def test_no_generator_has_two_rows() -> None:
    made = [name for group in GENERATORS.values() for name in group.split()]
    assert len(made) == len(set(made))


@pytest.mark.parametrize(
    ("made", "detectors", "why"),
    [
        ({"ffpp/Deepfakes": "G10"}, {}, "there is no 'G10'"),
        ({"ffpp/Deepfakes": "G8"}, {}, "out of scope"),
        ({}, {"npr-tiny": "D9"}, "out of scope"),
    ],
)
def test_a_cell_that_is_out_of_scope_takes_no_figure(made: dict[str, str], detectors: dict[str, str], why: str) -> None:
    with pytest.raises(InputError, match=why):
        matrix([FIGURE], made, detectors)

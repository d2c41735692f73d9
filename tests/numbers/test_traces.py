"""What a report says of the generator: sets that are empty, hold one, or several."""

from __future__ import annotations

import numpy as np

from unmask.scanning.traces import said, traces_of
from unmask.types import Card, ClassCalibration, InputSpec


def card(**changes: object) -> Card:
    strange = tuple(np.linspace(0, 0.5, 19).tolist())
    values: dict[str, object] = {
        "name": "c", "version": "0", "summary": "", "method": "m", "classes": ("real", "gan", "swap"), "licence": "",
        "input": InputSpec(), "files": {}, "ood_threshold": 2.0,
        "class_calibration": ClassCalibration(kind="method", temperature=1.0, strangeness=(strange,) * 3, data=""),
    }  # fmt: skip
    return Card.model_validate(values | changes)


def test_sets_of_every_size() -> None:
    def named(*logits: float, distance: float | None = 1.0) -> tuple[str, ...]:
        found = traces_of(card(), np.array(logits, np.float32), distance, 0.1)
        assert found is not None
        return found.resemble

    # Up to strangeness 0.47 two or more of 19 are as strange: (1 + 2) / 20 > 0.1. So P must be above about 0.53.
    assert named(0, 5, 0) == ("gan",)
    assert named(0, 1, 1) == ()  # P of 0.42 each: none of them is as likely as it is among its own
    assert named(0, 5, 0, distance=3.0) == ()  # unlike the training data
    assert named(0, 5, 0, distance=None) == ("gan",)


def test_a_class_with_few_items_is_never_named() -> None:
    few = ClassCalibration(kind="method", temperature=1.0, strangeness=((0.1,) * 19, (0.1,), ()), data="")
    found = traces_of(card(class_calibration=few), np.array([0, 9.0, 0], np.float32), 1.0, 0.1)
    assert found is not None
    assert (found.resemble, found.among) == ((), ("real",))


def test_other_bundles_say_nothing_of_it() -> None:
    logits = np.zeros(3, np.float32)
    assert traces_of(card(class_calibration=None), logits, 1.0, 0.1) is None
    of_people = card().class_calibration
    assert of_people is not None
    people = of_people.model_copy(update={"kind": "identity"})
    assert traces_of(card(class_calibration=people), logits, 1.0, 0.1) is None


def test_words() -> None:
    found = traces_of(card(), np.array([0, 5.0, 0], np.float32), 1.0, 0.1)
    assert found is not None
    assert said(found).startswith("traces resemble: gan (of 3 kinds; another one")
    assert "none of the 3 kinds" in said(found.model_copy(update={"resemble": ()}))
    both = found.model_copy(update={"resemble": ("real", "gan", "swap")})
    assert "an image without forgery, gan or swap" in said(both)

"""Methods are built by name with checked options, and listed without importing them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from unmask.registry import FAMILIES
from unmask.types import UnmaskError


def test_options_reach_the_class() -> None:
    assert FAMILIES["detector"].create("mobilenet", {"dropout": 0.5}).dropout.p == 0.5
    assert FAMILIES["detector"].create("mobilenet").dropout.p == 0.2


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnmaskError, match="mobilenet has no option 'dropuot'; did you mean 'dropout'"):
        FAMILIES["detector"].create("mobilenet", {"dropuot": 0.5})


def test_a_value_of_a_wrong_type_is_refused_by_its_name() -> None:
    with pytest.raises(UnmaskError, match=r"mobilenet cannot be built with these options: dropout: .*number"):
        FAMILIES["detector"].create("mobilenet", {"dropout": "much"})


def test_an_unknown_method_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnmaskError, match=r"no method 'mobilnet'.*did you mean 'mobilenet'"):
        FAMILIES["detector"].card("mobilnet")


@pytest.mark.parametrize("name", FAMILIES["detector"].names())
def test_every_method_says_what_it_is(name: str) -> None:
    assert all(FAMILIES["detector"].card(name).model_dump(exclude={"needs", "answers"}).values())


def test_methods_are_listed_without_torch() -> None:
    code = (
        "import sys; from unmask.app.cli import app; app(['methods'], standalone_mode=False);"
        "print('loaded', sorted({'torch', 'transformers', 'pyarrow'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "mobilenet" in said
    assert said.endswith("loaded []\n")

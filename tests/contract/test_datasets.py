"""What every data set layout promises, whichever it is."""

import ast
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unmask.app.cli import app
from unmask.data import datasets
from unmask.data.adapter import DataCard, Problem
from unmask.data.manifest import Row
from unmask.types import UnmaskError


@pytest.mark.parametrize("name", datasets.names())
def test_a_layout_has_a_literal_card_that_says_what_a_reader_must_know(name: str) -> None:
    module = datasets.adapter(name)
    assert module.__name__.removesuffix("_") == f"unmask.data.datasets.{name}"
    tree = ast.parse(Path(str(module.__file__)).read_text())
    cards = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "CARD"]
    assert len(cards) == 1
    assert isinstance(cards[0], ast.Call)
    written = {k.arg: k.value for k in cards[0].keywords}
    assert {"title", "paper", "access", "terms", "layout", "splits"} <= set(written)
    # Nothing in it is looked up or computed but sums of published counts.
    assert not any(isinstance(n, ast.Name | ast.Attribute | ast.Call) for v in written.values() for n in ast.walk(v))
    card: DataCard = module.CARD
    assert all((card.title, card.paper, card.access, card.terms, card.splits))
    assert card.layout == "distributor" or card.unverified, "what is not from the distributor must be named"


@pytest.mark.parametrize("name", datasets.names())
def test_an_empty_folder_has_no_rows_and_says_so_without_a_crash(name: str, tmp_path: Path) -> None:
    found: list[Row | Problem] = []
    with suppress(UnmaskError):  # a clear refusal is an answer too
        found.extend(datasets.adapter(name).rows(tmp_path))
    assert not [one for one in found if isinstance(one, Row)]


def test_the_list_of_layouts_says_what_of_each_is_not_verified() -> None:
    listed = CliRunner().invoke(app, ["data", "list"])
    assert listed.exit_code == 0, listed.output
    blocks = dict(block.split("  ", 1) for block in listed.output.replace("\n  ", "\0").splitlines())
    assert list(blocks) == datasets.names()
    for name, text in blocks.items():
        card = datasets.adapter(name).CARD
        assert all(said in text for said in (card.title, card.access, card.splits, card.layout, *card.unverified))

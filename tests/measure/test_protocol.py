"""Protocols are data: misspelt keys are named, filters keep the reals, and those that ship all load."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from unmask.measure.protocol import Where, load, names
from unmask.types import UnmaskError


def written(folder: Path, text: str) -> str:
    path = folder / "p.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", names())
def test_a_protocol_that_ships_loads_and_is_named_as_its_file(name: str) -> None:
    assert load(name).name == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\ntitle: A\nmetrcs: [auroc]", "did you mean 'metrics'"),
        ("name: a\ntitle: A\ntest: {datset: [x]}", "did you mean 'dataset'"),
        ("name: a\ntitle: A\ninterval: {round: 100}", "did you mean 'rounds'"),
        ("name: a\ntitle: A\nvaldate: {split: [val]}", "did you mean 'validate'"),
        ("name: a\ntitle: A\ncolumns: frames", "frames: give a list"),
        ("name: a\ntitle: A\nmetrics: [pair_order]", "needs pairing: paired"),
        ("name: a\ntitle: A\nmetrics: [acuracy]", "metrics"),
        ("- a", "file"),
        ("a: [", "cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_nearest_name(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UnmaskError, match=said):
        load(written(tmp_path, text))


def test_an_unknown_protocol_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnmaskError, match="did you mean 'compression'"):
        load("compresion")


def test_a_filter_on_the_forgery_keeps_the_reals_and_drops_what_has_no_label() -> None:
    table = pa.table(
        {
            "label": pa.array([0, 1, 1, None], pa.int8()),
            "dataset": ["d"] * 4,
            "method": ["", "swap", "blend", "swap"],
            "family": ["", "FS", "SBI", "FS"],
            "compression": ["c23"] * 4,
            "media_type": ["video"] * 4,
            "split": ["test"] * 4,
        }
    )
    assert Where(method=("swap",)).mask(table).tolist() == [True, True, False, False]
    assert Where(not_method=("swap",)).mask(table).tolist() == [True, False, True, False]
    assert Where(dataset=("other",)).mask(table).tolist() == [False] * 4


def test_another_protocol_has_another_hash(tmp_path: Path) -> None:
    one = load(written(tmp_path, "name: a\ntitle: A"))
    other = load(written(tmp_path, "name: a\ntitle: A\ninterval: {seed: 1}"))
    assert one.digest != other.digest


def test_robustness_is_said_to_be_another_command() -> None:
    with pytest.raises(UnmaskError, match="unmask eval robustness"):
        load("robustness")

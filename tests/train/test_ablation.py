"""The ablation's draw of pairs, its choice of a learning rate, and what its table says of a claim."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import ablation
import ablation_table
from ablation_table import Scored

from unmask.data.manifest import FaceRow


def face(name: str, label: int, of: str) -> FaceRow:
    return FaceRow(
        dataset="d",
        item_id=name,
        media_id=name,
        relpath=f"{name}.png",
        label=label,
        group_id="g",
        pair_key=of,
        frame=0,
        t=0.0,
    )


def test_unpaired_data_have_the_same_reals_and_as_many_forgeries_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "PAIRS", 4)
    rows = [face(f"r{i}", 0, f"r{i}") for i in range(9)] + [face(f"f{i}", 1, f"r{i}") for i in range(8)]
    drawn = ablation.drawn(rows, 0)
    reals = {name: {r.media_id for r in part if r.label == 0} for name, part in drawn.items()}
    sources = {name: {r.pair_key for r in part if r.label == 1} for name, part in drawn.items()}
    assert reals["paired"] == reals["unpaired"] == sources["paired"]
    assert len(sources["unpaired"]) == len(sources["paired"]) == 4
    assert not sources["unpaired"] & reals["unpaired"]
    assert [r.item_id for r in ablation.drawn(rows, 1)["paired"]] != [r.item_id for r in drawn["paired"]]


def test_too_few_pairs_are_no_unpaired_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "PAIRS", 4)
    with pytest.raises(AssertionError):
        ablation.drawn([face(f"r{i}", 0, f"r{i}") for i in range(7)] + [face(f"f{i}", 1, f"r{i}") for i in range(7)], 0)


def test_the_rate_is_that_of_the_best_validation_and_none_while_one_is_open(tmp_path: Path) -> None:
    def finished(rate: float, best: float, step: int = ablation.STEPS) -> None:
        folder = ablation.folder_of(tmp_path, "full", 0, rate)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ablation.BEST).touch()
        (folder / "metrics.csv").write_text(f"step,val_frame_auroc\n10,{best}\n{step},0.5\n")

    low, middle, high = ablation.RATES["full"]
    finished(low, 0.6)
    finished(middle, 0.7)
    assert ablation.best_rate(tmp_path, "full") is None
    finished(high, 0.9, step=20)
    assert ablation.best_rate(tmp_path, "full") is None
    finished(high, 0.65)
    assert ablation.best_rate(tmp_path, "full") == middle


def scored(order: list[int]) -> Scored:
    """Two groups of a real and a fake each on both data sets, scored by `order`."""
    twice = np.array(order * 2, float)
    return Scored(
        np.array([0, 1, 0, 1] * 2),
        twice,
        np.array(["a", "a", "b", "b"] * 2),
        np.array(["seen"] * 4 + ["unseen"] * 4),
        np.array(["", "swap", "", "swap"] * 2),
    )


def test_a_claim_names_the_seeds_in_which_it_does_not_hold() -> None:
    right, wrong = scored([0, 1, 0, 1]), scored([1, 0, 1, 0])
    found = {("good", 0): right, ("good", 1): right, ("bad", 0): wrong, ("bad", 1): right}
    text = ablation_table.text(found, ["good", "bad"], (("good", "bad"),), "seen", "unseen", {"full": 1e-3})
    assert "| bad | 50.0 [50.0, 50.0] ±" in text
    assert text.count("| +50.0 [+50.0, +50.0] ±") == 2
    assert text.count("| seed 1 |") == 2


def test_the_interval_over_seeds_is_students() -> None:
    assert ablation_table._half(np.array([1.0, 2.0, 3.0])) == pytest.approx(4.302653 / 3**0.5)  # t(0.975, 2), s = 1

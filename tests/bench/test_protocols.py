"""`unmask eval bench` and `unmask eval compare` end to end, on crops drawn here: patterns, no faces."""

from __future__ import annotations

import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.bench.patterns import lay, row
from unmask.app.cli import app
from unmask.data.manifest import FaceRow, Manifest, write
from unmask.measure.tables import read

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay(tmp_path_factory.mktemp("bench"))


def bench(*words: str) -> tuple[int, str]:
    result = RUNNER.invoke(app, ["eval", "bench", *words], env={"COLUMNS": "250", "NO_COLOR": "1"})
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def run(faces: Path) -> Path:
    out = faces.parent / "out"
    code, said = bench("cross-manipulation", "--detectors", "embedded,spectrum", str(faces), "-o", str(out))
    assert code == 0, said
    return out


def test_a_table_holds_every_detector_and_says_what_was_left_out(run: Path) -> None:
    result = read(run)
    assert result.columns == ("made/smooth", "made/stripes")
    floor = result.at("spectrum", "made/smooth", "auroc")
    assert floor.value == 1.0  # the spectrum of smoothed noise cannot be mistaken
    assert (floor.real, floor.fake, floor.groups, floor.failed) == (12, 12, 12, 1)
    embedded = result.at("embedded", "made/smooth", "auroc")
    assert embedded.value is not None
    assert 0 <= (embedded.low or 0) <= embedded.value <= (embedded.high or 0) <= 1


def test_every_form_of_the_table_shows_the_same_numbers(run: Path) -> None:
    value = read(run).at("spectrum", "made/smooth", "auroc")
    shown = f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
    for name in ("table.md", "table.tex", "table.html"):
        assert shown in (run / name).read_text(), name
    assert "spectrum,made/smooth,auroc,1.0" in (run / "table.csv").read_text()


def test_the_rebuild_line_gives_the_same_table_from_the_cache_and_from_nothing(run: Path, faces: Path) -> None:
    words = shlex.split(read(run).rebuild)
    assert words[:3] == ["unmask", "eval", "bench"]
    words[4] = str(faces)
    for out in (run, run.parent / "again"):
        words[words.index("-o") + 1] = str(out)
        before = read(run).cells
        code, said = bench(*words[3:], "--no-plots")
        assert code == 0, said
        assert read(out).cells == before


def test_another_hash_is_refused(run: Path, faces: Path) -> None:
    common = ["cross-manipulation", "--detectors", "spectrum", str(faces), "-o", str(run.parent / "no")]
    for option in ("--expect-data", "--expect-bundle", "--expect-protocol"):
        code, said = bench(*common, option, "0" * 64)
        assert code == 2
        assert "expected" in said
    assert not (run.parent / "no" / "result.json").exists()


def test_one_method_left_out_is_trained_without_it_and_refuses_what_is_finished(faces: Path) -> None:
    out = faces.parent / "left"
    code, said = bench("leave-one-method-out", "--detectors", "spectrum", str(faces), "-o", str(out), "-q")
    assert code == 0, said
    assert read(out).columns == ("made/smooth", "made/stripes")
    assert len(list((out / "scores").glob("*.parquet"))) == 2  # two trainings, two floors
    code, said = bench("leave-one-method-out", "--detectors", "embedded", str(faces), "-o", str(out))
    assert code == 2
    assert "is finished" in said


def test_within_a_data_set_others_teach_nothing(faces: Path, tmp_path: Path) -> None:
    rows = [r for r in Manifest(faces) if isinstance(r, FaceRow)]
    other = [
        r.model_copy(update={"dataset": "other", "item_id": f"o{r.item_id}", "group_id": f"o{r.group_id}"})
        for r in rows
        if r.split == "test" or r.label == 0  # nothing forged to learn from
    ]
    write(tmp_path / "f.parquet", [*rows, *other], faces.parent, FaceRow)
    code, said = bench("within", "--detectors", "spectrum", str(tmp_path / "f.parquet"), "-o", str(tmp_path))
    assert code == 0, said
    found = read(tmp_path)
    assert found.columns == ("made",)
    code, said = bench("within", "--detectors", "spectrum", str(faces), "-o", str(tmp_path / "alone"), "--no-plots")
    assert code == 0, said
    assert [c.value for c in read(tmp_path / "alone").cells] == [c.value for c in found.cells]


def test_pairs_are_ordered_by_the_originals_of_the_manifest(faces: Path) -> None:
    out = faces.parent / "paired"
    code, said = bench("paired", "--detectors", "spectrum", str(faces), "-o", str(out), "--no-plots", "-q")
    assert code == 0, said
    found = read(out).at("spectrum", "made", "pair_order")
    assert (found.real, found.fake) == (12, 24)
    assert found.value == 1.0


def test_a_crop_that_is_gone_is_an_error_that_names_it(faces: Path, tmp_path: Path) -> None:
    rows = [row("a", "", "test", "g", "a.png", ""), row("b", "m", "test", "h", "b.png", "")]
    write(tmp_path / "f.parquet", rows, tmp_path, FaceRow)
    code, said = bench("cross-dataset", "--detectors", "embedded", str(tmp_path / "f.parquet"), "-o", str(tmp_path))
    assert code == 2
    assert "made/a#0" in said


def test_a_protocol_that_tests_on_training_rows_is_refused(faces: Path, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("name: p\ntitle: P\ntest: {split: [train, test]}")
    code, said = bench(str(tmp_path / "p.yaml"), "--detectors", "spectrum", str(faces), "-o", str(tmp_path))
    assert code == 2
    assert "tests on rows that it trains on" in said
    assert len(Manifest(faces)) == 109


def test_the_leaderboard_asks_for_nothing_from_outside(run: Path, tmp_path: Path) -> None:
    found: list[tuple[str, str]] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend((tag, v or "") for k, v in attrs if k in ("src", "href", "srcset", "action"))

    result = RUNNER.invoke(app, ["eval", "compare", str(run), "-o", str(tmp_path / "board.html")])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "board.html").read_text()
    Links().feed(page)
    assert found
    assert all(tag == "img" and link.startswith("data:image/png;base64,") for tag, link in found)
    assert "default-src 'none'" in page
    assert RUNNER.invoke(app, ["eval", "compare", str(tmp_path)]).exit_code == 2


def test_more_frames_than_a_clip_has_are_no_column(faces: Path, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("name: p\ntitle: P\ncolumns: frames\nframes: [1, 8]")
    words = [str(tmp_path / "p.yaml"), "--detectors", "spectrum", str(faces), "-o", str(tmp_path), "-q"]
    code, said = bench(*words, "--no-plots")
    assert code == 0, said
    assert read(tmp_path).columns == ("1 frame",)

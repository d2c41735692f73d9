"""`unmask eval map`: from the JSON of `evaluate` to a page."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.bench.test_fusion import lay
from tests.conftest import REPOSITORY
from unmask.app.cli import app
from unmask.errors import InputError
from unmask.measure.coverage_matrix import read
from unmask.measure.protocol import Interval

RUNNER = CliRunner()


def run(*words: object) -> tuple[int, str]:
    done = RUNNER.invoke(app, ["eval", *map(str, words)], env={"COLUMNS": "200", "NO_COLOR": "1"})
    return done.exit_code, done.stdout


def test_what_evaluate_writes_fills_the_cell_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unmask.bench.evaluate.Interval", lambda: Interval(rounds=100))
    code, said = run("evaluate", "embedded", lay(tmp_path, pixels=True), "--by", "method", "--json", "-q")
    assert code == 0, said
    (tmp_path / "embedded.json").write_text(said)
    cells = {c["column"]: c for c in json.loads(said)["cells"] if (c["level"], c["metric"]) == ("video", "auroc")}
    assert {c["metric"] for c in json.loads(said)["cells"]} >= {"auroc", "cllr"}
    page = tmp_path / "map.md"
    code, said = run("map", tmp_path / "embedded.json", "--place", "swap=G1", "-o", page)
    assert code == 0, said
    assert "1 figures in 1 cells, 1 in none" in said
    c = cells["swap"]
    row = next(line for line in page.read_text().splitlines() if line.startswith("| G1 face swap |"))
    assert row.split(" | ")[1] == f"{c['value']:.3f} [{c['low']:.3f}, {c['high']:.3f}], 16 groups"
    assert "- unmask-embedded-3 on blend:" in page.read_text()


@pytest.mark.parametrize("content", ["{}", "[]", "no json", '{"schema": "unmask.evaluate/1", "cells": [{}]}'])
def test_what_is_no_result_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(InputError, match="no result of"):
        read(tmp_path)


def test_the_page_in_the_docs_is_what_its_own_command_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cell of it is written by hand."""
    page = (REPOSITORY / "docs/tables/what-was-measured.md").read_text("utf-8")
    *command, _, out = shlex.split(page.split("```bash")[1].split("```")[0])
    for name in command[3:]:
        if name.endswith(".json"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    code, said = run(*command[2:], "-o", out)
    assert code == 0, said
    assert (tmp_path / out).read_text("utf-8") == page

"""Runs of a recipe as tests look at them: what they measured, stopped after each step, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from unmask.tasks.recipe import Recipe
from unmask.train.loop import train

# Of processes that train: one thread each, and a crash in compiled code tells where in Python it was.
ALONE = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}


def rows(out: Path) -> list[dict[str, Any]]:
    """The metrics of a run, without what a clock says."""
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in found]


def unlike(one: Path, other: Path) -> set[str]:
    """Names of the tensors that two files do not both hold, or not bitwise."""
    ours, theirs = load_file(one), load_file(other)
    return (ours.keys() ^ theirs.keys()) | {
        k for k in ours.keys() & theirs.keys() if not torch.equal(ours[k], theirs[k])
    }


def stopped(chosen: Recipe, data: Path, out: Path, *, times: int, **options: Any) -> None:
    """Train with a stop at each of the first reports, `times` of them, and then to the end; `options`: of that."""

    class StopError(Exception):
        pass

    def once(*_: object) -> None:
        raise StopError

    for _ in range(times):
        with pytest.raises(StopError):
            train(chosen, data, out, cpu=True, report=once)
    train(chosen, data, out, cpu=True, **options)


def command(chosen: Recipe, data: Path, out: Path, *, processes: int = 0) -> list[str]:
    """The command line of a training; with `processes`, of one that so many share."""
    path = out.parent / f"{out.name}.yaml"
    path.write_text(chosen.as_yaml(), "utf-8")
    many = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes else []
    asked = ["train", str(path), str(data), "--out", str(out), "--cpu", "--quiet"]
    return [sys.executable, *many, "-m", "unmask", *asked]


def in_processes(chosen: Recipe, data: Path, out: Path) -> None:
    """Train in two processes; where they fail, the test shows what they said."""
    asked = command(chosen, data, out, processes=2)
    done = subprocess.run(asked, env=ALONE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"exit code {done.returncode}; the end of what was said:\n{done.stdout[-8000:]}"

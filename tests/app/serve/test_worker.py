"""What a worker of the service says of a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from scanning.make import save, write_bundle
from unmask.app.serve.worker import Task, Wishes, _scan, _shown
from unmask.media import Limits
from unmask.scanning.evidence import piece
from unmask.scanning.options import Options
from unmask.types import FileReport


def test_nobody_outside_is_told_to_raise_a_limit(tmp_path: Path) -> None:
    scanner = Options(detector=str(write_bundle(tmp_path / "bundle"))).ready()
    path = save(np.zeros((20, 20, 3), np.uint8), tmp_path / "secret.png")
    few = replace(scanner, limits=Limits(pixels=100))
    report = _scan(few, Task(source=str(path), shown="photo.png", wishes=Wishes(), progress=str(tmp_path / "progress")))
    assert report.path == "photo.png"
    assert str(path) not in report.model_dump_json()
    assert report.reasons == ("over the limit: 400 pixels in one image, 100 allowed; this service reads no more",)


def test_nobody_outside_is_told_where_files_lie(tmp_path: Path) -> None:
    """Also not by the evidence, whose facts are text too."""
    task = Task(source="/data/secret.mp4", shown="clip.mp4", wishes=Wishes(), progress=str(tmp_path / "progress"))
    broken = piece("stopped", "file", {"frames": 3, "why": "/data/secret.mp4: too long; raise Limits.seconds"})
    told = _shown(FileReport(path="x", state="failed", reasons=(broken.text,), evidence=(broken,)), task)
    why = "clip.mp4: too long; this service reads no more"
    assert told["reasons"] == (f"reading stopped after 3 frames: {why}",)
    assert [(one.facts["why"], one.text) for one in told["evidence"]] == [(why, told["reasons"][0])]

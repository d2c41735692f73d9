"""What a worker of the service says of a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from scanning.make import save, write_bundle
from unmask.app.serve.worker import Task, Wishes, _scan
from unmask.media import Limits
from unmask.scanning.options import Options


def test_nobody_outside_is_told_to_raise_a_limit(tmp_path: Path) -> None:
    scanner = Options(detector=str(write_bundle(tmp_path / "bundle"))).ready()
    path = save(np.zeros((20, 20, 3), np.uint8), tmp_path / "secret.png")
    few = replace(scanner, limits=Limits(pixels=100))
    report = _scan(few, Task(source=str(path), shown="photo.png", wishes=Wishes(), progress=str(tmp_path / "progress")))
    assert report.path == "photo.png"
    assert report.reasons == ("over the limit: 400 pixels in one image, 100 allowed; this service reads no more",)

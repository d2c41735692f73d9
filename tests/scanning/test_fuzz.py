"""Damaged files go through a whole scan: always a report, and never a number where a state belongs.

`UNMASK_FUZZ=20000 pytest tests/scanning/test_fuzz.py` looks further; the count below is what a test run can spare.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from damage import damaged
from unmask.media import Limits
from unmask.scanning.options import Options
from unmask.types import Pixels

from .make import clip, tinted

COUNT = int(os.environ.get("UNMASK_FUZZ", "2000"))
SMALL = Limits(bytes=1 << 22, pixels=4_000_000, seconds=3600, frames=5000, decode_seconds=10)


@pytest.fixture(scope="module")
def good(portrait: Pixels, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    small = np.asarray(Image.fromarray(tinted(portrait, 0.2)).resize((256, 256)))
    files = {}
    for kind, name in (("JPEG", "a.jpg"), ("PNG", "b.png"), ("WEBP", "c.webp"), ("BMP", "d.bmp"), ("GIF", "e.gif")):
        out = io.BytesIO()
        Image.fromarray(small).save(out, kind)
        files[name] = out.getvalue()
    root = tmp_path_factory.mktemp("good")
    for name in ("f.mp4", "g.mkv", "h.mov"):
        files[name] = clip([np.roll(small, 4 * i, axis=1) for i in range(6)], root / name).read_bytes()
    return files


@pytest.mark.parametrize("count", [COUNT // 4, pytest.param(COUNT, marks=pytest.mark.slow)])
def test_any_damage_is_a_report(good: dict[str, bytes], options: Options, tmp_path: Path, count: int) -> None:
    scanner = options.model_copy(update={"frames": 4, "limits": SMALL}).ready()
    states: Counter[str] = Counter()
    for name, content in damaged(17, good, count):
        path = tmp_path / name
        path.write_bytes(content)
        report = scanner.scan(path)
        path.unlink()
        states[report.state] += 1
        for found in (report, *report.faces):
            numbers = (found.score, found.low, found.high)
            unfit = found is report and report.rests_on is None  # no face of it is large enough to be judged
            if found.state in ("failed", "not_applicable") or unfit:
                assert numbers == (None, None, None), name
            else:
                assert all(number is not None and 0 <= number <= 1 for number in numbers), name
        assert report.reasons, name
        assert bool(report.faces) == (report.state in ("fake", "real", "uncertain")), name
    # The damage reached all depths: unreadable files, files without their face, faces that were judged.
    assert min(states["failed"], states["fake"]) > count / 20
    assert states["not_applicable"] > 0

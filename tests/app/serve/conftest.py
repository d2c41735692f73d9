from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from scanning.make import clip, save, tinted, write_bundle

from .process import Server, serving

ATTACKS = list[tuple[str, bool]]()  # what was tried, and whether the service held


def held(what: str, so: bool) -> None:
    """One attack, and that it came to nothing."""
    ATTACKS.append((what, so))
    assert so, what


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if ATTACKS:
        got_in = [what for what, so in ATTACKS if not so]
        terminalreporter.write_line(
            f"attacks on the service: tried {len(ATTACKS)}, got in {len(got_in)} {got_in or ''}"
        )


@dataclass(frozen=True)
class Media:
    """A detector that takes red faces for forged, and what to show it."""

    bundle: Path
    red: bytes  # an image
    pale: bytes
    clip: bytes  # 24 frames of a red face
    long: bytes  # 400 frames


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Media:
    root = tmp_path_factory.mktemp("media")
    portrait = np.asarray(data.astronaut())
    red = tinted(portrait, 0.2)
    return Media(
        bundle=write_bundle(root / "bundle"),
        red=save(red, root / "red.png").read_bytes(),
        pale=save(portrait, root / "pale.png").read_bytes(),
        clip=clip([red] * 24, root / "clip.mp4", pix_fmt="yuv420p").read_bytes(),
        long=clip([red[::2, ::2]] * 400, root / "long.mp4", fps=25, pix_fmt="yuv420p").read_bytes(),
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, media: Media) -> Iterator[Server]:
    """Open to this machine, with one worker."""
    with serving(tmp_path_factory.mktemp("server") / "data", media.bundle, "--max-bytes", "3000000") as found:
        yield found

"""A detector, a face detector and a face for the tests of scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from unmask.scanning.options import Options
from unmask.types import Pixels

from .make import write_bundle


@pytest.fixture(scope="session")
def portrait() -> Pixels:
    """(512, 512, 3): Eileen Collins, NASA, public domain."""
    return np.asarray(data.astronaut())


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def options(bundle: Path) -> Options:
    return Options(detector=str(bundle))

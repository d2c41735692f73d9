"""What is trained and exported here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.faces import lay


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of faces that a small detector learns in a moment."""
    return lay(tmp_path_factory.mktemp("faces"))

"""Fixtures that every package shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _write_skip(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _write_skip(report)  # a file whose tests are skipped together


def _write_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """A line in the file that UNMASK_SKIPS names, for `.ci/skips.py`."""
    if report.skipped and (path := os.environ.get("UNMASK_SKIPS")):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{report.nodeid}\t{' '.join(reason.split())}\n")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch computes in one thread: small nets are quicker so, and sums come to the same last bit."""
    import torch  # here, for the tests of packages that need none

    was = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(was)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with research data and weights, which are not ours to ship: tests that need it skip without it."""
    folder = Path(os.environ.get("UNMASK_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no research data at {folder}; set UNMASK_SHARED to the folder that holds data/ and weights/")
    return folder


@pytest.fixture(scope="session")
def shared_data(shared: Path) -> Path:
    return shared / "data"


@pytest.fixture(scope="session")
def shared_weights(shared: Path) -> Path:
    return shared / "weights"

"""Crops of scans that run at once go through the network together, and nobody's answer changes by it."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from unmask.app.serve.batching import Batcher, Elsewhere, Scoring
from unmask.bundles import Reading, load
from unmask.scanning.options import Options
from unmask.types import Pixels, UnmaskError

from .conftest import Media
from .process import Server, children, serving, until

ASYNC = {"Prefer": "respond-async"}


def crops(count: int, seed: int, side: int = 8) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def told(crops: Pixels) -> Reading:
    """Something that belongs to each crop alone."""
    sums = crops.reshape(len(crops), -1).sum(1).astype(np.float32)
    return Reading(np.stack([sums, -sums], 1), sums / 2)


def test_who_asks_at_once_is_answered_by_one_call() -> None:
    calls: list[int] = []
    free = threading.Event()

    def score(crops: Pixels) -> Reading:
        calls.append(len(crops))
        assert free.wait(10)
        return told(crops)

    batcher = Batcher(score, wait=0.0, callers=lambda: 4)
    asked = [crops(count, count) for count in (1, 2, 3, 4)]
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(batcher.read, asked[0])
        until(lambda: calls == [1], "the first call")  # which the others find under way
        others = [threads.submit(batcher.read, one) for one in asked[1:]]
        until(lambda: batcher._jobs.qsize() == 3, "the others")
        free.set()
        readings = [job.result(10) for job in (first, *others)]
    assert calls == [1, 9]
    for one, reading in zip(asked, readings, strict=True):
        expected = told(one)
        assert np.array_equal(reading.logits, expected.logits)
        assert np.array_equal(reading.features_distance, expected.features_distance)


def test_company_is_waited_for_but_not_for_ever() -> None:
    calls: list[int] = []

    def score(crops: Pixels) -> Reading:
        calls.append(len(crops))
        return told(crops)

    alone = Batcher(score, wait=60.0, callers=lambda: 1)
    alone.read(crops(1, 0))  # nobody else can come: a wait would be in vain
    two = Batcher(score, wait=60.0, callers=lambda: 2)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(two.read, [crops(1, 1), crops(2, 2)]))
    assert calls == [1, 3]
    Batcher(score, wait=0.05, callers=lambda: 2).read(crops(1, 3))  # comes back
    Batcher(score, wait=60.0, callers=lambda: 9).read(crops(16, 4))  # full


def test_an_error_goes_to_those_who_asked() -> None:
    def score(crops: Pixels) -> Reading:
        if len(crops) == 2:
            raise UnmaskError("no")
        return told(crops)

    batcher = Batcher(score, wait=0.0, callers=lambda: 1)
    with pytest.raises(UnmaskError, match="no"):
        batcher.read(crops(2, 0))
    assert len(batcher.read(crops(1, 0)).logits) == 1


def test_the_network_elsewhere_is_the_network_here() -> None:
    """The shipped detector: many callers at once get what one gets alone, to the last bits of float32."""
    here = load()
    side = here.card.input.size
    scoring = Scoring(Options(), memory=4 << 30, wait=0.005)
    scoring.start()
    try:
        asked = [crops(count, count, side) for count in (1, 2, 3, 20)]

        def ask(one: Pixels) -> Reading:
            elsewhere = Elsewhere(scoring.address)
            try:
                return load(elsewhere=elsewhere).read(one)
            finally:
                elsewhere.close()

        with ThreadPoolExecutor(4) as threads:
            readings = list(threads.map(ask, asked))
    finally:
        scoring.stop()
    for one, reading in zip(asked, readings, strict=True):
        expected = here.read(one)
        assert np.allclose(reading.logits, expected.logits, atol=1e-5)
        assert reading.features_distance is not None
        assert np.allclose(reading.features_distance, expected.features_distance, rtol=1e-5)


def scores(server: Server, media: Media, count: int) -> list[dict[str, Any]]:
    """Reports on `count` images, asked for at once."""

    def one(number: int) -> dict[str, Any]:
        files = {"file": ("a.png", media.red if number % 2 else media.pale)}
        key = server.at.post("/v1/scans", files=files, headers=ASYNC).raise_for_status().json()["id"]
        return server.ended(key)

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(one, range(count)))


@pytest.mark.slow
def test_a_service_with_one_network_for_all(server: Server, media: Media, tmp_path: Path) -> None:
    plain = scores(server, media, 2)
    with serving(tmp_path, media.bundle, "--workers", "2", "--batch-wait", "3") as shared:
        found = scores(shared, media, 8)
        for number, scan in enumerate(found):
            file, expected = (one["report"]["files"][0] for one in (scan, plain[number % 2]))
            assert (file["state"], file["score"]) == (expected["state"], pytest.approx(expected["score"], abs=1e-6))
            assert file["faces"] == expected["faces"]
        # Killed in the middle of a video, the network comes back, and the scan ends as if nothing had been.
        files = {"file": ("long.mp4", media.long)}
        key = shared.at.post("/v1/scans", files=files, data={"frames": "200"}).json()["id"]
        until(lambda: shared.at.get(f"/v1/scans/{key}").json()["progress"] > 0, "its start")
        for pid in children(shared.process.pid, "unmask.app.serve.batching"):
            os.kill(pid, signal.SIGKILL)
        ended = shared.ended(key)
        assert (ended["state"], ended["verdict"]) == ("done", "fake")

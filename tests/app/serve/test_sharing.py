"""What owners share: places in the queue, turns, storage, the disk and the database; and what is left of a deletion."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from fastapi.testclient import TestClient

from unmask.app.serve import db
from unmask.app.serve.api import create_app
from unmask.app.serve.db import Database
from unmask.app.serve.models import Scan
from unmask.app.serve.settings import SPARE, Settings
from unmask.app.serve.store import QueueFullError, StorageFullError, Store, fresh_id
from unmask.scanning.options import Options

from .conftest import Media
from .postgres import missing, postgres
from .process import serving, until

ASYNC = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    if missing():
        pytest.skip(missing())
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'scans.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


def scan(owner: str, size: int = 10) -> Scan:
    return Scan(
        id=fresh_id(), owner=owner, state="queued", name="a.png", media=fresh_id(), bytes=size, wishes="{}",
        created=time.time(), progress=0.0, attempts=0, fingerprint="a", webhook_tries=0,
    )  # fmt: skip


def filled(store: Store, owner: str) -> int:
    """Scans of this owner that find a place."""
    for count in range(1000):
        try:
            store.accept(scan(owner))
        except QueueFullError:
            return count
    raise AssertionError("no end")


def test_nobody_takes_all_places_and_owners_take_turns(url: str) -> None:
    store = Store(Database(url), queue=16, shared=True)
    # Half of what the others leave: 8 of 16, 4 of 8, 2 of 4, 1 of 2, and the last place.
    owners = [f"{name}-{fresh_id()}" for name in "abcde"]
    assert [filled(store, owner) for owner in owners] == [8, 4, 2, 1, 1]
    assert store.full(owners[0])
    order = []
    while one := store.claim("me"):
        order.append(one.owner[0])
        store.remove(one.id, one.owner)
        time.sleep(0.002)  # turns are told apart by the clock
    # Removed scans leave no trace of a turn: here the oldest first. Kept ones:
    assert Counter(order) == {"a": 8, "b": 4, "c": 2, "d": 1, "e": 1}
    alice, bob = (fresh_id() for _ in range(2))
    mine = [store.accept(scan(alice))[0].id for _ in range(4)] + [store.accept(scan(bob))[0].id for _ in range(2)]
    turns = []
    while one := store.claim("me"):
        turns.append("a" if one.owner == alice else "b")
        time.sleep(0.002)
    assert turns == ["a", "b", "a", "b", "a", "a"]
    for key in mine:
        assert store.remove(key, alice) or store.remove(key, bob)


def test_one_owner_alone_has_the_whole_queue(url: str) -> None:
    store, owner = Store(Database(url), queue=5), fresh_id()
    assert filled(store, owner) == 5
    for one in store.page(owner, 10):
        store.remove(one.id, owner)


def test_storage_holds_for_requests_at_once(url: str) -> None:
    store, owner = Store(Database(url), queue=100, storage=25), fresh_id()

    def accept(_: int) -> bool:
        try:
            return store.accept(scan(owner, 10))[1]
        except StorageFullError:
            return False

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(accept, range(12))) == 2
    assert store.stored(owner) == 20
    for one in store.page(owner, 10):
        store.remove(one.id, owner)


def test_a_repeat_is_answered_however_full_it_is(media: Media, tmp_path: Path) -> None:
    with serving(tmp_path, media.bundle, "--queue", "1", "--storage", str(len(media.long) + len(media.red))) as server:
        post = lambda headers, content=media.red: server.at.post(  # noqa: E731
            "/v1/scans", files={"file": ("a.png", content)}, data={"frames": "256"}, headers=ASYNC | headers
        )
        first = post({}, media.long)
        until(lambda: server.at.get(first.headers["location"]).json()["state"] != "queued", "its start")
        known = post({"Idempotency-Key": "k"})
        again = post({"Idempotency-Key": "k"})
        assert (known.status_code, again.status_code) == (202, 202), again.text
        assert again.json()["id"] == known.json()["id"]
        assert post({"Idempotency-Key": "other"}).status_code in (413, 429)


def client(folder: Path, media: Media) -> TestClient:
    service = create_app(Settings(folder=folder, options=Options(detector=str(media.bundle))))
    return TestClient(service, base_url="http://127.0.0.1", raise_server_exceptions=False)


def test_a_busy_database_is_told_with_when_to_try_again(
    media: Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "BUSY", 300)
    here = client(tmp_path, media)
    post = lambda: here.post("/v1/scans", files={"file": ("a.png", media.red)}, headers=ASYNC)  # noqa: E731
    with sqlite3.connect(tmp_path / "scans.sqlite", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = post()
        assert answer.status_code == 503, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) >= 1
        assert "database" in here.get("/readyz").json()["missing"]
        assert here.get("/healthz").status_code == 200
        assert not list((tmp_path / "media").iterdir())  # nothing is left of what was refused
        other.execute("ROLLBACK")
    assert post().status_code == 202
    assert "database" not in here.get("/readyz").json()["missing"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    made = (
        mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=False).returncode == 0
    )
    if not made:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_told_and_can_be_emptied(media: Media, small_disk: Path) -> None:
    with serving(small_disk / "data", media.bundle) as server:
        assert SPARE > 8 << 20  # so that a twentieth of the disk is kept free
        content = media.red + bytes(600_000)
        kept, statuses = [], []
        for number in range(20):
            answer = server.at.post("/v1/scans", files={"file": (f"{number}.png", content)}, headers=ASYNC)
            statuses.append(answer.status_code)
            if answer.status_code != 202:
                break
            kept.append(answer.headers["location"])
        assert statuses[-1] == 507, answer.text
        assert "delete" in answer.json()["detail"]
        for key in kept:
            server.ended(key.rpartition("/")[2])
        # Somebody else takes the rest: not a byte is left.
        with suppress(OSError), (small_disk / "ballast").open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
        ready = server.at.get("/readyz")
        assert (ready.status_code, ready.json()["missing"]) == (503, ["disk"])
        assert [server.at.delete(key).status_code for key in kept] == [204] * len(kept)
        assert server.at.get("/readyz").status_code == 200
        assert server.at.post("/v1/scans", files={"file": ("b.png", media.red)}).status_code == 200


def test_nothing_is_left_of_what_was_deleted(media: Media, tmp_path: Path) -> None:
    with serving(tmp_path, media.bundle) as server:
        answer = server.at.post("/v1/scans", files={"file": ("secret-witness.png", media.red)})
        key = answer.headers["location"]
        face = server.at.get(f"{key}/faces/1/face.jpg").content

        def found(what: bytes) -> bool:
            return any(what in path.read_bytes() for path in tmp_path.glob("scans.sqlite*"))

        assert found(b"secret-witness")
        assert found(face[300:364])
        assert server.at.delete(key).status_code == 204
        until(lambda: not found(b"secret-witness") and not found(face[300:364]), "the end of what was deleted")
        assert not list((tmp_path / "media").glob("*.png"))


@pytest.mark.slow
def test_wrong_tokens_wait_longer_and_longer(media: Media, tmp_path: Path) -> None:
    token = "alice-" + "a" * 30
    (tmp_path / "tokens").write_text(f"alice: {token}")
    with serving(tmp_path / "data", media.bundle, "--token-file", str(tmp_path / "tokens"), token=token) as server:

        def seconds(authorization: str) -> float:
            start = time.monotonic()
            server.at.get("/v1/scans", headers={"Authorization": authorization})
            return time.monotonic() - start

        waited = [seconds(f"Bearer {n:030}") for n in range(12)]
        assert min(waited[-3:]) > 0.3  # the tenth waits for half a second
        assert seconds(f"Bearer {token}") < 0.3  # the right one does not


def test_half_open_heads_leave_a_place_for_others() -> None:
    """More connections than there may be, none of which ends its head: whoever asks is answered."""
    import socket

    import uvicorn

    from unmask.app.serve import server as module

    from .process import free_port

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body"})  # type: ignore[operator]

    port = free_port()
    config = uvicorn.Config(
        app, port=port, http=module.Patient, ws="none", lifespan="off", log_level="error",
        limit_concurrency=module.CONNECTIONS,
    )  # fmt: skip
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    opened: list[socket.socket] = []
    try:
        until(lambda: running.started, "the server")
        for _ in range(module.CONNECTIONS + 8):
            one = socket.create_connection(("127.0.0.1", port), timeout=20)
            one.sendall(b"GET / HTTP/1.1\r\nX")
            opened.append(one)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as asks:
            asks.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert asks.recv(100).startswith(b"HTTP/1.1 204")
    finally:
        for one in opened:
            one.close()
        running.should_exit = True
        thread.join(10)

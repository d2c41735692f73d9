"""Whatever is killed, every accepted scan ends in a result or a stated failure; on SQLite and on PostgreSQL."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from PIL import Image

from unmask.app.serve import models
from unmask.app.serve.db import Database
from unmask.app.serve.models import Scan
from unmask.app.serve.store import ATTEMPTS, OtherRequestError, QueueFullError, Result, Store, fresh_id

from .conftest import Media
from .postgres import missing, postgres
from .process import Server, children, serving, until

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


def scan(owner: str, *, key: str | None = None, fingerprint: str = "a") -> Scan:
    return Scan(
        id=fresh_id(), owner=owner, state="queued", name="a.png", media=fresh_id(), bytes=10, wishes="{}",
        created=time.time(), progress=0.0, attempts=0, idempotency_key=key, fingerprint=fingerprint, webhook_tries=0,
    )  # fmt: skip


def test_the_queue(url: str) -> None:
    database = Database(url)
    Database(url).close()  # a second server finds the tables in place
    owner, store = fresh_id(), Store(database, queue=3)
    scans = [store.accept(scan(owner))[0] for _ in range(3)]
    with pytest.raises(QueueFullError):
        store.accept(scan(owner))
    first, second = store.claim("one"), store.claim("two")
    assert first is not None
    assert second is not None
    assert [first.id, second.id] == [scans[0].id, scans[1].id]
    assert store.renew(first.id, "one", 0.5)
    assert not store.renew(first.id, "two", 0.5)
    assert not store.finish(first.id, "two", Result("done", "{}", "real", 0.1))
    assert store.finish(first.id, "one", Result("done", "{}", "real", 0.1))
    assert not store.finish(first.id, "one", Result("done", "{}", "fake", 0.9))
    store.release(second.id, "two", innocent=True)
    again = store.claim("three")
    assert again is not None
    assert (again.id, again.attempts) == (second.id, 1)
    assert store.stored(owner) == 30
    assert store.stored("somebody else") == 0
    assert store.get(first.id, "somebody else") is None
    assert store.remove(first.id, "somebody else") is None
    expired = store.expired_media(time.time() + 1)
    assert len(expired) == 1
    assert store.forget(time.time() + 1) == 0  # its file is still there
    store.media_gone(expired)
    assert store.forget(time.time() + 1) == 1
    for one in scans[1:]:
        store.remove(one.id, owner)
    database.close()


def test_an_older_layout_is_brought_up_with_what_it_holds(url: str) -> None:
    database = Database(url)
    kept, _ = Store(database, queue=1000).accept(scan(fresh_id()))
    config = Config()
    config.set_main_option("script_location", str(Path(models.__file__).with_name("migrations")))
    with database.engine.execution_options(write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    database.close()
    newest = Database(url)
    found = Store(newest, 1000).remove(kept.id, kept.owner)
    assert found is not None
    assert found.media == kept.media
    with newest.engine.connect() as connection:  # the tables are what the code believes they are
        assert compare_metadata(MigrationContext.configure(connection), models.Base.metadata) == []
    newest.close()


def test_a_key_belongs_to_one_request_of_one_owner(url: str) -> None:
    store = Store(Database(url), queue=10)
    owners = fresh_id(), fresh_id()
    first, new = store.accept(scan(owners[0], key="k"))
    assert new
    same, new = store.accept(scan(owners[0], key="k"))
    assert (same.id, new) == (first.id, False)
    with pytest.raises(OtherRequestError):
        store.accept(scan(owners[0], key="k", fingerprint="b"))
    other, new = store.accept(scan(owners[1], key="k"))
    assert new
    store.remove(first.id, owners[0])
    store.remove(other.id, owners[1])


def test_the_server_is_killed_in_the_middle(url: str, media: Media, tmp_path: Path) -> None:
    keys = []
    with serving(tmp_path / "data", media.bundle, "--db", url) as server:
        files = {"file": ("long.mp4", media.long)}
        keys.append(server.at.post("/v1/scans", files=files, data={"frames": "120"}).json()["id"])
        for _ in range(3):
            answer = server.at.post("/v1/scans", files={"file": ("red.png", media.red)}, headers=ASYNC)
            keys.append(answer.json()["id"])
        until(lambda: server.at.get(f"/v1/scans/{keys[0]}").json()["state"] == "running", "the start of the video")
        server.kill()
    with serving(tmp_path / "data", media.bundle, "--db", url) as server:
        ended = [server.ended(key) for key in keys]
    assert [one["state"] for one in ended] == ["done"] * 4
    assert [one["verdict"] for one in ended] == ["fake"] * 4


def workers(server: Server) -> list[int]:
    return children(server.process.pid, "unmask.app.serve.worker")


@pytest.mark.slow
def test_workers_are_killed_in_the_middle(url: str, media: Media, tmp_path: Path) -> None:
    with serving(tmp_path / "data", media.bundle, "--db", url) as server:
        files = {"file": ("long.mp4", media.long)}
        key = server.at.post("/v1/scans", files=files, data={"frames": "200"}).json()["id"]

        def told() -> float:
            return float(server.at.get(f"/v1/scans/{key}").json()["progress"])

        for _ in range(ATTEMPTS):
            until(lambda: told() > 0 and bool(workers(server)), "its worker")
            for pid in workers(server):
                os.kill(pid, signal.SIGKILL)
            until(lambda: told() in (0.0, 1.0), "that it was noticed")
        found = server.ended(key)
        assert found["state"] == "failed"
        assert found["report"]["files"][0]["state"] == "failed"
        assert "ended by SIGKILL" in found["report"]["files"][0]["reasons"][0]
        assert server.at.post("/v1/scans", files={"file": ("red.png", media.red)}).status_code in (200, 202)


@pytest.mark.slow
def test_several_servers_share_one_postgresql(postgres_url: str, media: Media, tmp_path: Path) -> None:
    """Either takes what the other accepted, tells of it, and goes on with it when the other is killed."""
    arguments = (tmp_path / "data", media.bundle, "--db", postgres_url)
    with serving(*arguments) as one, serving(*arguments) as two:
        both = (one, two)
        keys = []
        for number in range(12):
            answer = both[number % 2].at.post("/v1/scans", files={"file": ("red.png", media.red)}, headers=ASYNC)
            keys.append(answer.raise_for_status().json()["id"])
        ended = [both[(number + 1) % 2].ended(key) for number, key in enumerate(keys)]  # asked of the other
        assert {(scan["state"], scan["verdict"]) for scan in ended} == {("done", "fake")}
        done = [counted(server) for server in both]
        assert sum(done) == len(keys)  # each was scanned once
        assert min(done) > 0  # and both of them worked

        # One takes a video, and is killed.
        long = {"file": ("long.mp4", media.long)}
        held = one.at.post("/v1/scans", files=long, data={"frames": "256"}).json()["id"]
        other = one.at.post("/v1/scans", files=long, data={"frames": "256"}).json()["id"]
        until(lambda: "queued" not in [two.at.get(f"/v1/scans/{key}").json()["state"] for key in (held, other)], "both")
        one.kill()
        assert [two.ended(key)["state"] for key in (held, other)] == ["done", "done"]


def counted(server: Server) -> int:
    """Scans that this server's own workers did."""
    lines = server.at.get("/metrics").text.splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("unmask_scans_total{"))


@pytest.mark.slow
def test_what_takes_too_long_is_given_up(media: Media, tmp_path: Path) -> None:
    with serving(tmp_path, media.bundle, "--max-file-seconds", "1", "--frames", "256") as server:
        started = time.monotonic()
        key = server.at.post("/v1/scans", files={"file": ("long.mp4", media.long)}).json()["id"]
        found = server.ended(key)
        if found["state"] == "failed":  # a quick machine is done within the second
            assert "given up after 1 s" in found["report"]["files"][0]["reasons"][0]
        assert time.monotonic() - started < 30


@pytest.mark.slow
def test_what_needs_too_much_memory_is_given_up(media: Media, tmp_path: Path) -> None:
    wide = io.BytesIO()
    Image.new("RGB", (7000, 7000)).save(wide, "PNG")  # 147 MB when decoded, and more to make it upright and small
    with serving(tmp_path, media.bundle, "--max-memory", str(300 << 20)) as server:
        answer = server.at.post("/v1/scans", files={"file": ("wide.png", wide.getvalue())}, headers=ASYNC)
        file = server.ended(answer.json()["id"])["report"]["files"][0]
        assert file["state"] == "failed"
        assert "memory" in file["reasons"][0]
        assert server.at.post("/v1/scans", files={"file": ("red.png", media.red)}).json()["files"][0]["state"] == "fake"


def test_a_told_server_ends_and_what_ran_is_queued_again(media: Media, tmp_path: Path) -> None:
    with serving(tmp_path, media.bundle) as server:
        files = {"file": ("long.mp4", media.long)}
        key = server.at.post("/v1/scans", files=files, data={"frames": "64"}).json()["id"]
        until(lambda: server.at.get(f"/v1/scans/{key}").json()["state"] != "queued", "its start")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(40) is not None
    found = Store(Database(f"sqlite:///{tmp_path / 'scans.sqlite'}"), 10).get(key, "")
    assert found is not None
    assert found.state in ("done", "queued")


@pytest.mark.slow
def test_more_than_may_wait_is_refused_and_nothing_is_lost(media: Media, tmp_path: Path) -> None:
    with serving(tmp_path, media.bundle, "--queue", "2") as server:
        answers = [
            server.at.post("/v1/scans", files={"file": ("long.mp4", media.long)}, data={"frames": "32"})
            for _ in range(8)
        ]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert "scans are waiting" in refused[0].json()["detail"]
        for answer in answers:
            if answer.status_code == 202:
                assert server.ended(answer.json()["id"])["state"] == "done"
        assert len(list((tmp_path / "media").glob("*.mp4"))) == len(answers) - len(refused)


@pytest.mark.slow
def test_uploads_are_deleted_after_their_time(media: Media, tmp_path: Path) -> None:
    with serving(tmp_path, media.bundle, "--keep", "0s") as server:
        done = server.at.post("/v1/scans", files={"file": ("red.png", media.red)})
        key = done.headers["location"]
    with serving(tmp_path, media.bundle, "--keep", "0s") as server:  # looks when it starts, then every minute
        until(lambda: server.at.get(key).json()["media"] is None, "the upload's end")
        assert not list((tmp_path / "media").glob("*.png"))
        assert server.at.get(f"{key}/media").status_code == 404
        assert server.at.get(f"{key}/report.json").status_code == 200

"""What the API answers: a real server, real uploads, the same report as the command line's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from fastapi.testclient import TestClient
from typer.testing import CliRunner

import unmask
from unmask.app.cli import app
from unmask.app.serve.api import create_app
from unmask.app.serve.settings import Settings
from unmask.scanning.options import Options
from unmask.types import Report

from .conftest import Media
from .process import Server, free_port, serving

ASYNC = {"Prefer": "respond-async"}


def test_a_picture_is_answered_with_the_report_of_the_command_line(
    server: Server, media: Media, tmp_path: Path
) -> None:
    answer = server.at.post("/v1/scans", files={"file": ("red.png", media.red)})
    assert answer.status_code == 200, answer.text
    report = Report.model_validate_json(answer.text)
    (tmp_path / "red.png").write_bytes(media.red)
    same = unmask.scan(tmp_path / "red.png", detector=str(media.bundle))
    ours, theirs = report.files[0], same.files[0]
    assert ours.path == "red.png"
    assert ours.state == theirs.state == "fake"
    assert (ours.score, ours.low, ours.high, ours.reasons) == (theirs.score, theirs.low, theirs.high, theirs.reasons)
    assert ours.faces == tuple(f.model_copy(update={"thumbnail": None, "heat": None}) for f in theirs.faces)
    assert report.settings == same.settings
    assert report.unsure == same.unsure


def test_a_clip_is_a_job(server: Server, media: Media) -> None:
    answer = server.at.post("/v1/scans", files={"file": ("clip.mp4", media.clip)}, data={"frames": "6"})
    assert answer.status_code == 202
    job = answer.json()
    assert job["state"] == "queued"
    assert answer.headers["location"] == f"/v1/scans/{job['id']}"
    done = server.ended(job["id"])
    assert done["state"] == "done"
    assert done["verdict"] == "fake"
    assert done["progress"] == 1
    assert done["report"]["settings"]["frames"] == 6
    assert len(done["report"]["files"][0]["faces"][0]["samples"]) == 6
    assert done["words"]["verdict"] == "Likely forged"
    face = done["pictures"][0]
    for kind in ("face", "heat"):
        picture = server.at.get(face[kind])
        assert picture.headers["content-type"] == "image/jpeg"
        assert picture.content[:3] == b"\xff\xd8\xff"
    page = server.at.get(f"/v1/scans/{job['id']}/report.html")
    assert page.text.count("data:image/jpeg;base64,") == 3  # key frames, face and heat map
    assert done["words"]["meaning"] in page.text
    assert json.loads(server.at.get(f"/v1/scans/{job['id']}/report.json").text) == done["report"]
    assert server.at.get(done["media"]).content == media.clip


def test_progress_is_told_as_it_comes(server: Server, media: Media) -> None:
    """A quick machine may be done before anybody listens: then another video is sent."""
    seen = False
    for _ in range(20):
        job = server.at.post("/v1/scans", files={"file": ("long.mp4", media.long)}, data={"frames": "100"}).json()
        with server.at.stream("GET", f"/v1/scans/{job['id']}/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = [line for line in stream.iter_lines() if line]
        told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data")]
        assert lines[-2] == "event: end"
        assert told[-1] == {"state": "done", "progress": 1.0}
        assert [step["progress"] for step in told] == sorted(step["progress"] for step in told)
        seen = any(0 < step["progress"] < 1 for step in told)
        if seen:
            break
    assert seen


def test_the_same_key_is_the_same_scan(server: Server, media: Media) -> None:
    def post(name: str) -> tuple[int, str]:
        headers = ASYNC | {"Idempotency-Key": "once"}
        answer = server.at.post("/v1/scans", files={"file": (name, media.red)}, headers=headers)
        return answer.status_code, answer.json().get("id", answer.json().get("detail"))

    first = post("red.png")
    assert first[0] == 202
    files = len(list((server.folder / "media").glob("*.png")))
    assert post("red.png") == first
    assert len(list((server.folder / "media").glob("*.png"))) == files
    again = server.at.post("/v1/scans", files={"file": ("red.png", media.red)}, headers={"Idempotency-Key": "once"})
    assert again.json() == server.at.get(f"/v1/scans/{first[1]}").json()["report"]
    status, detail = post("other.png")
    assert status == 422
    assert "used for another request" in detail


def test_lists_go_on_where_they_ended(server: Server, media: Media) -> None:
    keys = []
    for number in range(5):
        job = server.at.post("/v1/scans", files={"file": (f"{number}.png", media.pale)}, headers=ASYNC).json()
        keys.append(job["id"])
    for key in keys:
        server.ended(key)
    seen, cursor = [], None
    while True:
        page = server.at.get("/v1/scans", params={"limit": 2, "state": "done"} | ({"cursor": cursor} if cursor else {}))
        seen += [item["id"] for item in page.json()["items"]]
        cursor = page.json()["cursor"]
        if cursor is None:
            break
    assert seen[:5] == keys[::-1]
    assert len(set(seen)) == len(seen)
    assert server.at.get("/v1/scans", params={"cursor": "bm9uc2Vuc2U="}).status_code == 422
    assert server.at.get("/v1/scans", params={"limit": 1000}).status_code == 422


def test_what_is_deleted_is_gone(server: Server, media: Media) -> None:
    key = server.at.post("/v1/scans", files={"file": ("pale.png", media.pale)}, headers=ASYNC).json()["id"]
    server.ended(key)
    kept = {path.name for path in (server.folder / "media").iterdir()}
    assert server.at.delete(f"/v1/scans/{key}").status_code == 204
    assert len(kept - {path.name for path in (server.folder / "media").iterdir()}) == 1
    for path in ("", "/media", "/report.html", "/report.json", "/events", "/faces/1/face.jpg"):
        assert server.at.get(f"/v1/scans/{key}{path}").status_code == 404, path
    assert server.at.delete(f"/v1/scans/{key}").status_code == 404


def test_a_running_scan_can_be_deleted(server: Server, media: Media) -> None:
    key = server.at.post("/v1/scans", files={"file": ("long.mp4", media.long)}, data={"frames": "256"}).json()["id"]
    assert server.at.delete(f"/v1/scans/{key}").status_code == 204
    after = server.at.post("/v1/scans", files={"file": ("red.png", media.red)})  # waits for the worker's successor
    assert after.status_code in (200, 202)
    assert server.at.get(f"/v1/scans/{key}").status_code == 404


def test_errors_are_problem_documents(server: Server) -> None:
    for path in ("/v1/scans/none", "/nowhere", "/v1/scans?limit=0"):
        answer = server.at.get(path)
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(answer.json()) == {"type", "title", "status", "detail"}
        assert answer.json()["status"] == answer.status_code
    assert server.at.put("/v1/scans").status_code == 405


def test_what_judges_is_said(server: Server, media: Media) -> None:
    found = server.at.get("/v1/detectors").json()[0]
    assert found["name"] == "red-is-forged"
    assert found["trained_on"] == ["red faces"]
    assert server.at.get("/healthz").json() == {"status": "ok"}
    sent = server.at.post("/v1/scans", files={"file": ("red.png", media.red)})
    server.ended(sent.headers["location"].rpartition("/")[2])
    shown = server.at.get("/metrics").text
    assert 'unmask_scans_total{verdict="fake"}' in shown
    assert 'route="/v1/scans/{key}"' in shown
    schema = server.at.get("/openapi.json").json()
    assert {"/v1/scans", "/v1/scans/{key}/events", "/v1/detectors"} <= set(schema["paths"])
    assert schema["paths"]["/v1/scans"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert schema["paths"]["/v1/scans"]["post"]["security"] == [{"HTTPBearer": []}]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "0.0.0.0"], "can be reached from other machines"),
        (["--host", "0.0.0.0", "--public"], "can be reached from other machines"),
        (["--host", "::", "--without-token"], "can be reached from other machines"),
        (["--token-file", "/nowhere"], "cannot read /nowhere"),
        (["--keep", "soon"], "no length of time"),
        (["--db", "mysql://a/b"], "not known; use sqlite or postgresql"),
        (["--db", "sqlite://"], "must survive a restart"),
        (["--db", "nonsense"], "no database URL"),
        (["--db", "postgresql://nobody@127.0.0.1:1/none"], "cannot use the database"),
        (["--detector", "/nowhere"], "no detector bundle at /nowhere"),
    ],
)
def test_what_cannot_be_served_is_one_line(arguments: list[str], says: str, tmp_path: Path) -> None:
    asked = ["serve", "--data", str(tmp_path), "--port", str(free_port()), *arguments]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_one_server_a_folder(server: Server, media: Media) -> None:
    asked = ["serve", "--data", str(server.folder), "--port", str(free_port()), "--detector", str(media.bundle)]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 2
    assert "another service is running" in result.stderr


def test_a_new_server_knows_what_was_done(media: Media, tmp_path: Path) -> None:
    with serving(tmp_path, media.bundle) as first:
        job = first.at.post("/v1/scans", files={"file": ("red.png", media.red)})
        key = job.headers["location"]
    with serving(tmp_path, media.bundle) as second:
        assert second.at.get(key).json()["report"] == job.json()


def test_without_the_extra_the_command_names_it(tmp_path: Path) -> None:
    code = "import sys; sys.modules['fastapi'] = None; from unmask.app.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", "--data", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stderr.strip().endswith("the service is an extra: pip install 'unmask[serve]'")


def test_what_nobody_foresaw_is_a_problem_without_an_inside_view(media: Media, tmp_path: Path) -> None:
    service = create_app(Settings(folder=tmp_path, options=Options(detector=str(media.bundle))))
    service.state.service.store.page = None  # a fault of ours
    client = TestClient(service, base_url="http://127.0.0.1", raise_server_exceptions=False)
    answer = client.get("/v1/scans")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "NoneType" not in answer.text


@pytest.mark.parametrize(("name", "shown"), [("image", "image"), ("files[]", "files[]"), ("", "nothing")])
def test_a_file_under_another_name_is_told_its_name(server: Server, media: Media, name: str, shown: str) -> None:
    answer = server.at.post("/v1/scans", files={name: ("red.png", media.red)})
    assert answer.status_code == 422
    assert answer.json()["detail"] == f"the part that holds the file must be called file; this one is called {shown}"

"""The page in a real browser, where there is one: what it shows is what the report says, and it asks nobody else."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from .conftest import Media
from .process import Server

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
QUIET = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"


def rendered(address: str, folder: Path) -> str:
    """The document after its scripts ran."""
    if not CHROMIUM:
        pytest.skip("no Chromium on PATH")
    command = [CHROMIUM, *QUIET.split(), "--disable-component-update", f"--user-data-dir={folder}"]
    command += ["--virtual-time-budget=10000", "--dump-dom", address]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_the_page_says_what_the_report_says(server: Server, media: Media, tmp_path: Path) -> None:
    answer = server.at.post("/v1/scans", files={"file": ("<b>&red.png", media.red)})
    key = answer.headers["location"].rpartition("/")[2]
    words = server.at.get(f"/v1/scans/{key}").json()["words"]
    shown = rendered(f"http://127.0.0.1:{server.port}/#{key}", tmp_path)
    text = html.unescape(re.sub(r"<[^>]*>", "", shown))
    for said in (words["verdict"], words["number"], words["interval"], words["meaning"], *words["reasons"]):
        assert said in text
    assert "<b>&red.png" in text
    assert "<b>" not in shown  # a name is text, whatever it looks like
    assert 'class="bar"' in shown


def test_the_page_fetches_nothing_from_elsewhere(server: Server) -> None:
    page = server.at.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    sheets = [server.at.get(f"/assets/{name}").text for name in ("app.js", "style.css")]
    for text in (page.text, *sheets):
        outside = set(re.findall(r"https?://[^\s\"'`)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not outside
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", page.text)
    assert "innerHTML" not in sheets[0]
    assert server.at.get("/assets/index.html").status_code == 404

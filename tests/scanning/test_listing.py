"""Which files a scan looks at, and what it says of all others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from unmask.scanning import scan, text
from unmask.scanning.html import render
from unmask.scanning.listing import Listing, listed
from unmask.scanning.options import Options
from unmask.types import UnmaskError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "folder"
    (root / "deep/er").mkdir(parents=True)
    picture = Image.new("RGB", (64, 64), (90, 90, 90))
    picture.save(root / "red.png")
    picture.save(root / "deep/er/pale.png")
    (root / "deep/er/pale.png").rename(root / "deep/er/pale")
    picture.save(root / "deep/wall.webp")
    (root / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    picture.save(root / ".hidden.png")
    (root / ".git").mkdir()
    picture.save(root / ".git/objects.png")
    return root


def names(listing: Listing, root: Path) -> list[str]:
    return [str(Path(name).relative_to(root)) for name in listing.files]


def over(listing: Listing, root: Path) -> dict[str, list[str]]:
    return {one.why: [str(Path(name).relative_to(root)) for name in one.first] for one in listing.passed_over()}


def test_folders_recurse(folder: Path) -> None:
    listing = listed([folder])
    assert names(listing, folder) == ["damaged.jpg", "red.png", "deep/wall.webp", "deep/er/pale"]
    assert listing.passed_over() == ()


def test_names_below_the_current_folder_are_plain(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "a.txt").write_text("text")
    listing = listed(["."])
    assert listing.files == ["damaged.jpg", "red.png", "deep/wall.webp", "deep/er/pale"]
    assert listing.passed == {"text": ["a.txt"]}
    assert listed(["deep/"]).files == ["deep/wall.webp", "deep/er/pale"]


def test_what_is_no_medium_is_counted_and_named(folder: Path) -> None:
    (folder / "README.md").write_text("not a media file")
    (folder / "deep/code.ts").write_text("const a = 1;")
    (folder / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "new.jxl").write_bytes(b"\xff\x0a" + bytes(40))
    (folder / "odd").write_bytes(bytes([250, 1, 2, 3]) * 20)
    os.mkfifo(folder / "pipe")
    listing = listed([folder])
    assert len(listing.files) == 4
    assert over(listing, folder) == {
        "text": ["README.md", "deep/code.ts"],
        "an SVG drawing": ["drawing.svg"],
        "a JPEG XL image": ["new.jxl"],
        "data of an unknown kind": ["odd"],
        "a pipe, socket or device": ["pipe"],
    }
    for i in range(30):
        (folder / f"{i:02}.txt").write_text("text")
    (most, *_) = listed([folder]).passed_over()
    assert (most.why, most.count, len(most.first)) == ("text", 32, 20)


def test_links_are_followed_once_and_never_in_a_circle(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        Image.new("RGB", (8, 8)).save(other / name)
    links = {
        "red-again.png": "red.png",
        "deep/up": "..",
        "deep/gone.png": "nowhere.png",
        "deep/self": "self",
        "elsewhere": "../other",
        "elsewhere-again": "../other",
        "one.png": "../other/a.png",
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (other / "back").symlink_to(folder)
    listing = listed([folder])
    assert names(listing, folder)[:3] == ["damaged.jpg", "one.png", "red.png"]
    assert {"elsewhere/a.png", "elsewhere/sub/b.png"} < set(names(listing, folder))
    assert len(listing.files) == 7
    assert over(listing, folder) == {
        "a link to what lies in the same folder": ["red-again.png", "deep/up", "elsewhere/back"],
        "a link that leads nowhere": ["deep/gone.png", "deep/self"],
        "a link to a folder that is looked at anyway": ["elsewhere-again"],
    }


def test_a_folder_that_may_not_be_read_fails_by_name(folder: Path, options: Options) -> None:
    closed = folder / "deep"
    closed.chmod(0)
    try:
        if os.access(closed, os.R_OK):
            pytest.skip("root may read everything")
        report = scan(folder, detector=options.detector, jobs=1)
        said = {Path(file.path).name: (file.state, file.reasons) for file in report.files}
        assert said["deep"] == ("failed", (f"cannot open {closed}: Permission denied",))
    finally:
        closed.chmod(0o755)


def test_what_is_named_is_tried(folder: Path) -> None:
    (folder / "README.md").write_text("not a media file")
    (folder / "link.png").symlink_to("red.png")
    named = [folder / ".hidden.png", folder / "link.png", folder / "README.md", folder / "red.png", folder / "red.png"]
    assert listed(named).files == [str(path) for path in named[:4]]


def test_wishes_that_cannot_be_met(tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match="no such file"):
        listed([tmp_path / "absent.png"])
    with pytest.raises(UnmaskError, match="no image or video"):
        listed([tmp_path])
    with pytest.raises(UnmaskError, match="an empty path"):
        listed([""])
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(UnmaskError, match=r"passed over: text \(1\)"):
        listed([tmp_path])
    with pytest.raises(UnmaskError, match="--url"):
        listed(["https://example.org/a.png"])
    assert listed(["https://example.org/a.png"], allow_url=True).files == ["https://example.org/a.png"]


def test_reports_say_what_was_passed_over(tmp_path: Path, options: Options) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "<b>.txt").write_text("text")
    report = scan(tmp_path, detector=options.detector, pictures=False)
    assert len(report.files) == 1
    assert text.whole(report).plain.splitlines()[-1] == "1 file passed over: text (1)"
    assert '"passed_over":[{"why":"text","count":1,"first":["' in report.model_dump_json()
    assert "&lt;b&gt;.txt" in render(report)

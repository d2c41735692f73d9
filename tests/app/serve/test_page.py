"""The page in a real browser, where there is one: what it shows is what the report says, and it asks nobody else."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import data

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("playwright", reason="needs playwright, of the extra dev")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from scanning.make import clip, tinted
from unmask.app.serve.assets import ASSETS

from .conftest import Media
from .process import Server, serving

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
VIEWS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True},
}
PNG = "image/png"
# Whether anything of the boxes' canvas is painted in this rectangle of its pixels.
PAINTED = """(x, y, w, h) => {
  const canvas = document.querySelector('.stage canvas');
  const [wide, high] = [Math.min(w, canvas.width - x), Math.min(h, canvas.height - y)];
  return wide > 0 && high > 0 && canvas.getContext('2d').getImageData(x, y, wide, high).data.some(v => v);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("no Chromium on PATH")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *CAMERA])
        yield found
        found.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Watched: an error on the page, a broken policy or a request to anybody else fails the test."""
    wrong: list[str] = []
    context = browser.new_context(**VIEWS["desktop"])
    context.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    context.on("request", lambda sent: None if "//127.0.0.1:" in sent.url else wrong.append(sent.url))
    yield context
    context.close()
    assert [one for one in wrong if not one.startswith("blob:http://127.0.0.1:")] == []


@pytest.fixture
def page(context: BrowserContext, server: Server) -> Page:
    page = context.new_page()
    page.goto(address(server))
    return page


def address(server: Server, key: str = "") -> str:
    return f"http://127.0.0.1:{server.port}/#{key}"


def chosen(page: Page, name: str, kind: str, content: bytes) -> str:
    """The scan of a file that was chosen, when the page shows it."""
    before = page.evaluate("location.hash")
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})
    return shown(page, before)


def shown(page: Page, before: str) -> str:
    page.wait_for_function("before => location.hash !== before", arg=before)
    expect(page.locator("#result")).to_be_visible(timeout=60_000)
    return str(page.evaluate("location.hash.slice(1)"))


def words(server: Server, key: str) -> dict[str, Any]:
    return dict(server.at.get(f"/v1/scans/{key}").json()["words"])


def test_the_page_says_what_the_report_says(page: Page, server: Server, media: Media) -> None:
    told = words(server, chosen(page, "<b>&red.png", PNG, media.red))
    said = page.locator("#result").inner_text()
    for text in (told["verdict"], told["number"], told["interval"], told["meaning"], *told["reasons"], *told["limits"]):
        assert text.lower() in said.lower()  # reasons begin like sentences
    assert "<b>&red.png" in said  # a name is text, whatever it looks like
    assert page.locator("#result b").count() == 0


def test_a_clip_from_sending_to_deleting(page: Page, server: Server, media: Media) -> None:
    page.evaluate(
        """() => {
          const text = document.getElementById("busy-text");
          window.told = [];
          new MutationObserver(() => told.push(text.innerText)).observe(text, { childList: true });
        }"""
    )
    for _ in range(20):  # a quick machine may be done before anything was to be told
        key = chosen(page, "clip.mp4", "video/mp4", media.long)
        if any(re.fullmatch(r"Looking at it: \d+ %", text) for text in page.evaluate("told")):
            break
    else:
        pytest.fail(f"no progress was shown: {page.evaluate('told')}")

    # Along the timeline, by pointer and by key.
    now = "document.querySelector('.stage video').currentTime"
    page.wait_for_function("() => document.querySelector('.stage video').readyState >= 2")
    seconds = page.evaluate("document.querySelector('.stage video').duration")
    timeline = page.get_by_role("slider")
    box = timeline.bounding_box()
    assert box is not None
    timeline.click(position={"x": box["width"] * (40 + 308 * 0.75) / 360, "y": box["height"] / 2})
    assert page.evaluate(now) == pytest.approx(0.75 * seconds, abs=0.02 * seconds)
    expect(timeline).to_have_attribute("aria-valuetext", re.compile(r"^12\.\d seconds, \d+ % in the nearest frame$"))
    timeline.press("Home")
    timeline.press("ArrowRight")
    assert page.evaluate(now) == pytest.approx(seconds / 30, abs=0.02)

    # Boxes and heat map.
    drawn = f"() => ({PAINTED})(0, 0, 1e4, 1e4)"
    page.wait_for_function(drawn)
    page.get_by_label("Boxes around the faces").uncheck()
    assert not page.evaluate(drawn)
    picture, toggle = page.locator(".face .picture img"), page.get_by_role("button", name="Heat map")
    plain = picture.get_attribute("src")
    toggle.click()
    expect(toggle).to_have_attribute("aria-pressed", "true")
    expect(picture).not_to_have_attribute("src", str(plain))
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    toggle.click()
    expect(picture).to_have_attribute("src", str(plain))

    # What one takes along.
    for button, name in (("Download JSON", "report.json"), ("Download the report", "report.html")):
        with page.expect_download() as saved:
            page.get_by_role("button", name=button).click()
        assert saved.value.suggested_filename == f"clip {name}"
        assert Path(saved.value.path()).read_bytes() == server.at.get(f"/v1/scans/{key}/{name}").content

    # It is still there after a reload, and gone after Delete.
    page.reload()
    expect(page.locator("#result h1")).to_have_text(words(server, key)["verdict"])
    expect(page.locator(f'#list a[href="#{key}"]')).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.locator("#delete").click()
    expect(page.locator("#said")).to_have_text("Deleted.")
    expect(page.locator("#result")).to_be_hidden()
    expect(page.locator(f'#list a[href="#{key}"]')).to_have_count(0)
    assert server.at.get(f"/v1/scans/{key}").status_code == 404


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_files_are_dropped_or_pasted(page: Page, server: Server, media: Media, event: str) -> None:
    page.evaluate(
        """([event, bytes]) => {
          const held = new DataTransfer();
          const content = Uint8Array.from(atob(bytes), c => c.charCodeAt(0));
          held.items.add(new File([content], "given.png", { type: "image/png" }));
          document.body.dispatchEvent(event === "drop"
            ? new DragEvent("drop", { dataTransfer: held, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: held, bubbles: true }));
        }""",
        [event, base64.b64encode(media.red).decode()],
    )
    key = shown(page, "")
    assert server.at.get(f"/v1/scans/{key}").json()["name"] == "given.png"
    assert server.at.get(f"/v1/scans/{key}/media").content == media.red


def files(page: Page, *names: str, **contents: bytes) -> None:
    """These files are dropped at once."""
    held = [[name, base64.b64encode(contents[name.partition(".")[0]]).decode()] for name in names]
    page.evaluate(
        """held => {
          const transfer = new DataTransfer();
          for (const [name, bytes] of held) {
            const content = Uint8Array.from(atob(bytes), c => c.charCodeAt(0));
            transfer.items.add(new File([content], name));
          }
          const about = { dataTransfer: transfer, bubbles: true, cancelable: true };
          document.body.dispatchEvent(new DragEvent("drop", about));
        }""",
        held,
    )


def test_of_many_files_none_is_left_out(browser: Browser, server: Server, media: Media) -> None:
    page = browser.new_page()  # not watched: one of them is refused
    page.goto(address(server))
    files(
        page, "red.png", "pale.png", "clip.mp4", "text.png", red=media.red, pale=media.pale, clip=media.clip, text=b"a"
    )
    rows = page.locator("#queue-list li")
    expect(rows).to_have_count(4)
    expect(page.locator("#queue-title")).to_have_text("4 files done", timeout=60_000)
    expect(rows.nth(0)).to_contain_text("Likely forged")
    expect(rows.nth(3)).to_contain_text("Not scanned: not an image")
    names = [item["name"] for item in server.at.get("/v1/scans?limit=3").json()["items"]]
    assert sorted(names) == ["clip.mp4", "pale.png", "red.png"]
    rows.nth(1).get_by_role("link").click()
    expect(page.locator("#result .name")).to_have_text("pale.png")
    page.get_by_role("button", name="Take what is done off this list").click()
    expect(page.locator("#queue")).to_be_hidden()
    page.close()


def test_a_folder_is_scanned_with_all_below_it(page: Page, server: Server, media: Media, tmp_path: Path) -> None:
    (tmp_path / "case/inner").mkdir(parents=True)
    (tmp_path / "case/one.png").write_bytes(media.red)
    (tmp_path / "case/inner/two.png").write_bytes(media.pale)
    (tmp_path / "case/notes.txt").write_text("no picture")
    page.set_input_files("#folder", tmp_path / "case")
    expect(page.locator("#said")).to_contain_text("1 file in the folder left out")
    expect(page.locator("#queue-title")).to_have_text("2 files done", timeout=60_000)
    expect(page.locator("#queue-list")).to_contain_text("one.png")
    expect(page.locator("#queue-list")).to_contain_text("two.png")


def test_earlier_scans_are_filtered_and_deleted_together(page: Page, server: Server, media: Media) -> None:
    for name, content in (("find-a.png", media.red), ("find-b.png", media.pale), ("find_c.png", media.red)):
        assert server.at.post("/v1/scans", files={"file": (name, content)}).status_code == 200
    page.reload()
    page.get_by_role("searchbox").fill("find-")  # no pattern: find_c is not like it
    rows = page.locator("#list li")
    expect(rows).to_have_count(2)
    face = rows.first.locator("img")
    assert face.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.get_by_role("searchbox").fill("FIND")
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="Likely forged").click()
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("find_c.png")
    page.get_by_label("All shown").check()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete 2 chosen").click()
    expect(page.locator("#none")).to_be_visible()
    left = server.at.get("/v1/scans", params={"name": "find"}).json()["items"]
    assert [item["name"] for item in left] == ["find-b.png"]


def test_boxes_stand_where_and_when_a_face_was_seen(page: Page, server: Server, media: Media, tmp_path: Path) -> None:
    """A face in the first 4 of 16 seconds: no box later, and its number outside the box."""
    portrait = np.asarray(data.astronaut())
    red, empty = tinted(portrait, 0.2), np.full_like(portrait, 90)
    made = clip([red] * 20 + [empty] * 60, tmp_path / "part.mp4", fps=5, pix_fmt="yuv420p").read_bytes()
    key = chosen(page, "part.mp4", "video/mp4", made)
    report = server.at.get(f"/v1/scans/{key}").json()["report"]["files"][0]
    sample = report["faces"][0]["samples"][0]
    scale = page.evaluate("document.querySelector('.stage canvas').width") / report["media"]["width"]
    x0, y0, x1, y1 = (round(v * scale) for v in sample["box"])

    def painted_at(t: float, *where: int) -> bool:
        page.evaluate(
            """t => new Promise(done => {
              const video = document.querySelector('.stage video');
              video.addEventListener('seeked', () => requestAnimationFrame(done), { once: true });
              video.currentTime = t;
            })""",
            t,
        )
        return bool(page.evaluate(f"where => ({PAINTED})(...where)", list(where)))

    page.wait_for_function("() => document.querySelector('.stage video').readyState >= 2")
    whole = (0, 0, 10_000, 10_000)
    last = max(s["t"] for s in report["faces"][0]["samples"])
    assert painted_at(sample["t"], *whole)
    assert painted_at(2.0, *whole)
    assert not painted_at(last + 1.5, *whole)
    assert not painted_at(12.0, *whole)
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", "12.0 seconds, not seen")
    assert not painted_at(sample["t"], x0 + 6, y0 + 6, x1 - x0 - 12, y1 - y0 - 12)  # the face itself is free
    assert painted_at(sample["t"], x0, y0 - 14, 10, 6)  # the number stands above


def test_a_picture_of_the_camera(page: Page, server: Server) -> None:
    page.get_by_role("button", name="Take a picture").click()
    take = page.get_by_role("button", name="Take it")
    expect(take).to_be_focused()
    page.keyboard.press("Enter")
    scan = server.at.get(f"/v1/scans/{shown(page, '')}").json()
    assert (scan["name"], scan["format"], scan["verdict"]) == ("camera.png", "png", "not_applicable")
    assert scan["report"]["files"][0]["media"]["width"] >= 640
    assert page.evaluate("camera => document.getElementById('viewfinder').srcObject.active") is False
    expect(page.locator("#shot")).to_be_hidden()


def test_what_is_refused_is_said(browser: Browser, server: Server) -> None:
    page = browser.new_page()
    page.goto(address(server))
    page.set_input_files("#file", {"name": "a.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4"})
    expect(page.locator("#said")).to_contain_text("not an image or a video: this looks like")
    expect(page.locator("#busy")).to_be_hidden()
    page.goto(address(server, "0" * 32))
    expect(page.locator("#said")).to_contain_text("there is no such scan")
    page.close()


@pytest.mark.parametrize("view", VIEWS)
def test_everybody_can_use_it(browser: Browser, server: Server, media: Media, view: str) -> None:
    """axe-core finds nothing, nothing is wider than the screen, and the keyboard reaches everything."""
    page = browser.new_page(**VIEWS[view])
    page.goto(address(server))
    for name, kind, content in (("", "", b""), ("red.png", PNG, media.red), ("clip.mp4", "video/mp4", media.clip)):
        if name:
            chosen(page, name, kind, content)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= VIEWS[view]["viewport"]["width"]
    reached = set()
    page.locator("#home").focus()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert {"file", "folder", "camera", "boxes", "Heat map", "Download JSON", "Print", "delete"} <= reached
    page.close()


def test_it_prints_to_one_page(page: Page, media: Media) -> None:
    chosen(page, "clip.mp4", "video/mp4", media.clip)
    page.wait_for_function("() => document.querySelector('.stage video').readyState >= 2")
    printed = page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1


def test_a_token_is_asked_for(browser: Browser, media: Media, tmp_path: Path) -> None:
    token = "alice-" + "a" * 30
    (tmp_path / "tokens").write_text(f"alice: {token}")
    with serving(tmp_path / "data", media.bundle, "--token-file", str(tmp_path / "tokens"), token=token) as server:
        page = browser.new_page()
        page.goto(address(server))
        expect(page.locator("#ask")).to_be_hidden()  # nothing can be scanned without one
        page.get_by_label("Token").fill("not this one, which is long enough")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#said")).to_contain_text("does not know this token")
        expect(page.get_by_label("Token")).to_be_visible()
        expect(page.get_by_label("Token")).to_be_focused()
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Use it").click()
        expect(page.get_by_label("Token")).to_be_hidden()
        expect(page.locator("#said")).to_have_text("")
        key = chosen(page, "red.png", PNG, media.red)
        assert server.at.get(f"/v1/scans/{key}").json()["verdict"] == "fake"
        assert page.locator(".stage img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        page.close()


def test_the_page_fetches_nothing_from_elsewhere(server: Server) -> None:
    page = server.at.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    sheets = [server.at.get(f"/assets/{name}").text for name in ASSETS]
    for text in (page.text, *sheets):
        outside = set(re.findall(r"https?://[^\s\"'`)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not outside
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", page.text)
    assert not any("innerHTML" in text for text in sheets)
    assert server.at.get("/assets/index.html").status_code == 404

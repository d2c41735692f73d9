"""The HTML report: complete, closed to the network, safe against what files call themselves, and usable by everyone."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from tests.scanning.make import EXPLANATION
from unmask.scanning.drawing import DOTS, scale, timeline
from unmask.scanning.evidence import note, piece
from unmask.scanning.html import SHOWN_IN_NOTEBOOK, render, snippet
from unmask.scanning.words import SHORT, STATES, odds, percent, say, span, visible
from unmask.types import (
    DetectorInfo,
    FaceReport,
    FileReport,
    FrameScore,
    MediaInfo,
    Report,
    Sample,
    Settings,
    State,
    WholeDetector,
    WholeReport,
)

VOID = {"meta", "br", "img", "input", "link", "hr"}
HOSTILE = "<script>alert(1)</script>\"'&amp;<img src=x onerror=alert(1)>\u202egpj.exe\u200b\x00\x1b[31m" + "x" * 5000


class Page(HTMLParser):
    """A page taken apart; fails where a tag is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in self._open:
            self.text.setdefault(tag, []).append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def says(self, tag: str = "main") -> str:
        return " ".join(" ".join(self.text.get(tag, [])).split())


def jpeg(grey: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), grey, np.uint8)).save(out, "JPEG")
    return out.getvalue()


def sample(t: float, score: float) -> Sample:
    return Sample(t=t, frame=round(25 * t), box=(1, 2, 30, 40), found=0.9, score=score)


def file(state: State = "fake", path: str = "folder/clip.mp4", text: str = "a reason", faces: int = 1) -> FileReport:
    score = {"fake": 0.91, "real": 0.08, "uncertain": 0.55}.get(state)
    if score is None:
        media = MediaInfo(kind="image", format="png", width=640, height=480, frames_read=1)
        return FileReport(path=path, state=state, reasons=(text,), media=media if state == "not_applicable" else None)
    face = FaceReport(
        track=1,
        state=state,
        score=score,
        low=score - 0.05,
        high=score + 0.05,
        reasons=(text,),
        samples=tuple(sample(t, score) for t in (0.0, 1.0, 2.0)),
        thumbnail=jpeg(90),
        heat=jpeg(120),
    )
    return FileReport(
        path=path,
        sha256="ab" * 32,
        media=MediaInfo(
            kind="video",
            format="mp4",
            width=1280,
            height=720,
            seconds=2.5,
            fps=25,
            frames_read=30,
            frames_failed=2,
        ),
        state=state,
        score=score,
        low=score - 0.06,
        high=score + 0.06,
        reasons=(text,),
        provenance={"make": "Canon", "c2pa": "valid", "c2pa_signer": text},
        faces=(face,) * faces,
        seconds_spent={"decode": 0.4, "all": 1.2},
    )


def whole_file(faces: int = 1, text: str = "a reason of the whole") -> FileReport:
    """No sign of forgery in its faces, and generated as a whole."""
    whole = WholeReport(
        state="fake",
        score=0.97,
        low=0.9,
        high=0.985,
        reasons=(text,),
        detector=DetectorInfo(name="tiles", weights_sha256="5e" * 32),
        frames=tuple(FrameScore(t=t, frame=round(25 * t), tiles=4, score=0.97) for t in (0.0, 1.0)),
        thumbnail=jpeg(60),
        heat=jpeg(150),
    )
    about = file("real", faces=faces).model_dump() | {"face_state": "real" if faces else None, "faces": ()}
    number = {} if faces else {"score": None, "low": None, "high": None, "reasons": ()}
    plain = FileReport.model_validate(about | {"state": "fake", "whole": whole} | number)
    return plain.model_copy(update={"faces": file("real", faces=faces).faces})


def report(*files: FileReport, text: str = "known") -> Report:
    return Report(
        version="0.1.0",
        created="2026-11-23T14:20:11Z",
        settings=Settings(faces_sha256="9c" * 32),
        detector=DetectorInfo(name=text, weights_sha256="3f" * 32),
        trained_on=(text,),
        limits=(text,),
        unsure=(0.3, 0.7),
        explanation=EXPLANATION,
        whole=WholeDetector(
            name="tiles", weights_sha256="5e" * 32, trained_on=("a generator",), limits=(text,), unsure=(0.2, 0.8)
        )
        if any(one.whole for one in files)
        else None,
        files=files,
    )


MANY = report(*(file(list(STATES)[k % 5], f"in/sub {k % 7}/{k:03d}.mp4") for k in range(220)))
PAGES = {
    **{state: report(file(state)) for state in STATES},
    "faces": report(file(faces=3)),
    "few": report(*(file(state) for state in STATES)),
    "many": MANY,
    "none": report(),
    "whole": report(whole_file(faces=0)).model_copy(update={"settings": Settings(whole_image=True)}),
    "both": report(whole_file()),
    "hostile": report(file(path=HOSTILE, text=HOSTILE), text=HOSTILE),
}


@pytest.fixture(scope="module", params=PAGES)
def page(request: pytest.FixtureRequest) -> tuple[str, Page]:
    text = render(PAGES[request.param])
    return text, Page(text)


def test_asks_nothing_of_the_network_and_carries_no_loose_code(page: tuple[str, Page]) -> None:
    text, parsed = page
    for tag, attrs in parsed.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        assert not {"style", "srcset", "action", "background"} & attrs.keys()
        assert not [name for name in attrs if name.startswith("on")]
        assert attrs.get("src", "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
        assert attrs.get("href", "#").startswith("#")
    assert "url(" not in text
    assert "@import" not in text


def test_policy_lets_in_only_what_the_page_brings(page: tuple[str, Page]) -> None:
    text, parsed = page
    (policy,) = [m["content"] for m in parsed.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_everyone_can_use_it(page: tuple[str, Page]) -> None:
    _, parsed = page
    assert parsed.all("html") == [{"lang": "en"}]
    assert len(parsed.all("main")) == 1
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), "a level is skipped"
    assert all(attrs.get("alt") for attrs in parsed.all("img"))
    for attrs in parsed.all("svg"):
        assert attrs.get("aria-hidden") == "true" or (attrs["role"] == "img" and attrs["aria-label"])
    assert all(attrs.get("scope") in {"row", "col"} for attrs in parsed.all("th"))
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"][1:] for attrs in parsed.all("a")} <= set(ids)


def test_fits_paper_dark_rooms_and_phones(page: tuple[str, Page]) -> None:
    text, parsed = page
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in parsed.all("meta")
    for rule in ("@media print", "@page unmask", "size: A4", "prefers-color-scheme: dark", "max-width: 40rem"):
        assert rule in text


@pytest.mark.parametrize("state", STATES)
def test_each_answer_is_put_in_words(state: State) -> None:
    parsed = Page(render(PAGES[state]))
    assert parsed.says("h1") == STATES[state]
    assert SHORT[state] in parsed.says("title")
    assert "A reason." in parsed.says("ul")
    main = parsed.says()
    assert all(words in main for words in STATES.values()), "the glossary names all five"
    assert "proof of authenticity" not in main


@pytest.mark.parametrize("state", ["failed", "not_applicable"])
def test_no_number_where_nothing_was_judged(state: State) -> None:
    text = render(PAGES[state])
    body = text[text.index("<main>") : text.index('<section class="detector">')]
    assert "No number is given for this file." in body
    assert "%" not in body
    assert "<figure" not in body


def test_a_clear_number_that_a_check_took_back_is_told_as_such() -> None:
    """ "Cannot tell, 96 %" alone reads like a mistake."""
    taken_back = file("uncertain").model_copy(update={"score": 0.96, "low": 0.95, "high": 0.98})
    assert (
        f"the answer would be “{STATES['fake']}”, but a check took it back" in Page(render(report(taken_back))).says()
    )
    between = file("uncertain").model_copy(update={"score": 0.5, "low": 0.4, "high": 0.6})
    assert "does not suffice to say either" in Page(render(report(between))).says()


def test_says_what_the_number_is_about() -> None:
    main = Page(render(PAGES["fake"])).says()
    assert "91 % (90 % interval: 85 to 97 %)" in main
    assert "Probability that at least one face is forged, if forged and real files were equally common." in main
    assert "10 in 100 real files" in main
    whole = Page(render(PAGES["whole"])).says()
    assert "Probability that it was generated as a whole, if generated and real files were equally common." in whole
    assert "at least one face" not in whole


def test_two_questions_have_an_answer_each() -> None:
    main = Page(render(PAGES["both"])).says()
    for part in (
        "Likely generated clip.mp4",
        f"Is a face forged? {STATES['real']} 8 %",
        "Was it generated as a whole? Likely generated 97 %",
        "A reason of the whole.",
        "Face by face",
        "Parts of it that were looked at: 8",
        "What the detector of whole pictures knows, and what it does not",
        "5e" * 32,
    ):
        assert part in main, part
    assert render(PAGES["both"]).count("<img ") == 4  # face and tile, each with its heat
    many = Page(render(report(whole_file(), file("real", path="folder/b.mp4")))).says()
    assert "Likely generated 97 %" in many


def test_holds_what_is_needed_to_repeat_it() -> None:
    main = Page(render(PAGES["fake"])).says()
    for part in ("0.1.0", "unmask.report/2", "3f" * 32, "9c" * 32, "ab" * 32, "2026-11-23 14:20:11 UTC", "at most 32"):
        assert part in main
    for fact in ("folder/clip.mp4", "1280 × 720", "2.5 s, 25 frames", "30 looked at; 2 could not be read", "1.2 s"):
        assert fact in main


def test_what_a_file_calls_itself_changes_no_tag() -> None:
    """The hostile page has exactly the structure of the harmless one, attribute for attribute."""

    def shape(text: str) -> list[tuple[str, tuple[str, ...]]]:
        return [(tag, tuple(attrs)) for tag, attrs in Page(text).tags]

    plain = report(file(path="b", text="t"), text="t")
    assert shape(render(PAGES["hostile"])) == shape(render(plain))
    assert shape(snippet(PAGES["hostile"])) == shape(snippet(plain))
    two = (render(report(file(path=p), file(path=p + "2"))) for p in (HOSTILE, "a/b"))
    tags = [[tag for tag, _ in shape(text)] for text in two]
    assert tags[0] == tags[1]


def test_nothing_hides_in_a_name() -> None:
    text = render(PAGES["hostile"])
    assert not {"\u202e", "\u200b", "\x00", "\x1b"} & set(text)
    main = Page(text).says()
    assert "<script>alert(1)</script>" in main
    assert "[U+202E]gpj.exe[U+200B][U+0000][U+001B][31m" in main
    assert "more characters)" in main
    assert len(text) < len(render(PAGES["fake"])) + 30_000
    assert visible("half a pair \udc80").encode() == b"half a pair [U+DC80]"
    assert say("a\nb\tc") == "a b c"


def test_pictures_are_the_ones_given_and_their_absence_is_said() -> None:
    images = Page(render(PAGES["fake"])).all("img")
    assert [base64.b64decode(i["src"].partition(",")[2]) for i in images] == [jpeg(90), jpeg(120)]
    bare = file()
    bare = bare.model_copy(update={"faces": (bare.faces[0].model_copy(update={"thumbnail": None, "heat": None}),)})
    parsed = Page(render(report(bare)))
    assert parsed.all("img") == []
    assert "Image not kept." in parsed.says()
    assert "not a proof of where" in Page(render(PAGES["fake"])).says()


def test_maps_are_shown_with_what_was_measured_of_them_or_it_is_said_why_not() -> None:
    says = Page(render(report(file(faces=3)))).says()
    assert says.count("Maps by occlusion. On 50 forgeries with known masks") == 1
    assert "in 80 % of cases, with 60 % of its weight; for a map that always marks the centre, 50 % and 40 %." in says
    bare = file()
    bare = bare.model_copy(update={"faces": (bare.faces[0].model_copy(update={"heat": None}),)})
    for explanation, why in (
        (EXPLANATION.model_copy(update={"localises": False}), "the best one for this detector (occlusion) is not"),
        (None, "how well maps of this detector point at forgeries was not measured"),
    ):
        page = Page(render(report(bare).model_copy(update={"explanation": explanation})))
        assert f"No map is shown: {why}" in page.says()


def test_what_was_measured_stands_beside_its_face_once_and_is_no_markup() -> None:
    about = {"change": "<b>", "before": 0.9, "after": 0.2}
    pieces = (piece("turns", "face 1", about), piece("size", "face 1", {"pixels": 90.0, "least": 40.0}))
    pieces += (piece("probability", "face 1", {"score": 0.91, "low": 0.86, "high": 0.96}), note("a reason", "face 1"))
    page = render(report(file().model_copy(update={"evidence": pieces})))
    says = Page(page).says()
    assert "Also measured The verdict changes under <b>: from 0.90 to 0.20. The face is 90 px in size;" in says
    assert "<b>" not in page
    assert "the probability that the face is forged" not in says  # the scale shows it
    assert says.count("A reason.") == 2  # under the file's answer and beside its only face, as ever


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, ["Camera data (EXIF) absent", "Content Credentials (C2PA) not checked"]),
        ({"make": "Canon", "c2pa": "absent"}, ["Camera maker Canon", "(C2PA) absent, as in most files"]),
        ({"c2pa": "valid"}, ["valid: signed, and not changed since. This does not say that the scene is true"]),
        ({"c2pa": "invalid", "c2pa_why": "mismatch"}, ["(C2PA) invalid: the signature does not fit", "why mismatch"]),
        ({"odd key": "value"}, ["odd key value"]),
    ],
)
def test_provenance_is_claims(given: dict[str, str], shown: list[str]) -> None:
    text = Page(render(report(file().model_copy(update={"provenance": given})))).says("table")
    assert all(words in text for words in shown), text


def test_many_files_read_without_script() -> None:
    text = render(MANY)
    parsed = Page(text)
    links = [attrs["href"] for attrs in parsed.all("a")]
    assert links.count("#files") == 220
    assert {f"#file-{k}" for k in range(220)} <= set(links)
    assert parsed.says("h1") == "220 files scanned"
    assert "44 Likely forged" in parsed.says("ul")
    order = [parsed.says("tbody").find(SHORT[state]) for state in STATES]
    assert order == sorted(order), "what wants attention comes first"
    assert "Folder: in/" in parsed.says()
    assert "sub 3/003.mp4" in parsed.says("th")
    pictures = 132 * 4 / 3 * (len(jpeg(90)) + len(jpeg(120)))
    assert len(text) < pictures + 220 * 15_000


def test_few_files_lie_open_many_are_folded() -> None:
    assert all("open" in attrs for attrs in Page(render(PAGES["few"])).all("details"))
    assert not any("open" in attrs for attrs in Page(render(MANY)).all("details"))


def test_notebook_form_is_short_and_inert() -> None:
    text = PAGES["faces"]._repr_html_()
    parsed = Page(text)
    assert text == snippet(PAGES["faces"])
    assert STATES["fake"] in parsed.says("h3")
    assert parsed.all("script") == []
    rules = parsed.says("style").split("}")
    loose = [rule for rule in rules if "{" in rule and not re.search(r"\.unmask|@page unmask", rule)]
    assert loose == [], "styles must not leak into the notebook"
    assert "… and 200 more files." in Page(snippet(MANY)).says("div")
    assert len(Page(snippet(MANY)).all("tr")) == SHOWN_IN_NOTEBOOK + 1
    assert "<h1" not in text


def circles(svg: str) -> list[tuple[float, float, str]]:
    return [(float(c["cx"]), float(c["cy"]), c["class"]) for c in Page(svg).all("circle")]


def test_scale_puts_the_number_where_it_belongs() -> None:
    at = {p: circles(scale(p, None, None, None, "x"))[0][0] for p in (0.0, 0.25, 0.5, 1.0)}
    assert at[0.5] == pytest.approx((at[0.0] + at[1.0]) / 2)
    assert at[0.25] == pytest.approx((at[0.0] + at[0.5]) / 2)
    drawn = scale(0.88, 0.75, 0.98, (0.3, 0.7), "Face 1")
    assert "Face 1: 88\u00a0%, 90\u00a0% interval 75 to 98\u00a0%" in drawn
    (band,) = Page(drawn).all("rect")
    assert float(band["x"]) == pytest.approx(at[0.0] + 0.3 * (at[1.0] - at[0.0]), abs=0.1)
    assert float(band["width"]) == pytest.approx(0.4 * (at[1.0] - at[0.0]), abs=0.1)
    assert "interval" not in scale(0.5, None, None, None, "x")


def test_timeline_has_one_titled_dot_a_frame() -> None:
    drawn = timeline([sample(0, 0.0), sample(2, 0.5), sample(4, 1.0)], 8.0, (0.3, 0.7), "Face 2")
    (x0, y0, k0), (x1, y1, k1), (x2, y2, k2) = circles(drawn)
    assert (x1 - x0, y1) == (pytest.approx(x2 - x1, abs=0.2), pytest.approx((y0 + y2) / 2, abs=0.2))
    assert y2 < y1 < y0, "forged is up"
    assert (k0, k1, k2) == ("dot hollow", "dot", "dot")
    titles = "".join(Page(drawn).text["title"])
    assert "2.00 s (frame 50): 50\u00a0%" in titles
    half = [float(line["y1"]) for line in Page(drawn).all("line") if line["class"] == "half"]
    assert half == [pytest.approx(y1, abs=0.1)]
    assert (
        "seen in 3 frames from 0.0\u00a0s to 4.0\u00a0s; lowest under 1\u00a0%, highest over 99\u00a0%; 2 of 3" in drawn
    )


def test_long_timeline_stays_small_and_keeps_its_peak() -> None:
    long = [sample(k / 25, 0.9 if k == 7777 else 0.1) for k in range(10_000)]
    drawn = timeline(long, 400.0, None, "Face 1")
    assert len(circles(drawn)) == DOTS
    assert "(frame 7777): 90\u00a0%" in drawn
    assert len(drawn) < 250_000


def test_stills_and_single_sightings_get_no_timeline() -> None:
    one = file()
    one = one.model_copy(update={"faces": (one.faces[0].model_copy(update={"samples": (sample(1, 0.9),)}),)})
    kinds = [attrs["class"] for attrs in Page(render(report(one))).all("svg")]
    assert "timeline" not in kinds
    assert kinds.count("scale") == 2  # the file's and the face's


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (0.0, "under 1 %"),
        (0.01, "1 %"),
        (0.873, "87 %"),
        (0.99, "99 %"),
        (1.0, "over 99 %"),
        (float("nan"), "no number"),
    ],
)
def test_percent_never_claims_certainty(p: float, shown: str) -> None:
    assert percent(p).replace("\u00a0", " ") == shown


def test_intervals_and_rates_in_words() -> None:
    assert span(0.1, 0.25).replace("\u00a0", " ") == "10 to 25 %"
    assert span(0.001, 0.999).replace("\u00a0", " ") == "under 1 % to over 99 %"
    assert span(None, 0.5) == ""
    assert odds(0.1) == "10 in 100"
    assert odds(0.005) == "5 in 1,000"

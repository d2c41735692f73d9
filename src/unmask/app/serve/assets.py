"""The page: a few files, sent as they are, under a policy that lets them fetch nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import Response

from unmask.app.serve.errors import RefusedError
from unmask.scanning.html_parts import ICONS

SCRIPTS = ("app.js", "dom.js", "faces.js", "history.js", "queue.js", "scan.js", "service.js", "stage.js")
ASSETS = dict.fromkeys(SCRIPTS, "text/javascript; charset=utf-8") | {"style.css": "text/css; charset=utf-8"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
router = APIRouter(include_in_schema=False)


@router.get("/")
def page() -> Response:
    return Response(_page(), 200, {"Content-Security-Policy": POLICY}, "text/html")


@router.get("/assets/{name}")
def asset(name: str) -> Response:
    if name not in ASSETS:
        raise RefusedError(404, "there is no such file")
    return Response(_read(name), media_type=ASSETS[name])


@cache
def _page() -> bytes:
    """With the icons of reports in it, so that page and report show the same."""
    shapes = "".join(
        f'<symbol id="icon-{state}" viewBox="0 0 16 16">{shape}</symbol>' for state, shape in ICONS.items()
    )
    sprite = f'<svg class="sprite" aria-hidden="true">{shapes}</svg>'
    return _read("index.html").replace(b"<!-- icons -->", sprite.encode())


def _read(name: str) -> bytes:
    return files("unmask.app.serve").joinpath("page", name).read_bytes()

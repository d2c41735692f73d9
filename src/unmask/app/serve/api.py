"""The HTTP API: routes, and the parts of the service that stand behind them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from unmask._version import __version__
from unmask.app.serve import assets, errors
from unmask.app.serve.batching import Scoring
from unmask.app.serve.db import Database
from unmask.app.serve.description import binary, described
from unmask.app.serve.errors import RefusedError
from unmask.app.serve.guard import Guard, Wrong, owner_of
from unmask.app.serve.hooks import Hooks
from unmask.app.serve.hub import Hub, heard
from unmask.app.serve.intake import Asked, Intake
from unmask.app.serve.metrics import Metrics
from unmask.app.serve.models import FACE, HEAT, QUEUED, RUNNING, Scan
from unmask.app.serve.runners import Runners
from unmask.app.serve.settings import Settings
from unmask.app.serve.store import Store
from unmask.app.serve.views import JobState, ScanPage, ScanView, cursor_of, line, read_cursor, view, with_pictures
from unmask.scanning import html
from unmask.scanning.words import FACES_ASKED, WHOLE_ASKED
from unmask.types import Report, State

ALIVE = 15.0  # seconds after which a silent stream says that it is still there
# What browsers show by themselves; everything else is only handed out as a file.
SHOWN = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "avif": "image/avif",
    "mp4": "video/mp4",
    "mov": "video/mp4",
    "webm": "video/webm",
    "matroska": "video/webm",
    "ogg": "video/ogg",
}


class Detector(BaseModel):
    """What judges here, and what is known of it."""

    name: str
    version: str
    summary: str
    question: str = Field(description="that it answers", examples=[FACES_ASKED])
    weights_sha256: str
    trained_on: list[str]
    limits: list[str]
    misuse: list[str]
    licence: str
    error_rate: float
    frames: int
    max_bytes: int


class Service:
    """All parts of one service, made from its settings.

    Raises: UnmaskError when the detector cannot be loaded or the database not be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        settings.media.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.scanner = settings.options.ready()
        self.database = Database(settings.database)
        self.store = Store(self.database, settings.queue, storage=settings.storage, shared=len(settings.tokens) > 1)
        self.metrics, self.hub, self.wrong = Metrics(), Hub(), Wrong()
        self.scoring = None if settings.batch is None else Scoring(settings.shared, settings.memory, settings.batch)
        scores = self.scoring.address if self.scoring else None
        self.runners = Runners(self.store, settings, self.scanner, self.hub, self.metrics, scores)
        self.hooks = Hooks(self.store, settings.secret, self.metrics)
        self.intake = Intake(self.store, settings, self.metrics)

    def start(self) -> None:
        if self.database.sqlite:  # held by this server alone: whatever ran, ran in one that is gone
            self.store.release_all()
        if self.scoring:
            self.scoring.start()
        self.runners.start()
        self.hooks.start()

    def stop(self) -> None:
        self.hub.close()
        self.hooks.stop()
        self.runners.stop(self.settings.grace)
        if self.scoring:
            self.scoring.stop()
        self.database.close()


def service_of(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


async def owner(request: Request) -> str:
    here = service_of(request)
    try:
        return owner_of(here.settings, request.headers.get("authorization"))
    except RefusedError:
        if request.headers.get("authorization"):
            await asyncio.sleep(here.wrong.wait(request.client.host if request.client else ""))
        raise


Here = Annotated[Service, Depends(service_of)]
Owner = Annotated[str, Depends(owner)]
# Only for the description: `owner` is what checks.
BEARER = HTTPBearer(auto_error=False, description="a token of this service, if it was started with --token-file")
router = APIRouter(prefix="/v1", dependencies=[Depends(BEARER)])
plain = APIRouter(include_in_schema=False)
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}}
                    | {k: v for k, v in Asked.model_json_schema()["properties"].items() if k != "url"},
                }
            },
            "application/json": {
                "schema": Asked.model_json_schema(),
                "example": {"url": "https://example.org/clip.mp4", "error_rate": 0.05},
            },
        },
    },
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": {"type": "string", "minLength": 1, "maxLength": 200},
            "description": "the same key again returns the same scan instead of another",
        },
        {
            "name": "Prefer",
            "in": "header",
            "schema": {"type": "string"},
            "example": "respond-async",
            "description": "respond-async: do not wait for the report of a small image",
        },
    ],
}


@router.post(
    "/scans",
    name="create_scan",
    tags=["scans"],
    openapi_extra=BODY,
    response_model=None,
    responses={200: {"model": Report}, 202: {"model": ScanView}},
    summary="Scan an image or a video",
)
async def create(request: Request, here: Here, owner: Owner) -> Response:
    """A small image is answered with its Report (200); for all else the scan is queued (202) and to be asked for."""
    scan, new, still = await here.intake.accept(request, owner)
    headers = {"Location": f"/v1/scans/{scan.id}"}
    if new:
        here.runners.wake()
    if still and "respond-async" not in request.headers.get("prefer", ""):
        scan = await _ended(here, scan.id, owner, here.settings.wait) or scan
        if scan.report:
            return Response(scan.report, 200, headers, "application/json")
    return Response(view(scan, {}).model_dump_json(by_alias=True), 202, headers, "application/json")


@router.get("/scans", name="list_scans", tags=["scans"], summary="List scans, newest first")
def listing(
    here: Here,
    owner: Owner,
    state: Annotated[JobState | None, Query()] = None,
    verdict: Annotated[State | None, Query()] = None,
    name: Annotated[str | None, Query(max_length=200, description="only names with this in them")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> ScanPage:
    after = read_cursor(cursor) if cursor else None
    name = name.replace("\0", "") if name else None  # PostgreSQL takes none, and no name holds one
    scans = here.store.page(owner, limit + 1, after, state=state, verdict=verdict, name=name)
    more = cursor_of(scans[limit - 1]) if len(scans) > limit else None
    faces = here.store.first_faces([scan.id for scan in scans[:limit]])
    return ScanPage(items=[line(scan, faces.get(scan.id)) for scan in scans[:limit]], cursor=more)


@router.get("/scans/{key}", name="read_scan", tags=["scans"], summary="State, progress and report")
def read(key: str, here: Here, owner: Owner) -> ScanView:
    scan = _mine(here, key, owner)
    return view(scan, here.store.pictures(scan.id))


@router.delete(
    "/scans/{key}",
    name="delete_scan",
    tags=["scans"],
    status_code=204,
    summary="Forget a scan, its file and its report",
)
def remove(key: str, here: Here, owner: Owner) -> Response:
    scan = _mine(here, key, owner)
    if scan.media:  # first: on a full disk it makes the space that the database needs for forgetting
        (here.settings.media / scan.media).unlink(missing_ok=True)
    here.store.remove(key, owner)
    here.runners.cancel(key)
    here.hub.tell(key)
    return Response(status_code=204)


@router.get(
    "/scans/{key}/events",
    name="follow_scan",
    tags=["scans"],
    summary="Progress as server-sent events",
    response_class=Response,
    responses={200: {"description": "Events", "content": {"text/event-stream": {}}}},
)
async def events(key: str, here: Here, owner: Owner) -> StreamingResponse:
    """Events `progress` with {state, progress}; the last one is `end`."""
    await run_in_threadpool(_mine, here, key, owner)
    return StreamingResponse(_events(here, key, owner), media_type="text/event-stream")


@router.get(
    "/scans/{key}/report.html",
    name="read_report_page",
    tags=["reports"],
    summary="The report as one HTML file",
    response_class=HTMLResponse,
)
def report_html(key: str, here: Here, owner: Owner) -> Response:
    scan = _mine(here, key, owner)
    report = with_pictures(_report(scan), here.store.pictures(scan.id))
    headers = {
        "Content-Disposition": 'attachment; filename="report.html"',
        "Content-Security-Policy": "sandbox allow-scripts allow-modals; frame-ancestors 'none'",  # the rest it brings
    }
    return Response(html.render(report), 200, headers, "text/html")


@router.get(
    "/scans/{key}/report.json",
    name="read_report",
    tags=["reports"],
    response_model=Report,
    summary="The report as `unmask scan --json` writes it",
)
def report_json(key: str, here: Here, owner: Owner) -> Response:
    scan = _mine(here, key, owner)
    text = _report(scan).model_dump_json(by_alias=True, indent=2) + "\n"
    return Response(text, 200, {"Content-Disposition": 'attachment; filename="report.json"'}, "application/json")


@router.get(
    "/scans/{key}/media",
    name="read_media",
    tags=["reports"],
    summary="The file as it was sent",
    response_class=Response,
    responses=binary("application/octet-stream", *sorted(set(SHOWN.values()))),
)
def media(key: str, here: Here, owner: Owner) -> Response:
    scan = _mine(here, key, owner)
    path = here.settings.media / (scan.media or "")
    if not scan.media or not path.is_file():
        raise RefusedError(404, "the file is no longer kept; its report is")
    shown = SHOWN.get(scan.format or "")
    return FileResponse(
        path,
        media_type=shown or "application/octet-stream",
        content_disposition_type="inline" if shown else "attachment",
        filename=f"upload{path.suffix}",
        headers={"Content-Security-Policy": "sandbox; default-src 'none'"},
    )


@router.get(
    "/scans/{key}/faces/{track}/{kind}.jpg",
    name="read_face",
    tags=["reports"],
    summary="A face, or the heat map over it",
    response_class=Response,
    responses=binary("image/jpeg"),
)
def picture(key: str, track: int, kind: Literal["face", "heat"], here: Here, owner: Owner) -> Response:
    scan = _mine(here, key, owner)
    jpeg = here.store.pictures(scan.id).get((track, HEAT if kind == "heat" else FACE))
    if jpeg is None:
        raise RefusedError(404, "there is no such image")
    return Response(jpeg, media_type="image/jpeg")


@router.get("/detectors", name="list_detectors", tags=["detectors"], summary="What judges here")
def detectors(here: Here, owner: Owner) -> list[Detector]:
    scanner, options = here.scanner, here.settings.options
    asked = [(FACES_ASKED, scanner.scorer)] if scanner.face_detector else []
    asked += [(WHOLE_ASKED, scanner.whole)] if scanner.whole else []
    return [
        Detector(
            name=one.card.name,
            version=one.card.version,
            summary=one.card.summary,
            question=question,
            weights_sha256=one.weights_sha256,
            trained_on=list(one.card.trained_on),
            limits=list(one.card.limits),
            misuse=list(one.card.misuse),
            licence=one.card.licence,
            error_rate=options.error_rate,
            frames=options.frames,
            max_bytes=options.limits.bytes,
        )
        for question, one in asked
    ]


@plain.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers, whatever its threads wait for."""
    return {"status": "ok"}


@plain.get("/readyz")
def readyz(here: Here) -> JSONResponse:
    """Detectors are loaded, the database takes what is written, and there is room for uploads."""
    missing = [] if here.runners.ready else ["workers"]
    missing += [] if here.database.alive() else ["database"]
    missing += [] if here.settings.has_space() else ["disk"]
    return JSONResponse({"status": "waiting" if missing else "ok", "missing": missing}, 503 if missing else 200)


@plain.get("/metrics")
def metrics(here: Here, owner: Owner) -> Response:
    return Response(here.metrics.text(here.store.counts), media_type=CONTENT_TYPE_LATEST)


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application. Raises: UnmaskError; see `Service`."""
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await run_in_threadpool(service.stop)

    # No pages of documentation: they would load scripts from elsewhere.
    app = FastAPI(
        title="unmask",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.openapi = lambda: described(app)  # type: ignore[method-assign]
    app.state.service = service
    errors.install(app)
    app.include_router(router)
    app.include_router(plain)
    app.include_router(assets.router)
    app.add_middleware(Guard, settings=settings, metrics=service.metrics)
    return app


def _mine(here: Service, key: str, owner: str) -> Scan:
    scan = here.store.get(key, owner)
    if scan is None:  # also when it is somebody else's: nobody learns what exists
        raise RefusedError(404, "there is no such scan, or it is not yours")
    return scan


def _report(scan: Scan) -> Report:
    if not scan.report:
        raise RefusedError(404, "there is no report yet; ask for the scan's state")
    return Report.model_validate_json(scan.report)


async def _ended(here: Service, key: str, owner: str, seconds: float) -> Scan | None:
    """The scan when it has ended, or as it is after so many seconds; None when it was deleted."""
    end = time.monotonic() + seconds
    with here.hub.listening(key) as news:
        while True:
            scan = await run_in_threadpool(here.store.get, key, owner)
            left = end - time.monotonic()
            if scan is None or scan.state not in (QUEUED, RUNNING) or left <= 0 or here.hub.closing:
                return scan
            await heard(news, min(left, 1.0))


async def _events(here: Service, key: str, owner: str) -> AsyncIterator[str]:
    said, quiet = "", time.monotonic()
    with here.hub.listening(key) as news:
        while not here.hub.closing:
            scan = await run_in_threadpool(here.store.get, key, owner)
            if scan is None:
                return
            data = json.dumps({"state": scan.state, "progress": round(scan.progress, 3)})
            ended = scan.state not in (QUEUED, RUNNING)
            if data != said or ended:
                said, quiet = data, time.monotonic()
                yield f"event: {'end' if ended else 'progress'}\ndata: {data}\n\n"
            elif time.monotonic() - quiet > ALIVE:
                quiet = time.monotonic()
                yield ": still here\n\n"
            if ended:
                return
            await heard(news, 1.0)
            await asyncio.sleep(0.05)

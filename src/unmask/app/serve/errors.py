"""Errors of the API: problem documents (RFC 9457), one line that says what to do, and never an inside view."""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

LOG = logging.getLogger("unmask.serve")


class ProblemBody(BaseModel):
    """An error in the form of RFC 9457."""

    type: str = Field("about:blank", description="always this: status and detail say it all")
    title: str = Field(examples=["Too Many Requests"])
    status: int = Field(ge=400, le=599, examples=[429])
    detail: str = Field(examples=["100 scans are waiting already; try again in 12 s"])


class RefusedError(Exception):
    """What the caller can mend; `detail` says how. `retry`: seconds after which the same request may succeed."""

    def __init__(self, status: int, detail: str, *, retry: float | None = None, close: bool = False) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers: dict[str, str] = {}
        if retry is not None:
            self.headers["Retry-After"] = str(max(1, round(retry)))
        if close:  # the rest of the body is not read
            self.headers["Connection"] = "close"


FULL = {errno.ENOSPC, errno.EDQUOT}


def trouble(error: BaseException) -> RefusedError | None:
    """What to say of an error that is nobody's fault and will pass: a full disk, a busy or unreachable database."""
    full = "the service's disk is full: delete scans that are no longer needed, or ask whoever runs it for more space"
    if isinstance(error, OSError) and error.errno in FULL:
        return RefusedError(507, full, close=True)
    if isinstance(error, DBAPIError | PoolTimeoutError):
        if "disk is full" in str(error) or "disk I/O error" in str(error) or "No space left" in str(error):
            return RefusedError(507, full, close=True)
        if not isinstance(error, DBAPIError) or isinstance(error, OperationalError | InterfaceError):
            return RefusedError(503, "the service's database is busy or away; try again", retry=5, close=True)
    return None


def answer(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    body = ProblemBody(type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(body.model_dump(), status, headers=dict(headers or {}), media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Every error of `app` that the caller can mend becomes a problem document; `guard` sees to the others."""

    @app.exception_handler(RefusedError)
    async def problem(request: Request, error: RefusedError) -> JSONResponse:
        return answer(error.status, error.detail, error.headers)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        places = (".".join(str(part) for part in e["loc"]) + ": " + e["msg"] for e in error.errors())
        return answer(422, "; ".join(places))

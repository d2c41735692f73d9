"""The service's description of itself (OpenAPI), in the form that generators of clients read without a warning: short
names of operations, one component for all problems, every status, binary content by its kind."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from unmask.app.serve.errors import ProblemBody

PROBLEM: dict[str, Any] = {"$ref": "#/components/responses/Problem"}
LATER: dict[str, Any] = {"$ref": "#/components/responses/Later"}
ALWAYS = (400, 401, 403, 404, 414, 421, 422, 431, 500)  # `guard` and the routers may refuse any request so
SENDING = (408, 413, 415)
RETRY = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
LOCATION = {"Location": {"description": "address of the scan", "schema": {"type": "string"}}}
BINARY = {"schema": {"type": "string", "format": "binary"}}


def binary(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """For routes whose answer is a file of one of these kinds."""
    return {200: {"description": "The content", "content": dict.fromkeys(kinds, BINARY)}}


def described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        parts = schema["components"]
        parts["schemas"]["Problem"] = ProblemBody.model_json_schema()
        parts["schemas"] = {
            k: v for k, v in parts["schemas"].items() if k not in ("HTTPValidationError", "ValidationError")
        }
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        parts["responses"] = {
            "Problem": {"description": "What was wrong, and what to do", "content": content},
            "Later": {"description": "Not now: try again", "headers": RETRY, "content": content},
        }
        for methods in schema["paths"].values():
            for method, operation in methods.items():
                _complete(method, operation["responses"])
        app.openapi_schema = schema
    return app.openapi_schema


def _complete(method: str, responses: dict[str, Any]) -> None:
    responses |= {str(status): PROBLEM for status in ALWAYS}
    responses["503"] = LATER
    if method == "post":
        responses |= {str(status): PROBLEM for status in SENDING}
        responses["429"] = LATER
        for status in ("200", "202"):
            responses[status]["headers"] = LOCATION
    if method in ("post", "delete"):
        responses["507"] = PROBLEM

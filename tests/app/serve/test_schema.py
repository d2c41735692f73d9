"""schemathesis: whatever fits the service's own description, or nearly, gets no 5xx and an answer as described."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("schemathesis", reason="needs schemathesis, of the extra dev")

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from .conftest import Media
from .process import Server

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = int(os.environ.get("UNMASK_SCHEMA_EXAMPLES", "20"))  # of each kind for each operation


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_what_is_described_is_what_happens(server: Server, media: Media, mode: GenerationMode) -> None:
    sent = server.at.post("/v1/scans", files={"file": ("red.png", media.red)}, headers={"Prefer": "respond-async"})
    known = str(sent.json()["id"])
    server.ended(known)
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")
    answers = Counter[tuple[str, int]]()

    def ask(case: Any) -> None:
        odd = len(repr(case)) % 2  # half of the questions are about what is there
        if odd and case.path_parameters and case.method != "DELETE":
            case.path_parameters["key"] = known
        if odd and isinstance(case.body, dict) and "file" in case.body:
            case.body["file"] = media.pale
        answer = case.call_and_validate(checks=CHECKS, timeout=60)
        answers[case.operation.label, answer.status_code] += 1

    often = settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    operations = [result.ok() for result in schema.get_all_operations()]
    for operation in operations:
        cases = operation.as_strategy(generation_mode=mode)
        with suppress(Unsatisfiable):  # of some operations nothing can be asked wrongly
            often(given(case=cases)(ask))()
    print(mode.value, *sorted(answers.items()), sep="\n  ")
    statuses = {status for _, status in answers}
    if mode is GenerationMode.POSITIVE:
        assert {label for label, _ in answers} == {operation.label for operation in operations}
        assert statuses >= {200, 404}
    else:
        assert statuses >= {422}
    assert server.at.get("/healthz").status_code == 200

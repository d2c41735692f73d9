"""The service's description of itself is complete. That clients are generated from it: .ci/clients.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from unmask.app.serve.api import create_app
from unmask.app.serve.settings import Settings
from unmask.scanning.options import Options

from .conftest import Media


@pytest.fixture(scope="module")
def described(media: Media, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("described")
    document = create_app(Settings(folder=folder, options=Options(detector=str(media.bundle)))).openapi()
    return json.loads(json.dumps(document))  # type: ignore[no-any-return]


def operations(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["operationId"]: one for methods in described["paths"].values() for one in methods.values()}


def test_operations_have_short_names_and_tags(described: dict[str, Any]) -> None:
    found = operations(described)
    assert set(found) == {
        "create_scan", "list_scans", "read_scan", "delete_scan", "follow_scan", "read_report_page", "read_report",
        "read_media", "read_face", "list_detectors",
    }  # fmt: skip
    assert all(one["tags"] for one in found.values())


def test_every_operation_tells_its_problems_by_one_component(described: dict[str, Any]) -> None:
    problem = {"$ref": "#/components/responses/Problem"}
    for name, one in operations(described).items():
        assert {"400", "401", "404", "422", "500", "503"} <= set(one["responses"]), name
        assert one["responses"]["422"] == problem, name
        for status in one["responses"]:
            assert status < "4" or set(one["responses"][status]) == {"$ref"}, (name, status)
    create = operations(described)["create_scan"]["responses"]
    assert {"408", "413", "415", "429", "507"} <= set(create)
    assert "Location" in create["202"]["headers"]
    parts = described["components"]
    assert "Retry-After" in parts["responses"]["Later"]["headers"]
    assert sum("detail" in schema.get("properties", {}) for schema in parts["schemas"].values()) == 1


def test_files_are_binary(described: dict[str, Any]) -> None:
    for name, kind in (("read_media", "application/octet-stream"), ("read_face", "image/jpeg")):
        content = operations(described)[name]["responses"]["200"]["content"]
        assert content[kind]["schema"] == {"type": "string", "format": "binary"}

"""The JSON Schema of `unmask.report/1`."""

from __future__ import annotations

import json

from unmask.types import Report


def report_schema() -> str:
    """As indented JSON with a final newline: what `unmask schema` prints and docs/report.schema.json holds."""
    return json.dumps(Report.model_json_schema(mode="serialization"), indent=2) + "\n"

"""What one writes in an afternoon: one request, one inference, in the process that answers. For comparison.

    uvicorn naive_server:app

The same scanner as the service, loaded once, and FastAPI's own threads. No queue, no bound on what waits, no process to
kill, nothing kept: a crash of a codec ends it, and what it was at is lost.
"""

from __future__ import annotations

from fastapi import FastAPI, UploadFile
from fastapi.responses import Response

from unmask.scanning.options import Options, report_of

app = FastAPI()
scanner = Options().ready()


@app.post("/v1/scans")
def scan(file: UploadFile) -> Response:
    report = report_of(scanner).model_copy(update={"files": (scanner.scan(file.file.read()),)})
    return Response(report.model_dump_json(by_alias=True), media_type="application/json")


@app.get("/readyz")
def readyz() -> dict[str, str]:
    return {"status": "ok"}

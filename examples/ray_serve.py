"""The service under Ray Serve: one address, several replicas, one PostgreSQL.

    pip install 'unmask[serve,postgres]' 'ray[serve]'
    UNMASK_DB=postgresql://user@host/name UNMASK_DATA=/mnt/shared/unmask serve run examples.ray_serve:app

Each replica is a whole service with workers of its own: it accepts, scans, and answers for what the others scanned,
because all of them look into one database and one folder. UNMASK_REPLICAS (2), UNMASK_WORKERS (1 each),
UNMASK_DETECTOR and UNMASK_TOKENS (a file of tokens, on every host) say the rest; without tokens only local host names
are answered.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI
from ray import serve

from unmask.app.serve.api import create_app
from unmask.app.serve.settings import Settings, read_tokens

REPLICAS = int(os.environ.get("UNMASK_REPLICAS", "2"))
WORKERS = int(os.environ.get("UNMASK_WORKERS", "1"))
HANDED_ON = ("DB", "DATA", "DETECTOR", "TOKENS", "WORKERS")  # replicas may run on other hosts


def service() -> FastAPI:
    """What one replica runs; called there."""
    tokens = os.environ.get("UNMASK_TOKENS")
    detector = {"detector": os.environ.get("UNMASK_DETECTOR", "embedded")}
    settings = Settings(
        folder=Path(os.environ["UNMASK_DATA"]),
        db=os.environ["UNMASK_DB"],
        tokens=read_tokens(Path(tokens)) if tokens else {},
        workers=WORKERS,
    )
    if not settings.db.startswith("postgresql"):
        raise ValueError("replicas share their scans through PostgreSQL; SQLite is for one server")
    return create_app(replace(settings, options=settings.options.model_copy(update=detector)))


@serve.deployment(
    num_replicas=REPLICAS,
    max_ongoing_requests=256,  # a request that waits for its report, or for news, is one
    graceful_shutdown_timeout_s=30.0,  # running scans get 20 s, then they are queued again
    ray_actor_options={
        "num_cpus": WORKERS,
        "runtime_env": {
            "env_vars": {f"UNMASK_{n}": os.environ[f"UNMASK_{n}"] for n in HANDED_ON if f"UNMASK_{n}" in os.environ}
        },
    },
)
@serve.ingress(service)
class Unmask:
    """The routes are the service's own."""


app = Unmask.bind()

"""Webhooks: a finished scan is told to the address that its request named, signed as standardwebhooks.com describes.

The body holds the scan without its report. An address is called only if it is on the open internet, as with every
address that a caller names; an answer other than 2xx is tried again, later and later, also after a restart.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import logging
import threading
import time
from collections.abc import Callable

from unmask.app.serve.metrics import Metrics
from unmask.app.serve.models import Scan
from unmask.app.serve.store import Store
from unmask.media import MediaError
from unmask.media.addresses import Address, public
from unmask.media.fetch import send

LOG = logging.getLogger("unmask.serve")
PAUSES = (10.0, 60.0, 600.0, 3600.0, 6 * 3600.0)  # seconds before each further try
SECONDS = 15.0  # for one try
POLL = 1.0


def signature(secret: bytes, key: str, moment: int, body: bytes) -> str:
    """ "v1,<base64 of HMAC-SHA256 over id.timestamp.body>"."""
    signed = b".".join((key.encode(), str(moment).encode(), body))
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode("ascii")


class Hooks:
    """A thread that sends what is due. `allowed`: addresses that may be called."""

    def __init__(
        self, store: Store, secret: bytes, metrics: Metrics, allowed: Callable[[Address], bool] = public
    ) -> None:
        self._store, self._secret, self._metrics, self._allowed = store, secret, metrics, allowed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hooks", daemon=True)

    def start(self) -> None:
        if self._secret:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if not self.send_one():
                    self._stop.wait(POLL)
            except Exception as error:  # noqa: BLE001 - a database that is away for a moment must not end the thread
                LOG.error("webhooks: %s", error)
                self._stop.wait(POLL)

    def send_one(self) -> bool:
        """Sends what is due first. Returns whether there was anything."""
        scan = self._store.webhook_due(2 * SECONDS)
        if scan is None:
            return False
        delivered, said = self._send(scan)
        again = None if delivered or scan.webhook_tries > len(PAUSES) else PAUSES[scan.webhook_tries - 1]
        state = "delivered" if delivered else "given up" if again is None else "to be tried again"
        self._store.webhook_settled(scan.id, None if again is None else time.time() + again, state, said)
        self._metrics.hooks.labels("delivered" if delivered else "failed").inc()
        return True

    def _send(self, scan: Scan) -> tuple[bool, str]:
        """Whether it was heard, and what came of it in words."""
        told = {"id": scan.id, "state": scan.state, "name": scan.name, "verdict": scan.verdict, "score": scan.score}
        body = json.dumps({"type": "scan.finished", "data": told}).encode()
        moment = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": scan.id,
            "webhook-timestamp": str(moment),
            "webhook-signature": signature(self._secret, scan.id, moment, body),
        }
        try:
            status = send(str(scan.webhook), body, headers, allowed=self._allowed, seconds=SECONDS)
        except (MediaError, OSError, http.client.HTTPException) as error:
            LOG.warning("webhook of %s: %s", scan.id, error)
            return False, str(error)
        return 200 <= status < 300, f"the answer was {status}"

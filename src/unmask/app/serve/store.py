"""The queue of scans and their results, in the database: what is written here survives kill -9 of everything else."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, delete, func, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from unmask.app.serve.db import Database
from unmask.app.serve.models import FACE, HEAT, QUEUED, RUNNING, Picture, Scan
from unmask.types import FaceReport

LEASE = 10.0  # seconds after which a scan whose runner gave no sign is given to another
ATTEMPTS = 3  # a file that ended its process this often is not tried again


class QueueFullError(Exception):
    """As many scans wait as may."""


class OtherRequestError(Exception):
    """The idempotency key was used for something else."""


@dataclass(frozen=True)
class Result:
    """How a scan ended. `verdict` and `score` are those of the report, for lists."""

    state: str  # DONE or FAILED
    report: str
    verdict: str
    score: float | None
    faces: Sequence[FaceReport] = ()


def fresh_id() -> str:
    """A name that nobody guesses."""
    return secrets.token_hex(16)


class Store:
    """All that is asked of the database."""

    def __init__(self, database: Database, queue: int) -> None:
        self._db, self._queue = database, queue

    # --- callers -----------------------------------------------------------------------------------------------------

    def accept(self, scan: Scan) -> tuple[Scan, bool]:
        """Queues `scan`. Returns it, or the one that was accepted before under its key, and whether it is new.

        Raises: QueueFullError, OtherRequestError.
        """
        try:
            with self._db.write() as session:
                if known := self._known(session, scan):
                    return known, False
                if self._waiting(session) >= self._queue:
                    raise QueueFullError
                session.add(scan)
        except IntegrityError:  # the same key, in the same moment, on another server
            with self._db.read() as session:
                known = self._known(session, scan)
            if known is None:
                raise
            return known, False
        return scan, True

    def get(self, key: str, owner: str) -> Scan | None:
        with self._db.read() as session:
            return session.scalar(select(Scan).where(Scan.id == key, Scan.owner == owner))

    def pictures(self, key: str) -> dict[tuple[int, str], bytes]:
        """(track, FACE or HEAT) -> JPEG."""
        with self._db.read() as session:
            found = session.scalars(select(Picture).where(Picture.scan == key))
            return {(picture.track, picture.kind): picture.jpeg for picture in found}

    def page(
        self,
        owner: str,
        limit: int,
        after: tuple[float, str] | None = None,
        *,
        state: str | None = None,
        verdict: str | None = None,
        name: str | None = None,
    ) -> list[Scan]:
        """Newest first, those after (created, id) in that order. `name`: only names with this in them."""
        wanted = select(Scan).where(Scan.owner == owner)
        if state:
            wanted = wanted.where(Scan.state == state)
        if verdict:
            wanted = wanted.where(Scan.verdict == verdict)
        if name:
            wanted = wanted.where(Scan.name.icontains(name, autoescape=True))
        if after:
            wanted = wanted.where(tuple_(Scan.created, Scan.id) < tuple_(*after))
        with self._db.read() as session:
            return list(session.scalars(wanted.order_by(Scan.created.desc(), Scan.id.desc()).limit(limit)))

    def first_faces(self, keys: Sequence[str]) -> dict[str, int]:
        """Scan -> the first of its faces that has an image."""
        asked = select(Picture.scan, func.min(Picture.track)).where(Picture.kind == FACE, Picture.scan.in_(keys))
        with self._db.read() as session:
            return {row[0]: row[1] for row in session.execute(asked.group_by(Picture.scan))}

    def remove(self, key: str, owner: str) -> Scan | None:
        """Forgets a scan and its images; the caller deletes its media."""
        with self._db.write() as session:
            scan = session.scalar(select(Scan).where(Scan.id == key, Scan.owner == owner))
            if scan:
                session.execute(delete(Picture).where(Picture.scan == key))
                session.execute(delete(Scan).where(Scan.id == key))
        return scan

    def stored(self, owner: str) -> int:
        """Bytes of media that lie here for `owner`."""
        with self._db.read() as session:
            asked = select(func.coalesce(func.sum(Scan.bytes), 0)).where(Scan.owner == owner, Scan.media.is_not(None))
            return int(session.scalar(asked) or 0)

    def full(self) -> bool:
        """As many scans wait as may."""
        with self._db.read() as session:
            return self._waiting(session) >= self._queue

    def counts(self) -> dict[str, int]:
        """All scans by state."""
        with self._db.read() as session:
            return {row[0]: row[1] for row in session.execute(select(Scan.state, func.count()).group_by(Scan.state))}

    # --- runners -----------------------------------------------------------------------------------------------------

    def claim(self, who: str) -> Scan | None:
        """The oldest scan that waits, or whose runner is gone: from now on `who` runs it."""
        now = time.time()
        lost = and_(Scan.state == RUNNING, Scan.lease < now)
        wanted = select(Scan).where(or_(Scan.state == QUEUED, lost)).order_by(Scan.created, Scan.id).limit(1)
        with self._db.write() as session:
            scan = session.scalar(wanted.with_for_update(skip_locked=True))
            if scan:
                scan.state, scan.claimed_by, scan.lease = RUNNING, who, now + LEASE
                scan.started, scan.attempts, scan.progress = now, scan.attempts + 1, 0.0
            return scan

    def renew(self, key: str, who: str, progress: float | None = None) -> bool:
        """Gives a sign of life, and with it the progress if it is known. False: deleted, or given to another."""
        with self._db.write() as session:
            mine = update(Scan).where(Scan.id == key, Scan.claimed_by == who, Scan.state == RUNNING)
            known = {} if progress is None else {"progress": progress}
            done = session.connection().execute(mine.values(lease=time.time() + LEASE, **known))
            return done.rowcount == 1

    def release(self, key: str, who: str, *, innocent: bool) -> None:
        """Back into the queue. `innocent`: it was stopped for no fault of its own, and the attempt does not count."""
        with self._db.write() as session:
            scan = session.scalar(select(Scan).where(Scan.id == key, Scan.claimed_by == who, Scan.state == RUNNING))
            if scan:
                scan.state, scan.claimed_by, scan.lease, scan.progress = QUEUED, None, None, 0.0
                scan.attempts -= int(innocent)

    def release_all(self) -> int:
        """Every running scan back into the queue: for the one server of a database, when it starts."""
        with self._db.write() as session:
            lost = update(Scan).where(Scan.state == RUNNING)
            done = session.connection().execute(lost.values(state=QUEUED, claimed_by=None, lease=None, progress=0.0))
            return int(done.rowcount)

    def finish(self, key: str, who: str, result: Result) -> bool:
        """Writes a result down. False: the scan was deleted meanwhile, or another has it."""
        now = time.time()
        with self._db.write() as session:
            scan = session.scalar(select(Scan).where(Scan.id == key, Scan.claimed_by == who, Scan.state == RUNNING))
            if scan is None:
                return False
            scan.state, scan.report, scan.verdict, scan.score = (
                result.state,
                result.report,
                result.verdict,
                result.score,
            )
            scan.finished, scan.progress, scan.claimed_by, scan.lease = now, 1.0, None, None
            scan.webhook_due = now if scan.webhook else None
            for face in result.faces:
                for kind, jpeg in ((FACE, face.thumbnail), (HEAT, face.heat)):
                    if jpeg is not None:
                        session.add(Picture(scan=key, track=face.track, kind=kind, jpeg=jpeg))
            return True

    # --- housekeeping ------------------------------------------------------------------------------------------------

    def expired_media(self, before: float) -> list[str]:
        """Media of scans that ended before this time: forgotten here, to be deleted by the caller."""
        old = and_(Scan.finished < before, Scan.media.is_not(None))
        with self._db.write() as session:
            scans = list(session.scalars(select(Scan).where(old)))
            names = [scan.media for scan in scans if scan.media]
            for scan in scans:
                scan.media = None
            return names

    def forget(self, before: float) -> int:
        """Deletes reports of scans that ended before this time and have no media any more."""
        old = select(Scan.id).where(Scan.finished < before, Scan.media.is_(None))
        with self._db.write() as session:
            session.execute(delete(Picture).where(Picture.scan.in_(old)))
            return int(session.connection().execute(delete(Scan).where(Scan.id.in_(old))).rowcount)

    def media_names(self) -> set[str]:
        with self._db.read() as session:
            return {name for name in session.scalars(select(Scan.media).where(Scan.media.is_not(None))) if name}

    def webhook_due(self, pause: float) -> Scan | None:
        """A scan whose webhook is to be sent now. It is due again after `pause`, unless it is settled before."""
        now = time.time()
        wanted = select(Scan).where(Scan.webhook_due <= now).order_by(Scan.webhook_due).limit(1)
        with self._db.write() as session:
            scan = session.scalar(wanted.with_for_update(skip_locked=True))
            if scan:
                scan.webhook_tries, scan.webhook_due = scan.webhook_tries + 1, now + pause
            return scan

    def webhook_settled(self, key: str, due: float | None) -> None:
        with self._db.write() as session:
            session.execute(update(Scan).where(Scan.id == key).values(webhook_due=due))

    def _waiting(self, session: Session) -> int:
        return session.scalars(select(func.count()).where(Scan.state == QUEUED)).one()

    def _known(self, session: Session, scan: Scan) -> Scan | None:
        if scan.idempotency_key is None:
            return None
        same = select(Scan).where(Scan.owner == scan.owner, Scan.idempotency_key == scan.idempotency_key)
        known = session.scalar(same)
        if known is not None and known.fingerprint != scan.fingerprint:
            raise OtherRequestError
        return known

"""The queue of scans and their results, in the database: what is written here survives kill -9 of everything else."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import and_, delete, func, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from unmask.app.serve.db import Database
from unmask.app.serve.models import FACE, HEAT, QUEUED, RUNNING, SHEET, Picture, Scan
from unmask.types import FaceReport, FileReport, WholeReport

LEASE = 10.0  # seconds after which a scan whose runner gave no sign is given to another
ATTEMPTS = 3  # a file that ended its process this often is not tried again


class QueueFullError(Exception):
    """As many scans wait as may."""


class StorageFullError(Exception):
    """The owner's uploads would take more than they may; `stored` says what they take."""

    def __init__(self, stored: int) -> None:
        super().__init__(stored)
        self.stored = stored


class OtherRequestError(Exception):
    """The idempotency key was used for something else."""


@dataclass(frozen=True)
class Result:
    """How a scan ended. `verdict` and `score` are those of the report, for lists."""

    state: str  # DONE or FAILED
    report: str
    verdict: str
    score: float | None
    file: FileReport | None = None  # whose images are kept


def _pictures(file: FileReport) -> Iterator[tuple[int, str, bytes]]:
    """(track, kind, JPEG) of the images of a report; those of the whole are of track 0, as the sheet is."""
    shown = [(0, SHEET, file.sheet)]
    shown += [(face.track, kind, jpeg) for face in file.faces for kind, jpeg in _drawn(face)]
    shown += [(0, kind, jpeg) for kind, jpeg in _drawn(file.whole)] if file.whole else []
    return ((track, kind, jpeg) for track, kind, jpeg in shown if jpeg is not None)


def _drawn(one: FaceReport | WholeReport) -> tuple[tuple[str, bytes | None], ...]:
    return (FACE, one.thumbnail), (HEAT, one.heat)


def fresh_id() -> str:
    """A name that nobody guesses."""
    return secrets.token_hex(16)


class Store:
    """All that is asked of the database."""

    def __init__(self, database: Database, queue: int, *, storage: int | None = None, shared: bool = False) -> None:
        """
        Args:
            queue: scans that may wait.
            storage: bytes of uploads that one owner may have here; None: any number.
            shared: there may be several owners, and none may take the places of all others.
        """
        self._db, self._queue, self._storage, self._shared = database, queue, storage, shared

    # --- callers -----------------------------------------------------------------------------------------------------

    def accept(self, scan: Scan) -> tuple[Scan, bool]:
        """Queues `scan`. Returns it, or the one that was accepted before under its key, and whether it is new.

        Room is counted in the transaction that takes it: of many requests at once none gets what another has taken.

        Raises: QueueFullError, StorageFullError, OtherRequestError.
        """
        try:
            with self._db.write(alone=True) as session:
                if known := self._known(session, scan):
                    return known, False
                if not self._places(session, scan.owner):
                    raise QueueFullError
                stored = self._stored(session, scan.owner)
                if self._storage is not None and stored + scan.bytes > self._storage:
                    raise StorageFullError(stored)
                session.add(scan)
        except IntegrityError:  # the same key, in the same moment, on another server
            with self._db.read() as session:
                known = self._known(session, scan)
            if known is None:
                raise
            return known, False
        return scan, True

    def has_key(self, owner: str, key: str) -> bool:
        """Whether a scan was accepted under this idempotency key."""
        with self._db.read() as session:
            asked = select(Scan.id).where(Scan.owner == owner, Scan.idempotency_key == key)
            return session.scalar(asked) is not None

    def get(self, key: str, owner: str) -> Scan | None:
        with self._db.read() as session:
            return session.scalar(select(Scan).where(Scan.id == key, Scan.owner == owner))

    def pictures(self, key: str) -> dict[tuple[int, str], bytes]:
        """(track, FACE or HEAT), and (0, SHEET) -> JPEG."""
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
        asked = select(Picture.scan, func.min(Picture.track)).where(
            Picture.kind == FACE, Picture.track > 0, Picture.scan.in_(keys)
        )
        with self._db.read() as session:
            return {row[0]: row[1] for row in session.execute(asked.group_by(Picture.scan))}

    def remove(self, key: str, owner: str) -> Scan | None:
        """Forgets a scan and its images; the caller has deleted its media."""
        with self._db.write() as session:
            scan = session.scalar(select(Scan).where(Scan.id == key, Scan.owner == owner))
            if scan:
                session.execute(delete(Picture).where(Picture.scan == key))
                session.execute(delete(Scan).where(Scan.id == key))
        if scan:
            self._db.wipe()
        return scan

    def stored(self, owner: str) -> int:
        """Bytes of media that lie here for `owner`."""
        with self._db.read() as session:
            return self._stored(session, owner)

    def full(self, owner: str) -> bool:
        """As many scans of this owner wait as may."""
        with self._db.read() as session:
            return not self._places(session, owner)

    def counts(self) -> dict[str, int]:
        """All scans by state."""
        with self._db.read() as session:
            return {row[0]: row[1] for row in session.execute(select(Scan.state, func.count()).group_by(Scan.state))}

    # --- runners -----------------------------------------------------------------------------------------------------

    def claim(self, who: str) -> Scan | None:
        """A scan that waits, or whose runner is gone: from now on `who` runs it.

        Owners take turns: it is the oldest of the one whose last scan began longest ago.
        """
        now = time.time()
        lost = and_(Scan.state == RUNNING, Scan.lease < now)
        other = aliased(Scan)
        turn = select(func.coalesce(func.max(other.started), 0.0)).where(other.owner == Scan.owner).scalar_subquery()
        waiting = select(Scan).where(or_(Scan.state == QUEUED, lost))
        wanted = waiting.order_by(turn, Scan.created, Scan.id).limit(1)
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
            for track, kind, jpeg in _pictures(result.file) if result.file else ():
                session.add(Picture(scan=key, track=track, kind=kind, jpeg=jpeg))
            return True

    # --- housekeeping ------------------------------------------------------------------------------------------------

    def expired_media(self, before: float) -> list[str]:
        """Media of scans that ended before this time: for the caller to delete, and then to tell `media_gone`."""
        old = and_(Scan.finished < before, Scan.media.is_not(None))
        with self._db.read() as session:
            return [name for name in session.scalars(select(Scan.media).where(old)) if name]

    def media_gone(self, names: Sequence[str]) -> None:
        for start in range(0, len(names), 500):  # SQLite takes no statement of any length
            with self._db.write() as session:
                gone = Scan.media.in_(names[start : start + 500])
                session.execute(update(Scan).where(gone).values(media=None))

    def forget(self, before: float) -> int:
        """Deletes reports of scans that ended before this time and have no media any more."""
        old = select(Scan.id).where(Scan.finished < before, Scan.media.is_(None))
        with self._db.write() as session:
            session.execute(delete(Picture).where(Picture.scan.in_(old)))
            forgotten = int(session.connection().execute(delete(Scan).where(Scan.id.in_(old))).rowcount)
        if forgotten:
            self._db.wipe()
        return forgotten

    def wiped(self) -> None:
        """Ends the wiping of what was deleted, where it had to wait."""
        self._db.wiped()

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

    def webhook_settled(self, key: str, due: float | None, state: str, said: str) -> None:
        """How a try went, and when the next is due; None: there is none."""
        told = {"webhook_due": due, "webhook_state": state, "webhook_said": said}
        with self._db.write() as session:
            session.execute(update(Scan).where(Scan.id == key).values(**told))

    def _places(self, session: Session, owner: str) -> int:
        """Scans that this owner may add to those that wait. Where others share the queue, half of what they leave: so
        however many come, and however much each sends, there is a place for the next."""
        waiting = session.execute(select(Scan.owner, func.count()).where(Scan.state == QUEUED).group_by(Scan.owner))
        counts: dict[str, int] = {row[0]: row[1] for row in waiting}
        mine, free = counts.get(owner, 0), self._queue - sum(counts.values())
        share = max(1, (free + mine) // 2) if self._shared else self._queue
        return max(0, min(free, share - mine))

    def _stored(self, session: Session, owner: str) -> int:
        asked = select(func.coalesce(func.sum(Scan.bytes), 0)).where(Scan.owner == owner, Scan.media.is_not(None))
        return int(session.scalar(asked) or 0)

    def _known(self, session: Session, scan: Scan) -> Scan | None:
        if scan.idempotency_key is None:
            return None
        same = select(Scan).where(Scan.owner == scan.owner, Scan.idempotency_key == scan.idempotency_key)
        known = session.scalar(same)
        if known is not None and known.fingerprint != scan.fingerprint:
            raise OtherRequestError
        return known

"""What was seen in one file, and what a reader should know of it beside the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field

from unmask.faces.search import smallest
from unmask.scanning import checks, closer
from unmask.scanning.evidence import piece
from unmask.scanning.person import Seen
from unmask.scanning.sheet import Key
from unmask.scanning.verdict import Verdict
from unmask.scanning.words import claims
from unmask.types import Evidence, Face, Media, Pixels

FACES_PER_FRAME = 20  # the largest ones: bounds time and memory in a crowd


@dataclass(frozen=True)
class Look:
    """What one frame showed, or one window of frames; `frame` and `t` are of its middle."""

    frame: int
    t: float
    faces: list[Face]
    thumbs: list[Pixels]  # of the crops of these faces, for telling people apart


@dataclass
class Gathered:
    """What was seen in the frames of one file."""

    still: bool
    expected: int  # evenly spaced frames that will come, as far as that is known
    length: int = 1  # frames of one look: 1, or those of a video detector's window
    looks: list[Look] = field(default_factory=list)  # in order of time
    keys: list[Key] = field(default_factory=list)  # evenly spaced frames made small, where images are wanted
    even: int = 0  # how many of them are evenly spaced; the others are second looks
    interval: float | None = None  # seconds between these
    failed: list[str] = field(default_factory=list)  # why, one for each frame that could not be read
    seen: dict[int, Seen] = field(default_factory=dict)  # by id() of the face, which `looks` keeps alive
    tiles: list[Seen] = field(default_factory=list)  # of the frames that were judged as a whole, one after the other
    left_out: int = 0  # most faces of one frame that were not looked at
    broken: str = ""  # why reading stopped before its end

    @property
    def read(self) -> int:
        """Frames that were looked at."""
        return len(self.looks) * self.length


def of_file(verdict: Verdict, media: Media) -> list[Evidence]:
    """The number, and what the file says of itself."""
    found = []
    if verdict.score is not None and verdict.low is not None and verdict.high is not None:
        facts = {"score": verdict.score, "low": verdict.low, "high": verdict.high}
        found.append(piece("probability", "file", facts))
    found += [piece("claim", "file", {"says": says}) for says in claims(media.provenance)]
    if media.provenance.get("c2pa", "not_checked") not in ("absent", "not_checked"):
        found.append(piece("credentials", "file", {"state": media.provenance["c2pa"]}))
    return found


def remarks(gathered: Gathered) -> list[Evidence]:
    """What a reader should know although it does not touch the verdict."""
    asides = []
    if gathered.left_out > 0:
        asides.append(piece("crowd", "file", {"most": FACES_PER_FRAME}))
    if gathered.interval is not None and gathered.interval > closer.APART:
        asides.append(piece("interval", "file", {"seconds": gathered.interval, "length": gathered.length}))
    return asides


def too_short(media: Media, length: int) -> str:
    """Why a video detector has nothing to look at."""
    seen = "an image" if media.kind == "image" else f"a video of {media.total_frames or 'no known number of'} frames"
    return f"{seen}: this detector needs a video of at least {length} frames"


def least(media: Media) -> dict[str, float]:
    """The size of the faces that could have been found, where that is not all that could be judged."""
    least = smallest(media.width, media.height, still=media.kind == "image")
    return {"least": least} if least > checks.TINY + 0.5 else {}


def brief(people: list[list[Seen]], gathered: Gathered) -> list[Evidence]:
    """What is said of faces that were seen in one frame only and have no part in the verdict."""
    times = [look.t for look in gathered.looks]
    alone = sum(closer.alone(seen.face.t, times) for one in people for seen in one)
    told = []
    for count, why in ((len(people) - alone, "seen in one frame only"), (alone, "seen once, and not looked at again")):
        if count:
            told.append(piece("brief", "file", {"count": count, "why": why}))
    return told

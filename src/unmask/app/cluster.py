"""Ray, made ready for one job: quiet, without telemetry, and with its errors in a line.

Ray Data does all the scheduling: it hands blocks to actors, starts dead ones anew and gives them the same block again,
without end. What a job writes must therefore bear being done twice, and `Careful` counts what dies of one item.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import unmask
from unmask._version import __version__
from unmask.errors import MissingExtraError, UnmaskError
from unmask.journal import cut_torn_line
from unmask.workers import Worker, WorkerError

STORE = 256 << 20  # bytes of shared memory of a local cluster: names and counts go through it, and more is spilled
HOST = os.uname().nodename if hasattr(os, "uname") else "a host"
ATTEMPTS = 2  # how often an item is tried that ends the process reading it
LIVES = 3  # actors that may die over one item, of whatever cause, before it is given up
PACKAGES = Path(unmask.__file__).resolve().parents[1]

W = TypeVar("W", bound=Worker)
A = TypeVar("A")


def require() -> None:
    """Raises: UnmaskError if Ray Data, or the PyArrow that comes with it, is not installed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is reported to anybody
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # no copies of the current folder to the workers
    try:
        import pyarrow  # noqa: F401
        import ray.data  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"--on ray needs Ray Data ({error}); pip install 'unmask[ray]'") from error


@contextmanager
def cluster(address: str | None = None, cpus: int | None = None) -> Iterator[int]:
    """Joins the cluster at `address` ("auto", "host:port"), or starts one on this machine with `cpus` processors.

    Yields: the processors of the whole cluster. A cluster that was started here ends here.

    Raises: UnmaskError if Ray is not installed, or there is no cluster at `address`.
    """
    require()
    import ray
    from ray.data import DataContext

    if ours := not ray.is_initialized():
        here: dict[str, Any] = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": STORE}
        try:
            with chdir(PACKAGES):  # Ray imports from the current folder, and a folder of images may hold a `json.py`
                ray.init(
                    address=address or "local",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **({} if address else here),
                )
        except (ConnectionError, ImportError, OSError, RuntimeError, ValueError) as error:
            where = f"no Ray cluster at {address}" if address else "cannot start Ray on this machine"
            raise UnmaskError(f"{where} ({_line(error)}); on several hosts run `ray start` first") from error
    try:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        DataContext.get_current().enable_progress_bars = False  # the command has its own
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        yield int(resources.get("CPU", 1))
    finally:
        if ours:
            ray.shutdown()


def each(
    blocks: Sequence[Any], work: Callable[..., Any], arguments: dict[str, Any], workers: int, cpus: int = 1
) -> Iterator[Any]:
    """Gives every Arrow table of `blocks` to one of at most `workers` processes.

    work: a function (block, **arguments) -> table, or a class that is made as work(**arguments) once in each process
        and called with a block.

    Yields: the Arrow tables that come back, in no order. A block whose process or machine dies goes to another one.

    Raises: UnmaskError, what a process raised or why Ray gave up.
    """
    import ray
    from ray.data import ActorPoolStrategy, TaskPoolStrategy

    if not blocks:
        return
    given: dict[str, Any] = {"fn_kwargs": arguments, "compute": TaskPoolStrategy(size=min(workers, len(blocks)))}
    if isinstance(work, type):  # as an actor, which Ray Data starts anew as often as it dies
        pool = ActorPoolStrategy(min_size=1, max_size=workers, initial_size=min(workers, len(blocks)))
        given = {"fn_constructor_kwargs": arguments, "compute": pool}
    # batch_size None: a block is a batch is a task.
    data = ray.data.from_arrow(list(blocks))
    answers = data.map_batches(work, batch_format="pyarrow", batch_size=None, num_cpus=cpus, **given)
    try:
        yield from answers.iter_batches(batch_format="pyarrow", batch_size=None)
    except ray.exceptions.RayError as error:
        raise UnmaskError(f"the run stopped, what it had finished is kept: {_line(_root(error))}") from error


class Journal:
    """What is done of one block: an actor that dies costs the item it was at.

    A line is the name of an item that is begun, or its name and what it gave.
    """

    SUFFIX = ".journal.jsonl"

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        cut_torn_line(self._file)
        self._file.seek(0)
        lines = [json.loads(line) for line in self._file]
        self.done: dict[str, Any] = dict(line for line in lines if isinstance(line, list))
        self.deaths = Counter(line for line in lines if isinstance(line, str) and line not in self.done)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def begin(self, name: str) -> None:
        self._add(name)

    def add(self, name: str, given: Any) -> None:
        self.done[name] = given
        self._add([name, given])

    def _add(self, line: Any) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()


class Careful(Generic[W]):
    """Inside an actor: every item goes to a process of its own, made by `hire`, which may die of it.

    Raises: UnmaskError if this host has another version than the one that asks.
    """

    def __init__(self, hire: Callable[[], W], version: str) -> None:
        if __version__ != version:
            raise UnmaskError(f"{HOST} has unmask {__version__}, not {version}; install the same on every host")
        self._hire = hire
        self._worker: W | None = None

    def ask(self, name: str, journal: Journal, question: Callable[[W], A]) -> A | WorkerError:
        """What `question` gets from the process, or how often it died of the item `name`."""
        if journal.deaths[name] >= LIVES:
            return WorkerError(f"{LIVES} workers died over it")
        journal.begin(name)
        why = WorkerError()
        for _ in range(ATTEMPTS):
            try:
                self._worker = self._worker or self._hire()
                return question(self._worker)
            except WorkerError as died:
                why = died
                if self._worker:
                    self._worker.kill()
                self._worker = None
        return why


def sized(items: int, workers: int, smallest: int, largest: int) -> int:
    """How many items make a block: enough blocks that no worker waits long for the last one."""
    return min(max(items // (workers * 32), smallest), largest)


def located(name: str) -> str:
    """A path as a worker finds it, whose current folder is another; any other name as it is."""
    return str(Path(name).absolute()) if Path(name).exists() else name


def _root(error: BaseException) -> BaseException:
    """What a worker raised, without Ray's wrapping."""
    while (cause := getattr(error, "cause", None) or error.__cause__) and cause is not error:
        error = cause
    return error


def _line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__

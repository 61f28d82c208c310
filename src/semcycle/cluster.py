"""Jobs on a Dask cluster: scheduling, retries and workers are its own; here is a window of futures."""

from __future__ import annotations

import contextlib
import pickle
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from semcycle.errors import ClusterError, WorkerError, error_line

try:
    import distributed
    from distributed import Client, Future, KilledWorker, WorkerPlugin, get_worker
except ImportError:  # the extra `cluster` is not installed
    distributed, WorkerPlugin = None, object  # type: ignore[assignment,misc]

CONNECT_S = 20
"""So long a scheduler may take to answer."""
_SAME = ("semcycle", "torch", "numpy", "scipy", "nibabel")
"""Packages whose versions decide over the bytes of an output."""
_S = TypeVar("_S")
_J = TypeVar("_J")
_R = TypeVar("_R")


def map_on_cluster(
    call: Callable[[_S, _J], _R], shared: _S, jobs: Iterable[_J], address: str
) -> Iterator[tuple[_J, _R | WorkerError]]:
    """Do jobs on the workers of a Dask scheduler; a job whose worker dies is done again by another.

    A worker process does one job at a time, in the folder of this process, which it has to see like all files that
    jobs name. It gets ``shared`` once, also when it joins later. How many workers a job may end is the scheduler's
    setting ``distributed.scheduler.allowed-failures``; after that the job has an error as its outcome.

    Args:
        call: A function of a module that the workers can import; gets ``shared`` and a job.
        shared: What all jobs need.
        jobs: One by one, taken as workers are free.
        address: Of the scheduler, such as ``tcp://10.0.0.1:8786``, or its scheduler file.

    Yields:
        A job and what ``call`` returned, as soon as it is there.

    Raises:
        ClusterError: ``distributed`` is not installed, no scheduler answers, it goes away, or versions differ.
        Exception: Whatever ``call`` raises ends the loop.
    """
    client = _connect(address)
    token = f"semcycle-{uuid.uuid4()}"
    try:
        with _explain(address):
            client.register_plugin(_Luggage(pickle.dumps((call, shared)), Path.cwd()), name=token)
        yield from _submit_all(client, token, iter(jobs), address)
    finally:
        with contextlib.suppress(Exception):  # a scheduler that has gone needs no tidying, and its going was reported
            client.unregister_worker_plugin(token)
        client.close()


def _connect(address: str) -> Client:
    if distributed is None:
        msg = "expected the package distributed for a Dask cluster, got none; install semcycle[cluster]"
        raise ClusterError(msg)
    place = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
    try:
        client = Client(**place, timeout=CONNECT_S)
    except (OSError, ValueError, TypeError) as error:  # no answer, no address, no scheduler file
        msg = f"expected a Dask scheduler at {address}, got no answer ({_line(error)}); start one there"
        raise ClusterError(msg) from error
    try:
        client.get_versions(check=True, packages=list(_SAME))
    except Exception as error:
        client.close()
        msg = (
            f"expected the versions of this process on the cluster at {address}, got others ({_line(error)}); "
            "start scheduler and workers in the same environment"
        )
        raise ClusterError(msg) from error
    return client


def _submit_all(client: Client, token: str, queue: Iterator[_J], address: str) -> Iterator[tuple[_J, Any]]:
    """Two jobs a thread of the cluster in flight: what a scheduler holds does not grow with the folder."""
    pending: dict[Future[Any], _J] = {}
    versions = _versions()
    while True:
        with _explain(address):
            room = max(2 * sum(client.ncores().values()), 2) - len(pending)
            for _, job in zip(range(room), queue, strict=False):
                pending[client.submit(_call, token, versions, job, pure=False)] = job
            if not pending:
                return
            done = distributed.wait(list(pending), return_when="FIRST_COMPLETED").done
        for future in done:
            job = pending.pop(future)
            try:
                with _explain(address, future):
                    outcome = future.result()
            except KilledWorker as error:
                times = error.allowed_failures + 1
                outcome = WorkerError(f"expected a worker to finish, got {times} that were killed; memory may be short")
            yield job, outcome


@contextlib.contextmanager
def _explain(address: str, future: Future[Any] | None = None) -> Iterator[None]:
    """What Dask raises when its scheduler goes away, or a worker is another installation, in words."""
    try:
        yield
    except (ClusterError, KilledWorker):
        raise
    except Exception as error:
        if future is not None and future.status == "error":  # raised by the job itself
            raise
        msg = f"the Dask scheduler at {address} went away or refused ({_line(error)}); start it, and run this again"
        raise ClusterError(msg) from error


class _Luggage(WorkerPlugin):
    """What jobs share, in a worker: unpacked by its first job."""

    def __init__(self, content: bytes, folder: Path) -> None:
        self.content, self.folder = content, folder
        self.unpacked: tuple[Callable[[Any, Any], Any], Any] | None = None


_alone = threading.Lock()
"""A job has its process for itself: the folder and torch's number of threads are a process's."""


def _call(token: str, versions: dict[str, str], job: Any) -> Any:
    """In a worker: do a job."""
    if versions != (own := _versions()):
        msg = f"expected {versions} on every worker, got {own}; start the workers in the same environment"
        raise ClusterError(msg)
    luggage: Any = get_worker().plugins[token]
    with _alone:
        if not luggage.folder.is_dir():
            msg = f"{luggage.folder}: expected this folder on every worker, got none; workers need the same file system"
            raise ClusterError(msg)
        with contextlib.chdir(luggage.folder):
            if luggage.unpacked is None:
                luggage.unpacked = pickle.loads(luggage.content)  # from the client
            call, shared = luggage.unpacked
            return call(shared, job)


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in _SAME}


def _line(error: Exception) -> str:
    return error_line(error)[:300]

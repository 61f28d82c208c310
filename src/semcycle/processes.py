"""Jobs done in this process or in several: a killed worker costs no other job, and workers end with their parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, TypeVar

from semcycle.errors import WorkerError
from semcycle.files import open_scratch

KILLED = "expected a worker to finish, got one that was killed three times; memory may be short: use fewer workers"
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of options in malloc.h: what is free at the heap's end, and an array's size, from which memory goes back."""
_TRIES = 2
"""Of a job alone; its first end may have been another's doing, and its second one chance."""
PATIENCE_S = 10.0
"""For all workers to end once there is nothing left to do; then they are killed."""
Workers = int | str
"""A number of processes, or the address or scheduler file of a Dask cluster."""
S = TypeVar("S")
J = TypeVar("J")
R = TypeVar("R")


def map_jobs(
    call: Callable[[S, J], R], shared: S, jobs: Iterable[J], workers: Workers = 1
) -> Iterator[tuple[J, R | WorkerError]]:
    """Do jobs, at most ``2 * workers`` of them in flight, and yield each with its outcome as soon as it is there.

    A killed process ends its pool and every job in flight. Those are done again, each in a process of its own, and the
    others go on in a new pool; a job whose processes are killed twice more has an error as its outcome.

    Args:
        call: Gets ``shared`` and a job. Several processes need a function of a module.
        shared: What all jobs need; it is sent to every process once.
        jobs: One by one, taken as they are needed.
        workers: Processes; with one or none the jobs are done in this process, in order. Or a Dask scheduler: see
            :func:`semcycle.cluster.map_on_cluster`.

    Yields:
        A job and what ``call`` returned.

    Raises:
        Exception: Whatever ``call`` raises ends the loop; a batch catches what one case may raise.
    """
    if isinstance(workers, str):
        from semcycle.cluster import map_on_cluster

        yield from map_on_cluster(call, shared, jobs, workers)
        return
    if workers <= 1:
        for job in jobs:
            yield job, call(shared, job)
        return
    content, queue, module = pickle.dumps((call, shared)), iter(jobs), call.__module__
    while True:
        suspects: deque[J] = deque()
        yield from _run_pool(content, queue, workers, suspects, module)
        if not suspects:
            return
        for job in suspects:
            yield job, _run_alone(content, job, module)


def _run_pool(
    content: bytes, queue: Iterator[J], workers: int, suspects: deque[J], module: str
) -> Iterator[tuple[J, Any]]:
    """Do jobs until there are none, or until a process is killed: then ``suspects`` holds the jobs in flight."""
    pending: dict[Future[Any], J] = {}
    with _open_pool(content, workers, module) as pool:
        while not suspects:
            while len(pending) < 2 * workers:
                try:
                    job = next(queue)
                except StopIteration:
                    break
                try:
                    pending[_submit(pool, job)] = job
                except BrokenProcessPool:
                    suspects.append(job)
                    break
            if not pending:
                return
            yield from _collect(wait(pending, return_when=FIRST_COMPLETED).done, pending, suspects)
        yield from _collect(wait(pending).done, pending, suspects)  # a broken pool ends them all


def _submit(pool: ProcessPoolExecutor, job: Any) -> Future[Any]:
    """Hand a job to a pool; a process that it starts for this does not hear Ctrl-C, not even while it imports."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        return pool.submit(_call, job)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))  # new processes inherit it
    try:
        return pool.submit(_call, job)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _collect(done: Iterable[Future[Any]], pending: dict[Future[Any], J], suspects: deque[J]) -> Iterator[tuple[J, Any]]:
    for future in done:
        job = pending.pop(future)
        try:
            outcome = future.result()
        except BrokenProcessPool:
            suspects.append(job)
        else:
            yield job, outcome


def _run_alone(content: bytes, job: Any, module: str) -> Any:
    for _ in range(_TRIES):
        with _open_pool(content, 1, module) as pool:
            try:
                return _submit(pool, job).result()
            except BrokenProcessPool:
                continue
    return WorkerError(KILLED)


def _start_method(module: str) -> BaseContext:
    """How workers start: not as forks of this process, whose threads would not survive.

    On Linux they are forks of a server without threads that has loaded the module of their call, and starts once: a
    command that does several rounds of jobs loads numpy and torch for its workers once. The server ends with this
    process, however that ends.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


@contextmanager
def _open_pool(content: bytes, workers: int, module: str) -> Iterator[ProcessPoolExecutor]:
    """A pool of other interpreters; where its block raises, such as on Ctrl-C, they are ended within what they are at.

    What a worker was writing is a temporary file, see :func:`semcycle.files.write_bytes`.
    """
    before = {child.pid for child in multiprocessing.active_children()}
    with open_scratch("semcycle-workers") as scratch:
        # not through the pipe of a new process: of one that is killed while it imports, its parent would wait for ever
        shared = scratch / "shared"
        shared.write_bytes(content)
        pool = ProcessPoolExecutor(workers, _start_method(module), _start_worker, (str(shared),))
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                if child.pid not in before:
                    child.kill()
            raise
        _end_workers(pool, before)


def _end_workers(pool: ProcessPoolExecutor, before: set[int | None]) -> None:
    """Let the workers of a pool that has nothing left to do end, and kill those that do not."""
    pool.shutdown(wait=False)  # a worker that is killed just now may hold the lock that the others wait for to end
    end = time.monotonic() + PATIENCE_S
    for child in multiprocessing.active_children():
        if child.pid not in before:
            child.join(max(0, end - time.monotonic()))
            child.kill()
            child.join(PATIENCE_S)


_here: list[Any] = []
"""In a worker: the call and what its jobs share."""


def _start_worker(shared: str) -> None:
    """In a worker: it leaves Ctrl-C to its parent, and ends at once when that has ended, even by SIGKILL."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))  # for what it runs
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()
    _here[:] = pickle.loads(Path(shared).read_bytes())  # written by the parent, in a folder of its user alone


def _end_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def _call(job: Any) -> Any:
    call, shared = _here
    return call(shared, job)


def keep_memory() -> None:
    """Let this process keep what it frees for its next arrays, up to half a GB and 64 MB an array, where it can.

    The GNU C library gives large arrays back to the system, which clears their pages before it hands them out again: an
    eighth of the time of a scan of 1 mm. Other libraries are left as they are.
    """
    if sys.platform == "linux":
        tune = getattr(ctypes.CDLL(None), "mallopt", None)
        if tune is not None:
            tune(_MMAP_THRESHOLD, 64 << 20)
            tune(_TRIM_THRESHOLD, 512 << 20)


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does: blocks are left in order, workers are ended.

    Python drops what is raised while it clears an object away; an end that is lost so is asked for again.
    """

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, end)
    report = sys.unraisablehook

    def end_again(lost: Any) -> None:
        number = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}.get(lost.exc_type)
        if number is None:
            report(lost)
        else:  # by another thread: here it would be lost again
            threading.Timer(0.01, os.kill, (os.getpid(), number)).start()

    sys.unraisablehook = end_again

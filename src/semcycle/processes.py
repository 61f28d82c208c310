"""Worker processes that end with their parent, however that ends, and no later than it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import connection


@contextmanager
def open_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes; where its block raises, such as on Ctrl-C, they are ended within what they are at.

    What a worker was writing is a temporary file, see :func:`semcycle.files.write_bytes`.

    Args:
        workers: How many.
    """
    before = {child.pid for child in multiprocessing.active_children()}
    context = multiprocessing.get_context("spawn")  # threads of torch do not survive a fork
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=follow_parent)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            if child.pid not in before:
                child.kill()
        raise
    pool.shutdown()


def follow_parent() -> None:
    """Called in a worker: it leaves Ctrl-C to its parent, and ends at once when that has ended, even by SIGKILL."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does: blocks are left in order, workers are ended."""

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, end)

"""What the terminal shows: progress bars on a terminal, silence in a pipe, errors in one line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from semcycle.errors import Failure

out = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
"""Results. Names of files and cases are shown as they are: brackets and colons in them are no markup."""
err = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
"""Progress and errors."""


_manners = {"quiet": False, "verbose": False}


def set_manners(*, quiet: bool, verbose: bool) -> None:
    """Choose what is said.

    Args:
        quiet: No results and no progress; errors and doubts still are.
        verbose: A line on stderr for every finished item.
    """
    _manners.update(quiet=quiet, verbose=verbose)
    out.quiet = quiet


def make_progress() -> Progress:
    """A progress display on stderr; nothing is drawn where that is no terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=err,
        disable=not err.is_terminal or _manners["quiet"],
    )


@contextmanager
def progress_over(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar for a loop of known length; the loop calls what is yielded with the name of every finished item."""
    with make_progress() as progress:
        task = progress.add_task(what, total=total, note="")

        done, started = 0, time.perf_counter()

        def advance(name: str) -> None:
            nonlocal done
            done += 1
            progress.update(task, advance=1, note=name)
            if _manners["verbose"]:
                err.print(f"{what}: {done} of {total}, {name}, after {time.perf_counter() - started:.1f} s")

        try:
            yield advance
        except (KeyboardInterrupt, SystemExit):
            err.print(f"{what}: stopped after {done} of {total}")
            raise


def describe_losses(losses: Mapping[str, float]) -> str:
    """``cross_entropy 0.412 accuracy 0.881``."""
    return " ".join(f"{name} {value:.4g}" for name, value in losses.items())


def show_failures(failures: list[Failure]) -> None:
    """List failed cases on stderr."""
    for failure in failures:
        err.print(Text.assemble(("failed", "red"), f" {failure.case_id}: {failure.reason}"))

"""Options and endings that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semcycle.console import err, show_failures

if TYPE_CHECKING:
    from semcycle.store.slice_store import SliceStore

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for what is made.")]
Data = Annotated[Path, typer.Option("--data", help="Slice store made by `semcycle prepare`.")]
Device = Annotated[str, typer.Option(help="Where the networks run: cpu, cuda, cuda:1, mps.")]


def split_cases(file: Path | None, store: SliceStore) -> tuple[list[str], list[str]]:
    """Training and test cases; without a split every case is both."""
    from semcycle.store.split import load_split

    if file is None:
        return store.case_ids, store.case_ids
    made = load_split(file, store)
    return made.train, made.test


def finish(failures: list[Any], folder: Path) -> None:
    """Exit with 1 when some cases failed."""
    if failures:
        show_failures(failures)
        err.print(f"{len(failures)} failed, see {folder}/failures.csv; the others are done", markup=False)
        raise typer.Exit(1)

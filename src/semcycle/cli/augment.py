"""The verb augment: stores joined, with varied copies of their cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcycle.cli.options import Out, show_store
from semcycle.cli.settings import Changes, read_settings
from semcycle.console import progress_over


def augment(
    stores: Annotated[list[Path], typer.Argument(help="Slice stores, prepared with the same settings.")],
    folder: Out,
    copies: Annotated[int | None, typer.Option()] = None,
    every: Annotated[int | None, typer.Option()] = None,
    split_file: Annotated[Path | None, typer.Option("--split", help="Split file: only its training cases.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    changes: Changes = None,
) -> None:
    """Join stores and add copies of their cases as other scanners would have shown them."""
    from semcycle.store.augment import AugmentationSettings, augment_stores
    from semcycle.store.slice_store import SliceStore
    from semcycle.store.split import read_split

    settings = read_settings(AugmentationSettings(), changes, copies=copies, every=every, seed=seed)
    opened = [SliceStore(store) for store in stores]
    cases = [case for store in opened for case in store.case_ids]
    if split_file:
        train = set(read_split(split_file).train)
        cases = [case for case in cases if case in train]
    with progress_over("augment", len(cases)) as done:
        show_store(augment_stores(opened, folder, settings, cases, progress=done))

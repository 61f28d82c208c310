"""The verb split: which cases train and which test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcycle.config import MAX_SEED
from semcycle.console import out


def split(
    data: Annotated[Path, typer.Argument(help="Slice store.")],
    file: Annotated[Path, typer.Option("--out", "-o", help="Split file to write.")] = Path("split.json"),
    test_fraction: Annotated[
        float, typer.Option(min=0, max=1, help="Share of every group's subjects to test on.")
    ] = 0.3,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Same seed, same split.")] = 0,
) -> None:
    """Split a store's cases into train and test, by subject, stratified by group."""
    from semcycle.store.slice_store import SliceStore
    from semcycle.store.split import make_split

    drawn = make_split(SliceStore(data), test_fraction=test_fraction, seed=seed)
    drawn.save(file)
    out.print(f"{file}: {len(drawn.train)} cases to train, {len(drawn.test)} to test")

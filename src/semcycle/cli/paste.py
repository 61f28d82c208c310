"""The verb paste: varied copies of a store's cases with synthetic anomalies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcycle.cli.options import Out, Processes, show_store
from semcycle.cli.settings import Changes, read_settings
from semcycle.config import MAX_COUNT, MAX_SEED
from semcycle.console import progress_over


def paste(
    stores: Annotated[list[Path], typer.Argument(help="Slice stores, prepared with the same settings.")],
    folder: Out,
    copies: Annotated[int, typer.Option(min=1, max=MAX_COUNT, help="Copies of every case.")] = 8,
    strokes: Annotated[
        Path | None, typer.Option(help="Folder of stroke masks in MNI space whose shapes are used; wedges without.")
    ] = None,
    plaques: Annotated[
        Path | None, typer.Option(help="Folder of MS lesion masks in MNI space whose shapes are used; spots without.")
    ] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="Part of the names of masks that must not be used; repeatable.")
    ] = None,
    split_file: Annotated[Path | None, typer.Option("--split", help="Split file: only its training cases.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Same seed, same copies.")] = 0,
    tag: Annotated[str, typer.Option(help="Copies are called CASE_<tag>1 ...")] = "p",
    changes: Changes = None,
    workers: Processes = 1,
) -> None:
    """Draw synthetic anomalies into varied copies of stores' cases: what the method refine learns from."""
    from semcycle.store.anomalies.drawing import DrawingSettings
    from semcycle.store.paste import PasteSettings, paste_stores
    from semcycle.store.slice_store import SliceStore
    from semcycle.store.split import read_split

    drawing = read_settings(DrawingSettings(), changes)
    drawn = PasteSettings(
        drawing=drawing, strokes=str(strokes or ""), plaques=str(plaques or ""), leave_out=tuple(leave_out or ())
    )
    settings = read_settings(drawn, None, copies=copies, seed=seed, tag=tag)
    opened = [SliceStore(store) for store in stores]
    cases = [case for store in opened for case in store.case_ids]
    if split_file:
        train = set(read_split(split_file).train)
        cases = [case for case in cases if case in train]
    with progress_over("paste", len(cases)) as done:
        show_store(paste_stores(opened, folder, settings, cases, workers=workers, progress=done))

"""The verb paper: the paper's whole experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcycle.cli.options import Out
from semcycle.console import out
from semcycle.tissue import TISSUE


def paper(
    folder: Out,
    brats: Annotated[Path, typer.Option(help="BraTS folder, or a store made of it.")],
    isles: Annotated[
        Path | None, typer.Option(help="ISLES 2015 folder (or --second's), or a store made of it.")
    ] = None,
    second: Annotated[str, typer.Option(help="Cohort of the second test set.")] = "isles2015",
    healthy: Annotated[
        Path | None,
        typer.Option(
            help="Folder (or store) of subjects without lesions to train on instead of patients' lesion-free slices."
        ),
    ] = None,
    healthy_cohort: Annotated[str, typer.Option(help="Its folder layout.")] = "ixi",
    size: Annotated[str, typer.Option(help="Recipes: paper, or paper-small for two CPU cores.")] = "paper",
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions with the seeds 0, 1, ...")] = 1,
    rows: Annotated[list[str] | None, typer.Option("--row", help="Only these rows of the tables.")] = None,
    split_file: Annotated[
        Path | None, typer.Option("--split", help="Split of the BraTS cases; the paper's proportions without.")
    ] = None,
    tissue: Annotated[str, typer.Option(help=f"Tissue maps: {', '.join(TISSUE)}.")] = "atlas",
    tissue_dir: Annotated[Path | None, typer.Option(help="As for `semcycle prepare`, for BraTS.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that prepare cases.")] = 1,
) -> None:
    """Run the paper's experiment: every method, Tables 1 and 2, Figures 2 to 4. The same command continues it."""
    from semcycle.studies.paper import PaperSettings, open_store, run_paper

    first = open_store(brats, "brats", folder / "stores" / "brats", tissue, tissue_dir, workers)
    other = open_store(isles, second, folder / "stores" / "second", tissue, None, workers) if isles else None
    source = (
        open_store(healthy, healthy_cohort, folder / "stores" / "healthy", tissue, None, workers) if healthy else None
    )
    page = run_paper(first, other, folder, PaperSettings(size, seeds, tuple(rows or ())), split_file, source)
    out.print(f"tables: {folder}/table1.md, {folder}/table2.md")
    out.print(f"report: {page}")

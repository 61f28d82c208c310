"""The verb paper: the paper's whole experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcycle.cli.options import Out
from semcycle.cli.settings import Changes, read_settings
from semcycle.config import MAX_COUNT
from semcycle.console import out
from semcycle.tissue import TISSUE, tissue_provider


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
    size: Annotated[
        str, typer.Option(help="Recipes: paper, or paper-medium and paper-small for two CPU cores.")
    ] = "paper",
    seeds: Annotated[int, typer.Option(min=1, max=MAX_COUNT, help="Repetitions with the seeds 0, 1, ...")] = 1,
    cycle_seeds: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_COUNT, help="Repetitions of the two rows of Table 1, where they are to be more."),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Of training: 32-true, or bf16-mixed where the processor has units for it.")
    ] = "32-true",
    rows: Annotated[list[str] | None, typer.Option("--row", help="Only these rows of the tables.")] = None,
    patience: Annotated[
        int,
        typer.Option(
            min=0,
            max=MAX_COUNT,
            help="Stop a baseline early after so many epochs without gain (5 in Baur's code) on a tenth of the "
            "training subjects, which then do not train; 0 trains on all of them to the last epoch.",
        ),
    ] = 0,
    split_file: Annotated[
        Path | None, typer.Option("--split", help="Split of the BraTS cases; the paper's proportions without.")
    ] = None,
    intensity: Annotated[str | None, typer.Option()] = None,
    changes: Changes = None,
    tissue: Annotated[str, typer.Option(help=f"Tissue maps: {', '.join(TISSUE)}.")] = "atlas",
    tissue_dir: Annotated[
        Path | None, typer.Option(help="With spm: folder of SPM. With maps: folder of the maps of the BraTS cases.")
    ] = None,
    isles_tissue_dir: Annotated[
        Path | None,
        typer.Option(
            help="With maps: folder of those of --isles. Without, it has none, and Figure 4 its lesions only."
        ),
    ] = None,
    healthy_tissue_dir: Annotated[Path | None, typer.Option(help="With maps: folder of those of --healthy.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=512, help="Processes that prepare cases.")] = 1,
) -> None:
    """Run the paper's experiment: every method, Tables 1 and 2, Figures 2 to 4. The same command continues it."""
    from semcycle.preprocess.pipeline import PreprocessSettings
    from semcycle.studies.cohort_store import open_store
    from semcycle.studies.paper import PaperSettings, run_paper

    settings = read_settings(PreprocessSettings(), changes, intensity=intensity)
    imported = tissue == "maps"
    maps = tissue_provider(tissue, tissue_dir)
    isles_maps = tissue_provider(tissue, isles_tissue_dir) if isles_tissue_dir else None if imported else maps
    healthy_maps = tissue_provider(tissue, healthy_tissue_dir) if imported else maps
    stores = folder / "stores"
    # what may lack something comes first: it should fail before the hours that BraTS takes
    source = (
        open_store(healthy, healthy_cohort, stores / "healthy", settings, healthy_maps, workers) if healthy else None
    )
    other = open_store(isles, second, stores / "second", settings, isles_maps, workers) if isles else None
    first = open_store(brats, "brats", stores / "brats", settings, maps, workers)
    plan = PaperSettings(
        size=size,
        seeds=seeds,
        cycle_seeds=cycle_seeds or 0,
        precision=precision,
        rows=tuple(rows or ()),
        patience=patience,
    )
    page = run_paper(first, other, folder, plan, split_file, source)
    out.print(f"tables: {folder}/table1.md, {folder}/table2.md")
    out.print(f"report: {page}")

"""The verb prepare: a cohort's scans become a slice store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcycle.cli.options import Crew, Dask, Out, choose_workers, finish, show_store
from semcycle.cli.settings import Changes, read_settings
from semcycle.cohorts import COHORTS, Cohort, get_cohort
from semcycle.console import out, progress_over
from semcycle.tissue import TISSUE, tissue_provider


def prepare(
    cohort: Annotated[str, typer.Argument(help=f"Folder layout: {', '.join(COHORTS)}.")],
    root: Annotated[Path, typer.Argument(help="Folder of the cohort.")],
    folder: Out,
    tissue: Annotated[str, typer.Option(help=f"Tissue maps: {', '.join(TISSUE)}.")] = "atlas",
    tissue_dir: Annotated[
        Path | None, typer.Option(help="With maps: folder of the maps; with spm: of SPM; with model: a run.")
    ] = None,
    slices: Annotated[
        str, typer.Option(help="Axial window FIRST:LAST from the foot, all, or the cohort's own.")
    ] = "cohort",
    size: Annotated[int | None, typer.Option()] = None,
    pixel_mm: Annotated[float | None, typer.Option()] = None,
    intensity: Annotated[str | None, typer.Option()] = None,
    bias: Annotated[str | None, typer.Option()] = None,
    modality: Annotated[str | None, typer.Option()] = None,
    match: Annotated[Path | None, typer.Option(help="Slice store whose brains' histogram every scan gets.")] = None,
    changes: Changes = None,
    workers: Crew = None,
    dask: Dask = "",
) -> None:
    """Turn a cohort's scans into a slice store. A killed run is continued by the same command."""
    from semcycle.preprocess.pipeline import PreprocessSettings
    from semcycle.report.store_page import quality_report
    from semcycle.store.histogram import store_histogram
    from semcycle.store.prepare import prepare_store
    from semcycle.store.slice_store import SliceStore

    layout = get_cohort(cohort)
    options = {"size": size, "pixel_mm": pixel_mm, "intensity": intensity, "bias": bias, "modality": modality}
    settings = read_settings(PreprocessSettings(), changes, slices=_window(slices, layout), **options)
    if match is not None:
        settings = settings.model_copy(update={"histogram": store_histogram(SliceStore(match))})
    provider, listing = tissue_provider(tissue, tissue_dir), layout.find_cases(root)
    with progress_over("prepare", len(listing.cases)) as done:
        crew = choose_workers(workers, dask) or 1
        failures = prepare_store(listing, folder, settings, provider, cohort=cohort, workers=crew, progress=done)
    store = SliceStore(folder)
    show_store(store)
    out.print(f"quality: {quality_report(store, folder)}")
    finish(failures, folder)


def _window(text: str, layout: Cohort) -> str:
    if text == "cohort":
        return "none" if layout.slices is None else "{}:{}".format(*layout.slices)
    return "none" if text == "all" else text

"""A cohort's store, prepared where there is none yet."""

from __future__ import annotations

from pathlib import Path

from semcycle.cohorts import get_cohort
from semcycle.console import err, progress_over
from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.processes import Workers
from semcycle.store.prepare import prepare_store
from semcycle.store.slice_store import MANIFEST, SliceStore
from semcycle.tissue.base import TissueProvider


def open_store(
    root: Path,
    cohort: str,
    folder: Path,
    settings: PreprocessSettings,
    tissue: TissueProvider | None,
    workers: Workers = 1,
) -> SliceStore:
    """Open a store, or prepare a cohort into ``folder``. Cases that fail are named and left out.

    Args:
        root: A finished store, or the folder of the cohort.
        cohort: Name of the folder's layout.
        folder: For the store that is made of it.
        settings: How to prepare; the window of slices is the cohort's own.
        tissue: Provider of tissue maps, or ``None`` for a store without.
        workers: Processes, or a Dask cluster.

    Raises:
        SemcycleError: No case is usable.
    """
    if (root / MANIFEST).is_file():
        return SliceStore(root)
    layout = get_cohort(cohort)
    listing = layout.find_cases(root)
    windowed = settings.model_copy(update={"slices": layout.slices})
    with progress_over(f"prepare {cohort}", len(listing.cases)) as done:
        failures = prepare_store(listing, folder, windowed, tissue, cohort=cohort, workers=workers, progress=done)
    for failure in failures:
        err.print(f"left out {failure.case_id}: {failure.reason}", style="yellow")
    return SliceStore(folder)

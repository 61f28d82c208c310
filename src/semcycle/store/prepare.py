"""Cases -> preprocess -> tissue maps -> slice store. The only module that knows all four."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semcycle.cohorts.base import Case, Listing, files_of_case
from semcycle.errors import Failure, StoreError, catch_failure
from semcycle.files import VERSION, file_hash, object_hash, write_failures
from semcycle.preprocess.pipeline import PreprocessSettings, preprocess
from semcycle.preprocess.quantiles import scan_quantiles
from semcycle.preprocess.wrapped import judge_numbers
from semcycle.processes import Workers, map_jobs
from semcycle.store.claim import claim_folder
from semcycle.store.slice_store import CaseRecord, CaseSlices, read_whole, write_case, write_manifest
from semcycle.tissue.base import TissueProvider
from semcycle.tissue.plausibility import tissue_quality
from semcycle.types import SliceMask, VoxelMask
from semcycle.volume import Volume, image_files, labels_inside, load_like, load_mask, load_volume, to_ras

Job = tuple[Case, Path, PreprocessSettings, TissueProvider | None, str | None]
"""Arguments of :func:`prepare_case`."""


def prepare_store(
    listing: Listing,
    folder: Path,
    settings: PreprocessSettings,
    tissue: TissueProvider | None,
    *,
    cohort: str,
    workers: Workers = 1,
    progress: Callable[[str], None] = lambda case_id: None,
) -> list[Failure]:
    """Fill a slice store; cases that are already there, made of the same files, are kept.

    Args:
        listing: Cases of a cohort.
        folder: Of the store; made when missing. A killed run is continued by the same call.
        settings: Geometry and intensity.
        tissue: Provider of tissue maps, or ``None`` for a store without.
        cohort: The cohort's name, for the record.
        workers: Processes.
        progress: Called with the id of every finished case.

    Returns:
        Cases that failed, also written to ``failures.csv``; the others are in the store.

    Raises:
        StoreError: The folder holds a store made with other settings, or no case could be prepared.
    """
    description = {
        "cohort": cohort,
        "preprocess": settings.identity(),
        "tissue": tissue.describe() if tissue else {"provider": "none"},
    }
    hashes = claim_folder(folder, description)
    failures = list(listing.failures)
    records: list[CaseRecord] = []
    jobs: Iterator[Job] = ((case, folder, settings, tissue, hashes.get(case.case_id)) for case in listing.cases)
    for (case, *_), outcome in map_jobs(_attempt, None, jobs, workers):
        if isinstance(outcome, CaseRecord):
            records.append(outcome)
        else:
            failures.append(Failure(case.case_id, str(outcome), files_of_case(case)))
        progress(case.case_id)
    failures.sort(key=lambda failure: failure.case_id)
    write_failures(folder / "failures.csv", failures)
    if not records:
        reasons = "; ".join(failure.reason for failure in failures[:3])
        msg = f"{folder}: expected at least one usable case, got none of {len(failures)} ({reasons})"
        raise StoreError(msg)
    write_manifest(folder, description, records, VERSION)
    return failures


def prepare_case(
    case: Case,
    folder: Path,
    settings: PreprocessSettings,
    tissue: TissueProvider | None,
    listed: str | None = None,
) -> CaseRecord:
    """Prepare one case and write its file, unless a whole one made of the same is there already.

    Args:
        case: The case.
        folder: Of the store.
        settings: Geometry and intensity.
        tissue: Provider of tissue maps.
        listed: Hash of the case's file in the manifest of a finished store.

    Raises:
        SemcycleError: The case is unusable; the message names the file.
    """
    if settings.modality not in case.images:
        msg = (
            f"{case.case_id}: expected a {settings.modality} image, got {', '.join(case.images) or 'none'}; "
            "add it or choose another modality"
        )
        raise StoreError(msg)
    path = folder / f"{case.case_id}.safetensors"
    source = _fingerprint(case, settings, tissue)
    if path.is_file():
        try:
            record = read_whole(path, listed)
        except StoreError:
            record = None
        if record and record.source == source:
            return record
    slices = _make_slices(case, settings, tissue, source)
    write_case(folder, slices)
    return slices.record


def _make_slices(case: Case, settings: PreprocessSettings, tissue: TissueProvider | None, source: str) -> CaseSlices:
    volume = load_volume(case.images[settings.modality])
    brain_mask = load_mask(case.brain_mask, volume, "brain mask") if case.brain_mask else None
    prepared = preprocess(volume, settings, brain_mask)
    grid = prepared.record.grid
    lesion_native, other_native = _read_lesion(case, volume, settings)
    abnormal = lesion_native | other_native
    lesion, other = grid.forward_mask(lesion_native), grid.forward_mask(other_native)
    # counted at the scan's resolution: a slice with any trace of lesion is not lesion-free (A15)
    lesion_voxels = to_ras(abnormal, volume.affine).sum(axis=(0, 1))
    maps = tissue.maps(case, volume, prepared.brain_native, abnormal).to_slices(grid) if tissue else None
    quality, flags = ({}, []) if maps is None else tissue_quality(maps, prepared.image, prepared.brain, lesion | other)
    doubts = [*prepared.record.brain.warnings, *judge_numbers(volume, prepared.brain_native)]
    flags = [*volume.warnings, *doubts, *flags]
    keep = _kept_slices(prepared.brain, settings.slices)
    if not keep.size:
        msg = f"{volume.source}: expected brain in the slices {settings.slices}, got none; use another window"
        raise StoreError(msg)
    record = CaseRecord(
        case_id=case.case_id,
        subject=case.subject,
        group=case.group,
        slices=int(keep.size),
        lesion_free_slices=int((lesion_voxels[keep] == 0).sum()),
        brain_ml=float(prepared.brain_native.sum() * volume.voxel_ml),
        lesion_ml=float(lesion_native.sum() * volume.voxel_ml),
        flags=flags,
        tissue=quality,
        preprocess=prepared.record.to_json(),
        source=source,
    )
    return CaseSlices(
        record,
        image=prepared.image[keep].astype(np.float16),
        brain=prepared.brain[keep].astype(np.uint8),
        lesion=lesion[keep].astype(np.uint8),
        slice_index=keep.astype(np.int32),
        lesion_voxels=lesion_voxels[keep].astype(np.int32),
        tissue=None if maps is None else np.rint(maps[keep] * 255).astype(np.uint8),
        other=None if settings.lesion_labels is None else other[keep].astype(np.uint8),
        quantiles=scan_quantiles(prepared.image),
    )


def _read_lesion(case: Case, volume: Volume, settings: PreprocessSettings) -> tuple[VoxelMask, VoxelMask]:
    """The lesion to be found, and what the expert marked besides (A16); both ``(I, J, K)``."""
    nothing = np.zeros(volume.shape, bool)
    if case.lesion is None:
        return nothing, nothing
    if settings.lesion_labels is None:
        return load_mask(case.lesion, volume, "lesion mask"), nothing
    labels = load_like(case.lesion, volume, "lesion mask")
    marked = labels_inside(labels, str(case.lesion), "lesion mask")
    lesion = marked & np.isin(np.rint(labels), settings.lesion_labels)
    return lesion, marked & ~lesion


def _kept_slices(brain: SliceMask, window: tuple[int, int] | None) -> NDArray[np.intp]:
    """Indices of the slices that show brain, within the window."""
    shown = np.flatnonzero(brain.any(axis=(1, 2)))
    return shown if window is None else shown[(shown >= window[0]) & (shown < window[1])]


def _fingerprint(case: Case, settings: PreprocessSettings, tissue: TissueProvider | None) -> str:
    """Hash of everything a case file depends on: settings and the content of its source files."""
    sources = [case.images[settings.modality], case.lesion, case.brain_mask]
    if tissue:
        sources += tissue.files(case)
    hashes = [_content_hash(path) if path is not None and path.is_file() else None for path in sources]
    described = tissue.describe() if tissue else None
    return object_hash([settings.identity(), described, case.subject, case.group, hashes])


def _content_hash(path: Path) -> str:
    """Of all files that an image consists of: a pair's header and voxels."""
    hashes = [file_hash(file) for file in image_files(path)]
    return hashes[0] if len(hashes) == 1 else object_hash(hashes)


def _attempt(shared: None, job: Job) -> CaseRecord | str:
    """Prepare a case; a record, or the reason of a failure."""
    failures: list[Failure] = []
    with catch_failure(job[0].case_id, failures):
        return prepare_case(*job)
    return failures[0].reason

"""Verbs that make data: simulate, prepare, split."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semcycle.cli.options import Out, finish
from semcycle.cohorts import COHORTS, get_cohort
from semcycle.console import err, out, progress_over
from semcycle.tissue import TISSUE, tissue_provider

if TYPE_CHECKING:
    from semcycle.store.slice_store import SliceStore

simulate = typer.Typer(no_args_is_help=True, help="Make scans: of BrainWeb's models, or phantoms.")


class Bias(StrEnum):
    """Choices of ``--bias``."""

    NONE = "none"
    N4 = "n4"


class Intensity(StrEnum):
    """Choices of ``--intensity``."""

    PERCENTILE = "percentile"
    MEDIAN = "median"


def prepare(
    cohort: Annotated[str, typer.Argument(help=f"Folder layout: {', '.join(COHORTS)}.")],
    root: Annotated[Path, typer.Argument(help="Folder of the cohort.")],
    store: Out,
    tissue: Annotated[str, typer.Option(help=f"Tissue maps: {', '.join(TISSUE)}.")] = "atlas",
    tissue_dir: Annotated[
        Path | None, typer.Option(help="With maps: folder of the maps; with spm: folder of SPM.")
    ] = None,
    slices: Annotated[
        str, typer.Option(help="Axial window FIRST:LAST from the foot, all, or the cohort's own.")
    ] = "cohort",
    size: Annotated[int, typer.Option(help="Pixels along both sides of a slice.")] = 128,
    pixel_mm: Annotated[float, typer.Option(help="Side of a pixel in mm.")] = 1.875,
    intensity: Annotated[
        Intensity, typer.Option(help="What fixes the intensity scale of a scan.")
    ] = Intensity.PERCENTILE,
    bias: Annotated[Bias, typer.Option(help="Correction of the bias field.")] = Bias.NONE,
    modality: Annotated[str, typer.Option(help="Which image of a case.")] = "t2",
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Turn a cohort's scans into a slice store. A killed run is continued by the same command."""
    from semcycle.preprocess.pipeline import PreprocessSettings
    from semcycle.report.store_page import quality_report
    from semcycle.store.prepare import prepare as prepare_store
    from semcycle.store.slice_store import SliceStore

    layout = get_cohort(cohort)
    settings = PreprocessSettings(
        modality=modality,
        size=size,
        pixel_mm=pixel_mm,
        bias=bias.value,
        intensity=intensity.value,
        slices=_window(slices, layout.slices),
    )
    provider = tissue_provider(tissue, tissue_dir)
    listing = layout.find_cases(root)
    with progress_over("prepare", len(listing.cases)) as done:
        failures = prepare_store(listing, store, settings, provider, cohort=cohort, workers=workers, progress=done)
    made = SliceStore(store)
    _show_store(made)
    out.print(f"quality: {quality_report(made, store)}")
    finish(failures, store)


@simulate.command("brainweb")
def simulate_brainweb(
    models: Annotated[Path, typer.Argument(help="Folder of BrainWeb's label volumes, subject04_crisp_v.mnc.gz ...")],
    folder: Out,
    tr: Annotated[float, typer.Option(help="Repetition time in ms.")] = 3300,
    te: Annotated[float, typer.Option(help="Echo time in ms.")] = 120,
    noise: Annotated[float, typer.Option(help="Rician noise over the brightest tissue.")] = 0.03,
    bias: Annotated[float, typer.Option(help="Bias field, peak to peak.")] = 0.2,
    factor: Annotated[int, typer.Option(help="Model voxels of 0.5 mm that a scan voxel averages.")] = 2,
    skull: Annotated[bool, typer.Option(help="Keep the head.")] = False,
    vary: Annotated[
        bool, typer.Option("--vary", help="Every scan of another scanner: TR, TE, noise and bias drawn anew.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same scans.")] = 0,
) -> None:
    """Simulate T2 scans of BrainWeb's anatomical models, with their exact tissue maps, as a cohort."""
    from semcycle.cohorts.simulated import brainweb

    how = brainweb.Acquisition(tr=tr, te=te, noise=noise, bias=bias, factor=factor, skull=skull, vary=vary)
    with progress_over("simulate", len(brainweb.find_models(models))) as done:
        cases = brainweb.simulate(models, folder, how, seed=seed, progress=done)
    out.print(
        f"cohort: {folder} ({len(cases)} scans); next: semcycle prepare brainweb {folder} --tissue maps --out STORE"
    )


@simulate.command("phantom")
def simulate_phantom(
    folder: Out,
    healthy: Annotated[int, typer.Option(min=0, help="Phantoms without a lesion.")] = 12,
    lesions: Annotated[int, typer.Option(min=0, help="Phantoms with one: tumour, stroke, MS in turn.")] = 6,
    spacing: Annotated[int, typer.Option(min=1, max=8, help="Voxel size in mm.")] = 2,
    seed: Annotated[int, typer.Option(help="Same seed, same scans.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Make the demo's phantoms, healthy and with lesions, as a cohort."""
    from semcycle.cohorts.simulated.phantom import write_cohort

    with progress_over("simulate", healthy + lesions) as done:
        cases = write_cohort(
            folder, healthy=healthy, lesions=lesions, spacing=spacing, seed=seed, workers=workers, progress=done
        )
    out.print(
        f"cohort: {folder} ({len(cases)} scans); next: semcycle prepare phantom {folder} --tissue maps --out STORE"
    )


def augment(
    stores: Annotated[list[Path], typer.Argument(help="Slice stores, prepared with the same settings.")],
    folder: Out,
    copies: Annotated[int, typer.Option(min=0, help="Varied copies of every case, besides the case itself.")] = 2,
    every: Annotated[int, typer.Option(min=1, help="Keep one in so many neighbouring slices.")] = 1,
    split_file: Annotated[Path | None, typer.Option("--split", help="Split file: only its training cases.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same copies.")] = 0,
) -> None:
    """Join stores and add copies of their cases as other scanners would have shown them."""
    from semcycle.store.augment import AugmentationSettings, augment_stores
    from semcycle.store.slice_store import SliceStore
    from semcycle.store.split import read_split

    opened = [SliceStore(store) for store in stores]
    settings = AugmentationSettings(copies=copies, every=every, seed=seed)
    known = {case for store in opened for case in store.case_ids}
    chosen = [case for case in read_split(split_file).train if case in known] if split_file else None
    total = len(chosen) if chosen else sum(len(store.case_ids) for store in opened)
    with progress_over("augment", total) as done:
        made = augment_stores(opened, folder, settings, chosen, progress=done)
    _show_store(made)


def split(
    data: Annotated[Path, typer.Argument(help="Slice store.")],
    file: Annotated[Path, typer.Option("--out", "-o", help="Split file to write.")] = Path("split.json"),
    test_fraction: Annotated[float, typer.Option(help="Share of every group's subjects to test on.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Same seed, same split.")] = 0,
) -> None:
    """Split a store's cases into train and test, by subject, stratified by group."""
    from semcycle.store.slice_store import SliceStore
    from semcycle.store.split import make_split

    made = make_split(SliceStore(data), test_fraction=test_fraction, seed=seed)
    made.save(file)
    out.print(f"{file}: {len(made.train)} cases to train, {len(made.test)} to test")


def _window(text: str, default: tuple[int, int] | None) -> tuple[int, int] | None:
    if text in ("cohort", "all"):
        return default if text == "cohort" else None
    first, colon, last = text.partition(":")
    if not (colon and first.isdigit() and last.isdigit() and int(first) < int(last)):
        msg = f"expected --slices FIRST:LAST, all or cohort, got {text!r}"
        raise typer.BadParameter(msg)
    return int(first), int(last)


def _show_store(store: SliceStore) -> None:
    summaries = {case: store.summary(case) for case in store.case_ids}
    slices = sum(summary["slices"] for summary in summaries.values())
    free = sum(summary["lesion_free_slices"] for summary in summaries.values())
    out.print(f"store: {store.folder} ({len(summaries)} cases, {slices} slices, {free} of them free of lesions)")
    for case, summary in summaries.items():
        if summary["flags"]:
            err.print(f"[yellow]doubtful[/yellow] {case}: {'; '.join(summary['flags'])}", markup=True)

"""The command line: one function a verb. Each checks its input, calls the library, and prints what it left where.

Exit codes: 0 all done; 1 some cases failed, the others are written; 2 wrong input, nothing written; 130 interrupted.
Heavy imports stay inside the verbs, so that ``semcycle info`` and ``--help`` answer at once.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semcycle import __version__
from semcycle.cohorts import COHORTS, get_cohort
from semcycle.console import err, out, progress_over, show_failures
from semcycle.errors import SemcycleError
from semcycle.methods import METHODS
from semcycle.tissue import TISSUE, tissue_provider

if TYPE_CHECKING:
    from semcycle.store import SliceStore

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Unsupervised anomaly segmentation for brain MRI by image-semantic cycle translation.",
)

simulate = typer.Typer(no_args_is_help=True, help="Make scans: of BrainWeb's models, or phantoms.")
app.add_typer(simulate, name="simulate")

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for what is made.")]
Data = Annotated[Path, typer.Option("--data", help="Slice store made by `semcycle prepare`.")]
Device = Annotated[str, typer.Option(help="Where the networks run: cpu, cuda, cuda:1, mps.")]


class Bias(StrEnum):
    """Choices of ``--bias``."""

    NONE = "none"
    N4 = "n4"


class Intensity(StrEnum):
    """Choices of ``--intensity``."""

    PERCENTILE = "percentile"
    MEDIAN = "median"


@app.command()
def demo(
    out_folder: Out = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of the phantom cohort and of the training.")] = 0,
) -> None:
    """Make a phantom cohort, then prepare, train, score and report it: the whole path in minutes."""
    from semcycle.demo import run_demo
    from semcycle.report.tables import terminal_table

    table, page = run_demo(out_folder, seed=seed)
    out.print(terminal_table(table))
    out.print(f"report: {page}")


@app.command()
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
    from semcycle.prepare import prepare as prepare_store
    from semcycle.preprocess.pipeline import PreprocessSettings
    from semcycle.report.quality import quality_report
    from semcycle.store import SliceStore

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
    _finish(failures, store)


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
    seed: Annotated[int, typer.Option(help="Same seed, same scans.")] = 0,
) -> None:
    """Simulate T2 scans of BrainWeb's anatomical models, with their exact tissue maps, as a cohort."""
    from semcycle.cohorts import brainweb

    how = brainweb.Acquisition(tr=tr, te=te, noise=noise, bias=bias, factor=factor, skull=skull)
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
    from semcycle.cohorts.phantom import write_cohort

    with progress_over("simulate", healthy + lesions) as done:
        cases = write_cohort(
            folder, healthy=healthy, lesions=lesions, spacing=spacing, seed=seed, workers=workers, progress=done
        )
    out.print(
        f"cohort: {folder} ({len(cases)} scans); next: semcycle prepare phantom {folder} --tissue maps --out STORE"
    )


@app.command()
def split(
    data: Annotated[Path, typer.Argument(help="Slice store.")],
    file: Annotated[Path, typer.Option("--out", "-o", help="Split file to write.")] = Path("split.json"),
    test_fraction: Annotated[float, typer.Option(help="Share of every group's subjects to test on.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Same seed, same split.")] = 0,
) -> None:
    """Split a store's cases into train and test, by subject, stratified by group."""
    from semcycle.split import make_split
    from semcycle.store import SliceStore

    made = make_split(SliceStore(data), test_fraction=test_fraction, seed=seed)
    made.save(file)
    out.print(f"{file}: {len(made.train)} cases to train, {len(made.test)} to test")


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="Recipe file, or the name of a shipped one.")],
    data: Data,
    run: Out,
    split_file: Annotated[Path | None, typer.Option("--split", help="Split file; without it all cases train.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an unfinished run.")] = False,
    reuse: Annotated[Path | None, typer.Option(help="Take over equal leading stages of this finished run.")] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Devices (processes on a CPU) per node.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed, 16-mixed.")] = "32-true",
) -> None:
    """Train all stages of a recipe."""
    from semcycle.experiment import run_training
    from semcycle.recipe import load_recipe
    from semcycle.store import SliceStore
    from semcycle.training import Hardware

    settings, store = load_recipe(recipe), SliceStore(data)
    cases, _ = _split_cases(split_file, store)
    hardware = Hardware(accelerator, devices, nodes, precision)
    run_training(settings, store, cases, run, resume=resume, reuse=reuse, hardware=hardware)
    out.print(f"run: {run}")


@app.command()
def score(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders; the intensity baseline always stands beside.")
    ] = None,
    data: Data = ...,  # type: ignore[assignment]
    scores: Out = ...,  # type: ignore[assignment]
    split_file: Annotated[
        Path | None, typer.Option("--split", help="Split file; without it all cases are scored.")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Score any number of runs and the intensity baseline in one table."""
    from semcycle.experiment import run_scoring
    from semcycle.report.page import report_scores
    from semcycle.report.tables import summary, terminal_table
    from semcycle.store import SliceStore

    store = SliceStore(data)
    _, cases = _split_cases(split_file, store)
    with progress_over("score", len(cases)) as done:
        table = run_scoring(_name_runs(runs or []), store, cases, scores, device=device, progress=done)
    out.print(terminal_table(summary(table.table)))
    out.print(f"scores: {scores}/table.csv")
    out.print(f"report: {report_scores(scores)}")


@app.command()
def paper(
    folder: Out,
    brats: Annotated[Path, typer.Option(help="BraTS folder, or a store made of it.")],
    isles: Annotated[
        Path | None, typer.Option(help="ISLES 2015 folder (or --second's), or a store made of it.")
    ] = None,
    second: Annotated[str, typer.Option(help="Cohort of the second test set.")] = "isles2015",
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
    """Run the paper's experiment: every method, Tables 1 and 2, Figures 2 to 4. The same command continues after a kill."""
    from semcycle.paper import PaperSettings, open_store, run_paper

    first = open_store(brats, "brats", folder / "stores" / "brats", tissue, tissue_dir, workers)
    other = open_store(isles, second, folder / "stores" / "second", tissue, None, workers) if isles else None
    page = run_paper(first, other, folder, PaperSettings(size, seeds, tuple(rows or ())), split_file)
    out.print(f"tables: {folder}/table1.md, {folder}/table2.md")
    out.print(f"report: {page}")


@app.command()
def predict(
    scans: Annotated[Path, typer.Argument(help="A T2 scan, or a folder of them.")],
    model: Annotated[Path, typer.Option(help="Run folder made by `semcycle train`.")],
    folder: Out,
    pattern: Annotated[str, typer.Option(help="Which files of a folder are scans, such as *_t2.nii.gz.")] = "*",
    preset: Annotated[str, typer.Option(help="Post-processing: literal, baur.")] = "literal",
    brain_mask: Annotated[
        Path | None,
        typer.Option(help="Brain mask of the scan, or a folder of masks whose names begin with the scans' names."),
    ] = None,
    device: Device = "cpu",
) -> None:
    """Write the anomaly map, tissue maps and healthy reconstruction of scans on their own grids."""
    from semcycle.checkpoint import load_checkpoint
    from semcycle.experiment import draw_overview
    from semcycle.predict import find_mask, find_scans, predict_files
    from semcycle.scoring.postprocess import PRESETS
    from semcycle.volume import load_mask

    if preset not in PRESETS:
        msg = f"expected --preset to be one of {', '.join(PRESETS)}, got {preset!r}"
        raise typer.BadParameter(msg)
    if brain_mask and scans.is_dir() and not brain_mask.is_dir():
        msg = "expected a folder of masks with --brain-mask for a folder of scans, got a file"
        raise typer.BadParameter(msg)
    found = find_scans(scans, pattern)
    checkpoint = load_checkpoint(model, device)
    with progress_over("predict", len(found)) as done:
        failures = predict_files(
            found,
            checkpoint,
            folder,
            preset=preset,
            load_brain=lambda volume: (
                load_mask(find_mask(brain_mask, volume), volume, "brain mask") if brain_mask else None
            ),
            draw=draw_overview,
            progress=done,
        )
    if len(failures) == len(found):
        raise SemcycleError(failures[0].reason if len(found) == 1 else _all_failed(failures))
    out.print(f"predictions: {folder} ({len(found) - len(failures)} of {len(found)} scans)")
    _finish(failures, folder)


@app.command()
def report(scores: Annotated[Path, typer.Argument(help="Folder made by `semcycle score`.")]) -> None:
    """Write the HTML page of a score folder again."""
    from semcycle.report.page import report_scores

    out.print(f"report: {report_scores(scores)}")


@app.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """List versions, cohorts, tissue providers, methods and recipes; imports no torch."""
    import json
    import platform
    from importlib.metadata import version

    from semcycle.recipes_index import shipped_recipes
    from semcycle.tissue import TISSUE

    content: dict[str, Any] = {
        "semcycle": __version__,
        "python": platform.python_version(),
        "torch": version("torch"),
        "cohorts": {name: cohort.title for name, cohort in COHORTS.items()},
        "tissue": list(TISSUE),
        "methods": list(METHODS),
        "recipes": shipped_recipes(),
    }
    if as_json:
        out.print_json(json.dumps(content))
        return
    for name, value in content.items():
        if isinstance(value, dict):
            out.print(name)
            for key, title in value.items():
                out.print(f"  {key}: {title}")
        else:
            out.print(f"{name}: {', '.join(value) if isinstance(value, list) else value}")


def main() -> None:
    """Entry point: errors meant for the user become one line and exit code 2."""
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    try:
        app(standalone_mode=True)
    except SemcycleError as error:
        if debug:
            raise
        err.print(f"error: {error}", markup=False)
        sys.exit(2)
    except OSError as error:
        if debug:
            raise
        err.print(f"error: {error.filename or 'file system'}: {error.strerror or error}", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("interrupted; what was finished is kept", markup=False)
        sys.exit(130)


def _window(text: str, default: tuple[int, int] | None) -> tuple[int, int] | None:
    if text in ("cohort", "all"):
        return default if text == "cohort" else None
    first, colon, last = text.partition(":")
    if not (colon and first.isdigit() and last.isdigit() and int(first) < int(last)):
        msg = f"expected --slices FIRST:LAST, all or cohort, got {text!r}"
        raise typer.BadParameter(msg)
    return int(first), int(last)


def _split_cases(file: Path | None, store: SliceStore) -> tuple[list[str], list[str]]:
    """Training and test cases; without a split every case is both."""
    from semcycle.split import load_split

    if file is None:
        return store.case_ids, store.case_ids
    made = load_split(file, store)
    return made.train, made.test


def _name_runs(runs: list[Path]) -> dict[str, Path]:
    """Folder names as names in the table, made unique by their parents'."""
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{run.resolve().parent.name}/{run.resolve().name}" for run in runs]
    return dict(zip(names, runs, strict=True))


def _show_store(store: SliceStore) -> None:
    summaries = {case: store.summary(case) for case in store.case_ids}
    slices = sum(summary["slices"] for summary in summaries.values())
    free = sum(summary["lesion_free_slices"] for summary in summaries.values())
    out.print(f"store: {store.folder} ({len(summaries)} cases, {slices} slices, {free} of them free of lesions)")
    for case, summary in summaries.items():
        if summary["flags"]:
            err.print(f"[yellow]doubtful[/yellow] {case}: {'; '.join(summary['flags'])}", markup=True)


def _all_failed(failures: list[Any]) -> str:
    return f"all {len(failures)} scans failed, the first with: {failures[0].reason}"


def _finish(failures: list[Any], folder: Path) -> None:
    """Exit with 1 when some cases failed."""
    if failures:
        show_failures(failures)
        err.print(f"{len(failures)} failed, see {folder}/failures.csv; the others are done", markup=False)
        raise typer.Exit(1)


if __name__ == "__main__":
    main()

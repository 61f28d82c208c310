"""Verbs that learn and score: demo, train, score, paper, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcycle.cli.options import Data, Device, Out, split_cases
from semcycle.console import out, progress_over
from semcycle.tissue import TISSUE


def demo(
    out_folder: Out = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of the phantom cohort and of the training.")] = 0,
) -> None:
    """Make a phantom cohort, then prepare, train, score and report it: the whole path in minutes."""
    from semcycle.report.tables import terminal_table
    from semcycle.studies.demo import run_demo

    table, page = run_demo(out_folder, seed=seed)
    out.print(terminal_table(table))
    out.print(f"report: {page}")


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
    from semcycle.store.slice_store import SliceStore
    from semcycle.studies.running import run_training
    from semcycle.training import Hardware
    from semcycle.training.recipe import load_recipe

    settings, store = load_recipe(recipe), SliceStore(data)
    cases, _ = split_cases(split_file, store)
    hardware = Hardware(accelerator, devices, nodes, precision)
    run_training(settings, store, cases, run, resume=resume, reuse=reuse, hardware=hardware)
    out.print(f"run: {run}")


def score(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders; the intensity baseline always stands beside.")
    ] = None,
    data: Data = ...,  # type: ignore[assignment]
    scores: Out = ...,  # type: ignore[assignment]
    split_file: Annotated[
        Path | None, typer.Option("--split", help="Split file; without it all cases are scored.")
    ] = None,
    thresholds_from: Annotated[
        list[str] | None,
        typer.Option(
            "--threshold-from",
            help="validation, healthy, or either with =STORE: set thresholds on the cases that runs held out, or on a "
            "store's; repeatable. Without it thresholds come from the test cases and are labelled oracle.",
        ),
    ] = None,
    lesions: Annotated[bool, typer.Option(help="Count lesions and false alarms and measure surfaces as well.")] = True,
    presets: Annotated[
        list[str] | None,
        typer.Option(
            "--preset",
            help="Post-processing: literal, baur (both without this option), or with changes: "
            "literal,median_mm=5,min_component_mm3=30; repeatable.",
        ),
    ] = None,
    device: Device = "cpu",
) -> None:
    """Score any number of runs and the intensity baseline in one table."""
    from semcycle.prediction.postprocess import find_preset
    from semcycle.report.scores_page import report_scores
    from semcycle.report.tables import by_preset, summary, terminal_table
    from semcycle.store.slice_store import SliceStore
    from semcycle.studies.running import run_scoring

    chosen = list(dict.fromkeys(presets or ("literal", "baur")))
    for preset in chosen:
        find_preset(preset)
    store = SliceStore(data)
    _, cases = split_cases(split_file, store)
    with progress_over("score", len(cases)) as done:
        table = run_scoring(
            _name_runs(runs or []),
            store,
            cases,
            scores,
            device=device,
            progress=done,
            presets=chosen,
            thresholds_from=thresholds_from or (),
            lesions=lesions,
        )
    for preset, frame in by_preset(summary(table.table)).items():
        out.print(terminal_table(frame, f"preset {preset}"))
    out.print(f"scores: {scores}/table.csv")
    out.print(f"report: {report_scores(scores)}")


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
    """Run the paper's experiment: every method, Tables 1 and 2, Figures 2 to 4. The same command continues after a kill."""
    from semcycle.studies.paper import PaperSettings, open_store, run_paper

    first = open_store(brats, "brats", folder / "stores" / "brats", tissue, tissue_dir, workers)
    other = open_store(isles, second, folder / "stores" / "second", tissue, None, workers) if isles else None
    source = (
        open_store(healthy, healthy_cohort, folder / "stores" / "healthy", tissue, None, workers) if healthy else None
    )
    page = run_paper(first, other, folder, PaperSettings(size, seeds, tuple(rows or ())), split_file, source)
    out.print(f"tables: {folder}/table1.md, {folder}/table2.md")
    out.print(f"report: {page}")


def report(scores: Annotated[Path, typer.Argument(help="Folder made by `semcycle score`.")]) -> None:
    """Write the HTML page of a score folder again."""
    from semcycle.report.scores_page import report_scores

    out.print(f"report: {report_scores(scores)}")


def _name_runs(runs: list[Path]) -> dict[str, Path]:
    """Folder names as names in the table, made unique by their parents'."""
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{run.resolve().parent.name}/{run.resolve().name}" for run in runs]
    return dict(zip(names, runs, strict=True))

"""The verb train: a recipe and a store become a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcycle.cli.options import Data, Out, split_cases
from semcycle.console import out


def train(
    recipe: Annotated[str, typer.Argument(help="Recipe file, or the name of a shipped one.")],
    data: Data,
    run: Out,
    split_file: Annotated[Path | None, typer.Option("--split", help="Split file; without it all cases train.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an unfinished run.")] = False,
    reuse: Annotated[Path | None, typer.Option(help="Take over equal leading stages of this finished run.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Model or run that the method stands on, instead of the recipe's `start`.")
    ] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, max=1024, help="Devices (processes on a CPU) per node.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, max=4096, help="Machines.")] = 1,
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed, 16-mixed.")] = "32-true",
) -> None:
    """Train all stages of a recipe."""
    from semcycle.store.slice_store import SliceStore
    from semcycle.studies.running import run_training
    from semcycle.training import Hardware
    from semcycle.training.recipe import load_recipe

    settings, store = load_recipe(recipe), SliceStore(data)
    if start:
        settings = settings.model_copy(update={"start": start})
    cases, _ = split_cases(split_file, store)
    hardware = Hardware(accelerator, devices, nodes, precision)
    run_training(settings, store, cases, run, resume=resume, reuse=reuse, hardware=hardware)
    out.print(f"run: {run}")

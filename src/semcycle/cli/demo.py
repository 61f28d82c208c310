"""The verb demo: the whole path on phantoms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcycle.cli.options import Out
from semcycle.config import MAX_SEED
from semcycle.console import out


def demo(
    folder: Out = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the phantom cohort and of the training.")] = 0,
) -> None:
    """Predict phantom patients with the bundled model, then train, score and compare a small cycle: minutes."""
    from semcycle.report.tables import terminal_table
    from semcycle.studies.demo import TOY, run_demo

    outcome = run_demo(folder, seed=seed, say=out.print)
    title = "Lesions found and missed, each method cut where 1 in 1,000 voxels of healthy phantoms pass"
    out.print(terminal_table(outcome.table.astype(str), title))
    out.print(f"The training is {TOY}.")
    out.print(f"patients: {outcome.patients}")
    out.print(f"scores of the training: {outcome.scores}")

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
    """Make a phantom cohort, then prepare, train, score and report it: the whole path in minutes."""
    from semcycle.report.tables import terminal_table
    from semcycle.studies.demo import run_demo

    table, page = run_demo(folder, seed=seed)
    out.print(terminal_table(table))
    out.print(f"report: {page}")

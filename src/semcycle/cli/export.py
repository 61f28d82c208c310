"""The verb export: a model to pass on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcycle.cli.options import Out
from semcycle.console import out


def export(
    run: Annotated[Path, typer.Argument(help="Run folder made by `semcycle train`.")],
    folder: Out,
) -> None:
    """Pack a run for others: half-precision weights, its record and its thresholds."""
    from semcycle.training.checkpoint import export_checkpoint

    weights = export_checkpoint(run, folder)
    out.print(f"model: {weights} ({weights.stat().st_size / 1e6:.1f} MB)")

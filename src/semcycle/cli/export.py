"""The verb export: a model to pass on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from semcycle.cli.options import Out
from semcycle.console import out


def export(
    run: Annotated[Path, typer.Argument(help="Run folder made by `semcycle train`, or a bundled model.")],
    folder: Out,
    form: Annotated[
        Literal["safetensors", "onnx"],
        typer.Option(
            "--format", help="safetensors: a model for `--model`; onnx: a file a network, for programs without torch."
        ),
    ] = "safetensors",
) -> None:
    """Pack a run for others: its networks, its record, its thresholds and its card."""
    from semcycle.training.checkpoint import export_checkpoint
    from semcycle.training.onnx_export import export_onnx
    from semcycle.training.shipped import find_model

    place = find_model(run)
    for file in export_onnx(place, folder) if form == "onnx" else [export_checkpoint(place, folder)]:
        out.print(f"model: {file} ({file.stat().st_size / 1e6:.1f} MB)")

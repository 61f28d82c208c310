"""``semcycle-bids``: the call that BIDS apps share, ``semcycle-bids BIDS OUT participant --participant-label 01``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from semcycle.cli import predict as predicting
from semcycle.cli.options import Device, Version
from semcycle.cli.running import run_app
from semcycle.console import out
from semcycle.errors import LayoutError
from semcycle.training.shipped import DEFAULT

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class AnalysisLevel(StrEnum):
    """What a BIDS app does: each participant, or what belongs to all of them."""

    participant = "participant"
    group = "group"


@app.command()
def bids(
    dataset: Annotated[Path, typer.Argument(metavar="BIDS_DIR", help="Root of a raw BIDS dataset.")],
    folder: Annotated[Path, typer.Argument(metavar="OUTPUT_DIR", help="Folder of the derivatives.")],
    level: Annotated[
        AnalysisLevel,
        typer.Argument(metavar="ANALYSIS_LEVEL", help="participant: predict; group: table and page of all subjects."),
    ],
    participants: Annotated[
        list[str] | None,
        typer.Option(
            "--participant-label", "--participant_label", help="Only this subject, with or without sub-; repeatable."
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="A bundled model, or a run folder made by `semcycle train`.")] = DEFAULT,
    threshold: Annotated[str, typer.Option(help="Of the lesion mask: fpr=0.01, a score, none, auto.")] = "auto",
    brain_mask: Annotated[
        Path | None, typer.Option(help="Folder of brain masks whose names begin with the scans' names.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--n-cpus", "--nprocs", min=1, max=512, help="Processes of one thread each.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="No report pages.")] = False,
    skip_validation: Annotated[
        bool,
        typer.Option("--skip-bids-validation", "--skip_bids_validator", help="For other apps' sake; none is done."),
    ] = False,
    device: Device = "cpu",
    version: Version = False,
) -> None:
    """Mark anomalies in the T2w images of a BIDS dataset. For research only."""
    if not (dataset / "dataset_description.json").is_file():
        msg = f"{dataset}: expected a BIDS dataset, found no dataset_description.json in it; give its root"
        raise LayoutError(msg)
    if level is AnalysisLevel.group:
        _join(folder)
        return
    predicting.predict(
        dataset,
        folder,
        model=model,
        threshold=threshold,
        brain_mask=brain_mask,
        workers=workers,
        fast=fast,
        layout="bids",
        participants=participants,
        device=device,
    )


def _join(folder: Path) -> None:
    """Table and page of all participants."""
    from semcycle.prediction.records import is_folder_of_predictions, join_records
    from semcycle.report.folder_page import write_index

    if not is_folder_of_predictions(folder):
        msg = f"{folder}: expected predictions of participants, found none; run the level participant first"
        raise LayoutError(msg)
    join_records(folder)
    out.print(f"table: {folder}/summary.csv")
    out.print(f"report: {write_index(folder)}")


def main() -> None:
    """Entry point of ``semcycle-bids``."""
    run_app(app)

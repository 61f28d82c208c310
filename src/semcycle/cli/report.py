"""The verb report: the page of a folder of scores or predictions, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcycle.console import out


def report(
    folder: Annotated[Path, typer.Argument(help="Folder made by `semcycle score`, `evaluate` or `predict`.")],
) -> None:
    """Write the HTML page of a folder again; of a folder of predictions its tables as well, as after a kill."""
    from semcycle.prediction.records import is_folder_of_predictions, join_records
    from semcycle.report.folder_page import write_index
    from semcycle.report.scores_page import report_scores

    if is_folder_of_predictions(folder):
        join_records(folder)
        out.print(f"report: {write_index(folder)}")
    else:
        out.print(f"report: {report_scores(folder)}")

"""The verb report: a score folder's page, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcycle.console import out


def report(scores: Annotated[Path, typer.Argument(help="Folder made by `semcycle score`.")]) -> None:
    """Write the HTML page of a score folder again."""
    from semcycle.report.scores_page import report_scores

    out.print(f"report: {report_scores(scores)}")

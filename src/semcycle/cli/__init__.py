"""The command line: one file a verb. Each checks its input, calls the library, and prints what it left where.

Exit codes: 0 all done; 1 some cases failed, the others are written; 2 wrong input, nothing written; 130 interrupted.
Heavy imports stay inside the verbs, so that ``semcycle info`` and ``--help`` answer at once.
"""

from __future__ import annotations

import os

# Before numpy and torch are loaded. Their threads wait for each other by spinning: with another busy process on the
# machine that cost predict 53 CPU seconds instead of 13. numpy multiplies only small matrices here, and torch's threads
# may sleep.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import typer

from semcycle.cli import (
    augment,
    calibrate,
    demo,
    evaluate,
    export,
    info,
    paper,
    paste,
    predict,
    prepare,
    report,
    score,
    simulate,
    split,
    train,
    view,
)
from semcycle.cli.options import Version
from semcycle.cli.running import Debug, Quiet, Verbose, run_app
from semcycle.cli.settings import AugmentationCommand, DrawingCommand, PostProcessingCommand, PreprocessCommand

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Unsupervised anomaly segmentation for brain MRI by image-semantic cycle translation.",
)


@app.callback()
def _options(version: Version = False, quiet: Quiet = False, verbose: Verbose = False, debug: Debug = False) -> None:
    pass


app.command()(demo.demo)
app.add_typer(simulate.app, name="simulate")
app.command(cls=PreprocessCommand)(prepare.prepare)
app.command(cls=AugmentationCommand)(augment.augment)
app.command(cls=DrawingCommand)(paste.paste)
app.command()(split.split)
app.command()(train.train)
app.command(cls=PostProcessingCommand)(score.score)
app.command(cls=PostProcessingCommand)(evaluate.evaluate)
app.command(cls=PreprocessCommand)(paper.paper)
app.command()(report.report)
app.command()(view.view)
app.command(cls=PostProcessingCommand)(predict.predict)
app.command(cls=PostProcessingCommand)(calibrate.calibrate)
app.command()(export.export)
app.command()(info.info)


def main() -> None:
    """Entry point of ``semcycle``."""
    run_app(app)

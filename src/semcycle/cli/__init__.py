"""The command line: one file a verb. Each checks its input, calls the library, and prints what it left where.

Exit codes: 0 all done; 1 some cases failed, the others are written; 2 wrong input, nothing written; 130 interrupted.
Heavy imports stay inside the verbs, so that ``semcycle info`` and ``--help`` answer at once.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

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
from semcycle.cli.settings import AugmentationCommand, PostProcessingCommand, PreprocessCommand
from semcycle.console import err
from semcycle.errors import SemcycleError, error_line
from semcycle.files import NO_ROOM
from semcycle.processes import end_on_signals

INTERRUPTED = (129, 130, 143)
"""Exit codes after SIGHUP, Ctrl-C and SIGTERM."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Unsupervised anomaly segmentation for brain MRI by image-semantic cycle translation.",
)


@app.callback()
def _options(version: Version = False) -> None:
    pass


app.command()(demo.demo)
app.add_typer(simulate.app, name="simulate")
app.command(cls=PreprocessCommand)(prepare.prepare)
app.command(cls=AugmentationCommand)(augment.augment)
app.command()(paste.paste)
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
    """Entry point: errors meant for the user become one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # letters that the terminal lacks end no run
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    end_on_signals()
    try:
        app(standalone_mode=True)
    except SemcycleError as error:
        if debug:
            raise
        err.print(f"error: {error_line(error)}")
        sys.exit(2)
    except OSError as error:
        if debug:
            raise
        name = error.filename or "file system"
        remedy = ""
        if error.errno in NO_ROOM:
            remedy = f"; free some in {Path(name).parent} and run the same again: what is finished is kept"
        err.print(f"error: {error_line(OSError(f'{name}: {error.strerror or error}{remedy}'))}")
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as end:
        code = 130 if isinstance(end, KeyboardInterrupt) else end.code  # typer turns Ctrl-C into exit code 130
        if code in INTERRUPTED:
            err.print("interrupted; finished files are kept, the same command does the rest (train: add --resume)")
        sys.exit(code)

"""The command line: one function a verb. Each checks its input, calls the library, and prints what it left where.

Exit codes: 0 all done; 1 some cases failed, the others are written; 2 wrong input, nothing written; 130 interrupted.
Heavy imports stay inside the verbs, so that ``semcycle info`` and ``--help`` answer at once.
"""

from __future__ import annotations

import os
import sys

# Before numpy and torch are loaded. Their threads wait for each other by spinning: with another busy process on the machine that
# cost predict 53 CPU seconds instead of 13. numpy multiplies only small matrices here, and torch's threads may sleep.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import typer

from semcycle.cli import about, data, evaluate, learn, use, view
from semcycle.console import err
from semcycle.errors import SemcycleError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Unsupervised anomaly segmentation for brain MRI by image-semantic cycle translation.",
)
app.add_typer(data.simulate, name="simulate")
for verb in (
    learn.demo,
    data.prepare,
    data.augment,
    data.split,
    learn.train,
    learn.score,
    evaluate.evaluate,
    learn.paper,
    learn.report,
    view.view,
    use.predict,
    use.calibrate,
    use.export,
    about.info,
):
    app.command()(verb)


def main() -> None:
    """Entry point: errors meant for the user become one line and exit code 2."""
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    try:
        app(standalone_mode=True)
    except SemcycleError as error:
        if debug:
            raise
        err.print(f"error: {error}", markup=False)
        sys.exit(2)
    except OSError as error:
        if debug:
            raise
        err.print(f"error: {error.filename or 'file system'}: {error.strerror or error}", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("interrupted; what was finished is kept", markup=False)
        sys.exit(130)

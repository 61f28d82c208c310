"""Running a command: manners that all verbs share, and errors meant for the user as one line and exit code 2."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from semcycle.console import err, set_manners
from semcycle.errors import SemcycleError, error_line
from semcycle.files import NO_ROOM
from semcycle.processes import end_on_signals

INTERRUPTED = (129, 130, 143)
"""Exit codes after SIGHUP, Ctrl-C and SIGTERM."""

Quiet = Annotated[
    bool, typer.Option("--quiet", help="Say nothing but errors and doubts; --json still prints. Anywhere on the line.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="A line for every finished item, also where there is no terminal. Anywhere.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Errors with their traceback. Anywhere on the line.")]


def run_app(app: typer.Typer) -> None:
    """Run the command of ``sys.argv``; ``--quiet``, ``--verbose`` and ``--debug`` may stand anywhere on the line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # letters that the terminal lacks end no run
    manners = {"--quiet", "--verbose", "--debug"} & set(sys.argv[1:])
    sys.argv = [sys.argv[0], *(word for word in sys.argv[1:] if word not in manners)]
    debug = "--debug" in manners
    set_manners(quiet="--quiet" in manners and "--json" not in sys.argv, verbose="--verbose" in manners)
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

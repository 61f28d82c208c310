"""What SPM answers: its log-likelihood, or what went wrong in its own words."""

from __future__ import annotations

import re

from semcycle.errors import TissueError

COMMAND_VARIABLE = "SEMCYCLE_SPM_COMMAND"
FOLDER_VARIABLE = "SEMCYCLE_SPM_DIR"

_LICENCE = re.compile(
    r"licen[sc](e|ing)\b.*(fail|error|expired|invalid|denied|not found|unable|checkout)"
    r"|(fail|error|expired|invalid|unable|could not|no valid).*licen[sc]",
    re.IGNORECASE,
)
_ERROR = re.compile(r"(error using .*|error in .*|error):? *(.*)", re.IGNORECASE)


def parse_output(text: str, code: int, source: str) -> float:
    """Turn what SPM printed and its exit code into its log-likelihood, or an error.

    Args:
        text: Standard output and error together.
        code: Exit code; above 128 when a signal ended it.
        source: The scan, for messages.

    Raises:
        TissueError: No SPM, no ``TPM.nii``, no licence, a crash, or a fit that diverged.
    """
    check_output(text, code, source)
    fit = re.search(r"^semcycle: ll (\S+) finite ([01])", text, re.MULTILINE)
    if not fit:
        msg = (
            f"{source}: expected SPM to report its fit, got none though it ended well ({error_of(text)}); check that "
            f"{COMMAND_VARIABLE} runs a script"
        )
        raise TissueError(msg)
    if fit[2] == "0":
        msg = (
            f"{source}: expected a finite log-likelihood from SPM, got {fit[1]}: the fit diverged; check orientation "
            "and origin in the scan's header, or give other maps with --tissue maps"
        )
        raise TissueError(msg)
    return float(fit[1])


def check_output(text: str, code: int, source: str) -> None:
    """Refuse a run that failed.

    Args:
        text: Standard output and error together.
        code: Exit code; above 128 when a signal ended it.
        source: The scan or the command, for messages.

    Raises:
        TissueError: No SPM, no ``TPM.nii``, no licence, a program that cannot be started, or any other failure.
    """
    if start := re.search(r"^semcycle: not started (.*)$", text, re.MULTILINE):
        msg = f"{source}: expected a program that runs SPM, got {start[1]}; correct {COMMAND_VARIABLE}"
        raise TissueError(msg)
    if re.search(r"^semcycle: no spm", text, re.MULTILINE):
        msg = (
            f"{source}: expected SPM on the path of MATLAB or Octave, found none; give its folder with --tissue-dir "
            f"or {FOLDER_VARIABLE}"
        )
        raise TissueError(msg)
    if missing := re.search(r"^semcycle: no tpm (.*)$", text, re.MULTILINE):
        msg = f"{source}: expected SPM's {missing[1]}, found none; it comes with SPM: copy it there"
        raise TissueError(msg)
    if code == 0:
        return
    licence = next((line.strip() for line in text.splitlines() if _LICENCE.search(line)), None)
    if licence:
        msg = (
            f"{source}: expected a MATLAB licence, got {licence!r}; free or renew one, use fewer --workers, or run "
            f"SPM in Octave or as the standalone ({COMMAND_VARIABLE})"
        )
        raise TissueError(msg)
    remedy = "; it may have run out of memory: use fewer --workers" if code == 137 else ""
    if "not compiled" in text:
        remedy = "; compile SPM for Octave: make PLATFORM=octave, then make PLATFORM=octave install in its src/"
    msg = f"{source}: expected SPM to succeed, got exit code {code} ({error_of(text)}); mend what it names{remedy}"
    raise TissueError(msg)


def error_of(text: str) -> str:
    """SPM's own error without the call stack that follows it, or the last lines where none is marked as an error."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("semcycle:")]
    for number, line in enumerate(lines):
        error = _ERROR.fullmatch(line)
        if error and not error[2].startswith("called from"):
            # MATLAB writes the place first: "Error using spm_vol (line 61)", then the message
            return " ".join([line, *([] if error[2] else lines[number + 1 : number + 2])])[:600]
    return " | ".join(lines[-5:])[-600:] or "it printed nothing"

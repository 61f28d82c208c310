"""Keeper of one SPM process: runs it, and ends it and removes its folder once semcycle itself has ended.

Started as a program of its own, ``python spm_keeper.py FOLDER COMMAND ...``, with a pipe as its standard input that
semcycle never writes to: it ends when semcycle does, however that is killed. SPM inherits the other streams; its exit
code is passed on, that of a signal as a shell has it. Only the standard library: it starts in some 20 ms.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

CANNOT_START = 126


def keep(folder: str, command: list[str]) -> int:
    """Run the command in the folder until it ends, or until standard input does.

    Args:
        folder: With the scan; removed when semcycle has ended first.
        command: What runs SPM.

    Returns:
        Its exit code.
    """
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=folder, start_new_session=True)
    except OSError as error:
        sys.stdout.write(f"semcycle: not started {error.strerror or error}\n")
        return CANNOT_START
    orphaned = threading.Event()
    thread = threading.Thread(target=_end_with_parent, args=(child, Path(folder), orphaned), daemon=True)
    thread.start()
    code = child.wait()
    if orphaned.is_set():
        thread.join()
    return code if code >= 0 else 128 - code


def _end_with_parent(child: subprocess.Popen[bytes], folder: Path, orphaned: threading.Event) -> None:
    with suppress(OSError):
        while os.read(0, 1):
            pass
    orphaned.set()
    end_group(child)
    for _ in range(50):  # what was killed may write for a moment
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.1)


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End a process and what it started: launchers leave the real program running when only they are ended."""
    if sys.platform == "win32":
        child.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1], sys.argv[2:]))

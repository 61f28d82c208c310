"""Peak memory and time of `semcycle predict` against the size of a scan, each size in a process of its own.

    python benchmarks/memory.py                        # 2, 1, 0.75 and 0.5 mm: up to 480 x 480 x 310 voxels
    python benchmarks/memory.py --spacings 1 0.5 --pages

The scan is an ellipsoid of 1.5 l with a core, a shell and a rim, in a field of 240 x 240 x 155 mm, stored as 16-bit
numbers. Memory is the peak of the whole process, interpreter and libraries included; seconds are from file to files,
start of Python included.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semcycle.volume import save_volume

PR_SET_CHILD_SUBREAPER = 36
"""Of linux/prctl.h: orphans below this process become its children."""
FIELD_MM = (240.0, 240.0, 155.0)


@dataclass(frozen=True)
class Usage:
    """What a child process took."""

    seconds: float
    cpu_seconds: float
    megabytes: float


def write_head(path: Path, spacing: float) -> tuple[int, int, int]:
    """Write a stripped, T2-like ellipsoid; its shape."""
    i, j, k = (round(side / spacing) for side in FIELD_MM)
    x, y, z = np.ogrid[-1 : 1 : i * 1j, -1 : 1 : j * 1j, -1 : 1 : k * 1j]
    radius = ((x / 0.58) ** 2 + (y / 0.72) ** 2 + (z / 0.92) ** 2).astype(np.float32)
    data = np.select([radius < 0.45, radius < 0.85, radius < 1], [300, 400, 900], 0).astype(np.int16)
    noise = np.random.default_rng(0).integers(-15, 16, data.shape, dtype=np.int16)
    save_volume(path, np.where(data > 0, data + noise, 0).astype(np.int16), np.diag([spacing] * 3 + [1.0]))
    return i, j, k


def run_child(words: list[str], threads: int) -> Usage:
    """Run Python in a process of its own, and ask the system what it and its workers took, the largest of them in MB.

    Workers are children of a server that outlives the process for a moment: this process takes it over (Linux).
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    environment = os.environ | {f"{kind}_NUM_THREADS": str(threads) for kind in ("OMP", "MKL", "OPENBLAS")}
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen([sys.executable, *words], env=environment, stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        seconds, usages = time.perf_counter() - started, [usage]
        with suppress(ChildProcessError):
            while True:
                usages.append(os.wait4(-1, 0)[2])
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        if child.returncode:
            sys.exit(f"{' '.join(words)} ended with {child.returncode}: {said.read().decode(errors='replace')[-600:]}")
    cpu_seconds = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return Usage(seconds, cpu_seconds, max(usage.ru_maxrss for usage in usages) / 1024)


def measure(spacing: float, threads: int, folder: Path, *, pages: bool) -> tuple[tuple[int, int, int], Usage]:
    """Predict one head."""
    scan = folder / f"head-{spacing:g}.nii.gz"
    shape = write_head(scan, spacing)
    words = ["-m", "semcycle.cli", "predict", str(scan), "--out", str(folder / f"out-{spacing:g}")]
    return shape, run_child(words if pages else [*words, "--fast"], threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spacings", type=float, nargs="+", default=[2.0, 1.0, 0.75, 0.5], help="in mm")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pages", action="store_true", help="with the report page")
    words = parser.parse_args()
    print("| voxels | million | seconds | CPU seconds | peak MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for spacing in words.spacings:
            shape, usage = measure(spacing, words.threads, Path(folder), pages=words.pages)
            print(
                f"| {' x '.join(map(str, shape))} | {np.prod(shape) / 1e6:.1f} | {usage.seconds:.1f} | "
                f"{usage.cpu_seconds:.1f} | {usage.megabytes:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

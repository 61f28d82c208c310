"""The benchmarks run, on sizes that show nothing but that they do."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[1] / "benchmarks"


def run(script, *words):
    """What a script prints."""
    done = subprocess.run(
        [sys.executable, FOLDER / script, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_memory_against_voxels():
    rows = [cells(line) for line in run("memory.py", "--spacings", 6, 5, "--threads", 1).splitlines()]
    assert [row[0] for row in rows[2:]] == ["40 x 40 x 26", "48 x 48 x 31"]
    assert all(100 < float(row[4]) < 3000 and float(row[2]) > 0 for row in rows[2:])

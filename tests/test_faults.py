"""The script that kills runs works: on the one verb that needs no laboratory; at length it is run by hand."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_disturbed_runs_end_in_the_same_bytes():
    script = Path(__file__).parents[1] / "benchmarks/faults.py"
    words = [sys.executable, str(script), "--tries", "3", "--seed", "3", "--verbs", "simulate"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=True)
    total = next(line for line in done.stdout.splitlines() if line.startswith("| all"))
    tries, faults, lost = (int(cell) for cell in total.split("|")[3:6])
    assert tries >= 1
    assert faults >= tries
    assert lost == 0, done.stdout

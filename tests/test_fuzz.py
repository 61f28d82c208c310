"""Damaged configuration files are taken or refused in one line within a second; at length: benchmarks/fuzz.py."""

from collections import Counter
from pathlib import Path

import pytest


@pytest.mark.slow
def test_damaged_settings_end_in_one_line(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import fuzz_settings
    from lab import make_lab

    table, defects = fuzz_settings.run(make_lab(tmp_path / "lab", healthy=2, lesions=2), 400, seed=3)
    assert defects == []
    counts = sum(table.values(), start=Counter())
    assert counts.keys() == {"taken", "refused"}
    assert counts["refused"] > counts["taken"]


def test_a_long_message_is_cut_in_its_middle():
    from semcycle.errors import MAX_LINE, error_line

    line = error_line(ValueError(f"x.csv: expected {'[' * 10_000}; correct it"))
    assert line.startswith("x.csv: expected [[[")
    assert line.endswith("; correct it")
    assert len(line) <= MAX_LINE

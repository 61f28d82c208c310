"""The benchmarks run, on sizes that show nothing but that they do."""

import json
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


def test_points_of_regions_are_found_again_from_labels(monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    import numpy as np
    import regions

    from semcycle.volume.placement import brain_outline

    brain, affine = brain_outline()
    places = (np.argwhere(brain) * 4 + affine[:3, 3]).T
    truth = np.full(brain.shape, -1, np.int8)
    truth[brain] = regions.name_places(places)
    points = regions.fit_points(truth, np.eye(4), rounds=2)
    assert {name: len(found) for name, found in points.items()} == {
        name: len(known) for name, known in regions.REGIONS.items()
    }
    pairs = regions.compare_balls("template", truth, affine, np.eye(4), balls=40)
    said = capsys.readouterr().out
    assert "balls of 13 mm: first word 1.000" in said
    assert "side 1.000" in said
    assert len(pairs) == 40


def test_memory_against_voxels():
    rows = [cells(line) for line in run("memory.py", "--spacings", 6, 5, "--threads", 1).splitlines()]
    assert [row[0] for row in rows[2:]] == ["40 x 40 x 26", "48 x 48 x 31"]
    assert all(100 < float(row[4]) < 3000 and float(row[2]) > 0 for row in rows[2:])


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_strict_reading_and_refused_files():
    tables = run("reading.py", "--rounds", 1, "--spacing", 6).split("\n\n")
    costs, peaks = ([cells(line) for line in table.splitlines()[2:]] for table in tables)
    assert [row[0] for row in costs] == ["`.nii`", "`.nii.gz`"]
    assert all(float(row[5].rstrip("%")) < 5 for row in costs)
    assert len(peaks) == 10
    assert all(20 < float(row[1]) < 200 for row in peaks)


def test_the_benchmark_of_a_card_runs_on_the_cpu(tmp_path):
    words = ("--small", "--variants", "fp32", "bf16, channels last", "--out", tmp_path / "gpu.json")
    said = run("gpu.py", *words)
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert [row["stage"] for row in content["training"]] == 2 * ["segmentation"] + 2 * ["synthesis"]
    for row in content["training"]:
        assert row["slices_a_second"] > 0
        assert row["share_of_ceiling"] > 0
        assert 0 < row["loading_share"] < 1
    assert set(content["prediction"]) == {"fp32", "bf16, channels last"}
    assert "ceiling of convolutions, bf16-mixed" in said


def test_the_tables_of_the_page_are_written_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text((FOLDER.parent / "docs/explanation/performance.md").read_text())
    sections = ("folder", "many", "voxels", "scoring", "engines")
    run("performance.py", "--small", "--busy", "--page", page, "--sections", *sections)
    text = page.read_text()
    for section in (*sections, "tissue"):
        block = text[text.index(f"<!-- {section}:start -->") : text.index(f"<!-- {section}:end -->")]
        assert "| " in block
        assert "beside other work" in block
    assert "| `--fast --workers 2` |" in text
    assert "| 40 x 40 x 26 | 0.0 |" in text
    assert text.count(":start -->") == text.count(":end -->") == 7

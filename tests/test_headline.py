"""The benchmark that makes the tables of README and model card, on a tiny tree of scans."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from semcycle.volume import write_arrays
from tests.conftest import ball_brain, make_scan, semcycle

ROOT = Path(__file__).parents[1]


@pytest.fixture
def headline(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    sys.modules.pop("headline", None)
    import headline

    return headline


def make_data(root):
    """Two tumours, an MS patient and a healthy scan where the benchmark looks for them; no test set."""
    for number, name in enumerate(("Brats18_2013_1_1", "Brats18_2013_2_1")):
        arrays = ball_brain(seed=number)
        folder = root / f"brats/HGG/{name}"
        files = {
            folder / f"{name}_{end}.nii.gz": arrays[key].astype(np.int16)
            for end, key in (("t2", "t2"), ("seg", "lesion"))
        }
        write_arrays(files, np.diag([6, 6, 6, 1.0]))
    for place in ("healthy/kirby113/113-02-T2w_processed_reg", "healthy/ixi002/IXI002-T2", "healthy/niivue/t2"):
        end = ".nii" if "ixi" in place else ".nii.gz"
        make_scan(root / f"{place}{end}", ball_brain(seed=7, lesion=False)["t2"])
    make_scan(root / "healthy/valdo/sub-1_t2.nii.gz", ball_brain(seed=8, lesion=False)["t2"])


@pytest.mark.slow
def test_tables_are_made_by_the_commands(headline, tmp_path, capsys):
    data, out, typed = tmp_path / "data", tmp_path / "out", []
    make_data(data)

    def run(words):
        typed.append(words)
        semcycle(*words)

    headline.main([str(data), "--out", str(out), "--sets", "validation-tumours", "healthy"], run)
    assert not any("brats-test" in word for words in typed for word in words)
    card = (out / "card.md").read_text()
    row = next(line for line in card.splitlines() if line.startswith("| T2 intensity, treated as t2-brain"))
    table = pd.read_csv(out / "headline.csv")
    value = table[(table.run == "intensity=t2-brain") & (table.metric == "auprc") & (table.pooling == "pooled")].value
    assert f"{value.item():.3f}".removeprefix("0") in row
    assert "T2 intensity, raw units" in card
    assert "1 %," in card  # what the threshold promises
    assert "DATA/brats" in (out / "commands.txt").read_text()
    assert str(tmp_path) not in (out / "commands.txt").read_text()
    assert {"lesion_ml", "components"} <= set(table[table.set == "healthy"].metric)
    assert "| tumours (validation, n = 2) | `t2-brain` |" in (out / "readme.md").read_text()
    capsys.readouterr()


def test_the_test_set_is_read_only_when_asked_for(headline):
    parts = [place for one in headline.SETS if one.key != headline.TEST for place, _ in one.places]
    assert "brats-test" not in parts
    assert [place for one in headline.SETS if one.key == headline.TEST for place, _ in one.places] == ["brats-test"]


def test_a_page_is_filled_between_its_markers(headline, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{headline.MARKERS[0]}\nold\n{headline.MARKERS[1]}\nafter\n")
    headline.fill(page, "| new |")
    headline.fill(page, "| newer |")
    assert page.read_text() == f"before\n{headline.MARKERS[0]}\n\n| newer |\n\n{headline.MARKERS[1]}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(SystemExit, match="expected the markers"):
        headline.fill(page, "x")


@pytest.mark.parametrize("page", ["README.md", "src/semcycle/models/t2-brain/MODEL_CARD.md"])
def test_the_pages_have_the_markers(headline, page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [text.count(marker) for marker in headline.MARKERS] == [1, 1]


def test_a_number_that_was_not_measured_is_a_dash(headline):
    assert headline.show(None) == "–"
    row = pd.Series({"value": 0.7312, "low": 0.58, "high": 0.81})
    assert headline.show(row, interval=True) == ".731 [.58, .81]"
    assert headline.show(pd.Series({"value": 12.3, "low": np.nan, "high": np.nan}), 1) == "12.3"

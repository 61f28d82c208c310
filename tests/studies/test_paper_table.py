import numpy as np
import pandas as pd
import pytest

from semcycle.report.tables import to_markdown_text
from semcycle.studies.paper_rows import PUBLISHED
from semcycle.studies.paper_table import paper_table, readable

PRESETS = ("literal", "baur")


def scores(value, runs=("AE", "cycle continuous")):
    rows = [
        {"run": run, "preset": preset, "metric": metric, "pooling": "pooled", "value": value, "low": 0.1, "high": 0.9}
        for run in runs
        for preset in PRESETS
        for metric in ("auprc", "best_dice")
    ]
    return pd.DataFrame(rows)


def two_sets(beside):
    return paper_table({"BraTS 2018": scores(0.4), "other": scores(0.2)}, beside, PUBLISHED, PRESETS)


def test_the_papers_numbers_stand_beside_ours_under_the_name_of_its_data():
    table = two_sets({"BraTS 2018": "BraTS 2019", "other": "ISLES 2015"})
    assert table.loc["AE", "BraTS 2018 AUPRC literal"] == 0.4
    assert table.loc["AE", "other best Dice baur"] == 0.2
    assert table.loc["AE", "BraTS 2019 AUPRC paper"] == 0.229
    assert table.loc["cycle continuous", "ISLES 2015 best Dice paper"] == 0.178
    assert np.isnan(table.loc["VAE", "BraTS 2018 AUPRC literal"])
    assert table.loc["VAE", "BraTS 2019 AUPRC paper"] == 0.331


def test_a_set_that_the_paper_has_not_gets_none_of_its_numbers():
    table = two_sets({"BraTS 2018": "BraTS 2019", "other": ""})
    assert [name for name in table if name.endswith("paper")] == [
        "BraTS 2019 AUPRC paper",
        "BraTS 2019 best Dice paper",
    ]


def test_cells_for_people_hold_their_interval_and_none_is_called_best():
    table = two_sets({"BraTS 2018": "BraTS 2019"})
    cells = readable(table)
    assert cells.loc["AE", "BraTS 2018 AUPRC literal"] == "0.400 [0.10, 0.90]"
    assert cells.loc["AE", "BraTS 2019 AUPRC paper"] == "0.229"
    assert "BraTS 2018 AUPRC literal low" not in cells
    assert "**" not in to_markdown_text(cells)
    assert "| VAE | – |" in to_markdown_text(cells)


def test_seeds_share_a_row_with_mean_and_spread():
    seeds = pd.concat([scores(0.4).replace("AE", "AE seed 0"), scores(0.6).replace("AE", "AE seed 1")])
    table = paper_table({"a": seeds}, {}, {}, PRESETS)
    assert list(table.index) == ["AE", "cycle continuous"]
    assert table.loc["AE", "a AUPRC literal"] == pytest.approx(0.5)
    assert table.loc["AE", "a AUPRC literal sd"] == pytest.approx(0.2 / np.sqrt(2))
    assert readable(table).loc["AE", "a AUPRC literal"] == "0.500 ± 0.141 [0.10, 0.90]"

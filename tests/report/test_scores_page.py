import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from semcycle.errors import ScoringError
from semcycle.files import write_json
from semcycle.report.scores_page import FigureBlock, load_curves, report_scores, write_page
from semcycle.scoring.panels import Panel, RunPanel, save_panels

EVIL = '<script>alert("x")</script>'
VOID = {"meta", "img", "source", "link", "br", "hr", "input"}


class Reader(HTMLParser):
    """Collects tags and text, and checks that every element is closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def make_table(run="cycle"):
    rows = []
    for name, value in ((run, 0.4321987), ("intensity", 0.2104)):
        common = {"method": name, "threshold": np.nan, "threshold_source": None, "cases": 2, "prevalence": 0.0312}
        for metric, pooling in (("auprc", "pooled"), ("auprc", "per_case_mean"), ("best_dice", "pooled")):
            row = {"run": name, "preset": "baur", "metric": metric, "pooling": pooling, "value": value}
            rows.append(row | common)
    return pd.DataFrame(rows)


def make_scores(folder, run="cycle"):
    table = make_table(run)
    folder.mkdir()
    table.to_csv(folder / "table.csv", index=False)
    pd.DataFrame({"run": [run], "case": ["case_07"], "auprc": [0.777]}).to_csv(folder / "per_case.csv", index=False)
    steps = np.linspace(0, 1, 11)
    parts = ("recall", "precision", "thresholds", "dice")
    np.savez(
        folder / "curves.npz", **{f"{name}|baur|{part}": steps for name in table["run"].unique() for part in parts}
    )
    x = np.full((16, 16), 0.5, np.float32)
    truth = np.zeros((16, 16), bool)
    truth[4:8, 4:8] = True
    runs = {name: RunPanel(x, None, {"baur": x}) for name in table["run"].unique()}
    save_panels(folder / "panels.npz", [Panel("case_07", 3, x, x > 0, truth, runs)])
    write_json(
        folder / "facts.json",
        {"cohort": "phantom", "versions": {"semcycle": "0.1.0"}, "test_cases": ["a", "b"], "runs": {"r1": {"seed": 3}}},
    )
    return folder


def test_page_of_a_score_folder_holds_its_values(tmp_path):
    path = report_scores(make_scores(tmp_path / "scores"))
    assert path == tmp_path / "scores" / "report" / "index.html"
    page = read(path)
    text = " ".join(page.text)
    for expected in (
        "0.432",
        "0.210",
        "0.777",
        "0.031",
        "case_07",
        "phantom",
        "semcycle 0.1.0",
        "a, b",
        "r1: seed 3",
        "oracle",
    ):
        assert expected in text
    assert "Not a medical device" in text
    assert "miss lesions whose intensity looks normal" in text
    assert sum(tag == "h1" for tag, _ in page.tags) == 1


def test_page_loads_nothing(tmp_path):
    page = read(report_scores(make_scores(tmp_path / "scores")))
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        for name in ("src", "srcset"):
            assert attributes.get(name, "data:").startswith("data:")
        assert tag == "a" or "href" not in attributes
        if tag == "img":
            assert attributes["alt"]
    style = "".join(page.text)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", style)
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_heads_can_be_sorted_by_keyboard(tmp_path):
    page = read(report_scores(make_scores(tmp_path / "scores")))
    heads = [attributes for tag, attributes in page.tags if tag == "th" and attributes.get("scope") == "col"]
    assert len(heads) > 3
    assert all(attributes["aria-sort"] == "none" for attributes in heads)
    assert sum(tag == "button" for tag, _ in page.tags) == len(heads)


def test_user_strings_are_escaped(tmp_path):
    folder = make_scores(tmp_path / "scores", run=EVIL)
    path = write_page(
        tmp_path / "page",
        title=EVIL,
        intro=EVIL,
        table=pd.read_csv(folder / "table.csv"),
        per_case=pd.DataFrame({EVIL: [EVIL], 'a" onload="x': ['" onclick="x']}),
        figures=[FigureBlock(EVIL, EVIL, Figure(figsize=(1, 1)), alt='" onerror="x')],
        facts={EVIL: EVIL},
    )
    for page in (read(path), read(report_scores(folder))):
        assert sum(tag == "script" for tag, _ in page.tags) == 1
        assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_the_same_scores_give_the_same_bytes(tmp_path):
    first, second = (report_scores(make_scores(tmp_path / name)).read_bytes() for name in ("a", "b"))
    assert first == second


def test_only_the_table_is_needed(tmp_path):
    make_table().to_csv(tmp_path / "table.csv", index=False)
    page = read(report_scores(tmp_path))
    assert not any(tag == "img" for tag, _ in page.tags)


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(ScoringError, match=r"table\.csv.*score first"):
        report_scores(tmp_path)
    folder = make_scores(tmp_path / "scores")
    whole = (folder / "curves.npz").read_bytes()
    for damaged in (b"no archive", whole[: len(whole) // 2]):
        (folder / "curves.npz").write_bytes(damaged)
        with pytest.raises(ScoringError, match=r"curves\.npz.*score again"):
            report_scores(folder)


def test_pictures_must_be_png(tmp_path):
    (tmp_path / "a.svg").write_text("<svg/>")
    for name in ("a.svg", "none.png"):
        block = FigureBlock("t", "c", tmp_path / name)
        with pytest.raises(ScoringError, match=name):
            write_page(
                tmp_path, title="", intro="", table=make_table(), per_case=pd.DataFrame(), figures=[block], facts={}
            )


def test_curves_of_a_run_with_a_bar_in_its_name(tmp_path):
    steps = np.linspace(0, 1, 3)
    parts = ("recall", "precision", "thresholds", "dice")
    np.savez(tmp_path / "curves.npz", **{f"a|b|baur|{part}": steps for part in parts})
    (curve,) = load_curves(tmp_path / "curves.npz", "baur")
    assert curve.run == "a|b"
    assert load_curves(tmp_path / "curves.npz", "literal") == []


def test_many_runs_get_a_comparison_and_a_figure_each(tmp_path):
    folder = make_scores(tmp_path / "scores")
    x = np.full((8, 8), 0.5, np.float32)
    runs = {f"run{number}": RunPanel(x, np.repeat(x[None], 3, 0) / 3, {"baur": x}) for number in range(4)}
    save_panels(folder / "panels.npz", [Panel("c", 0, x, x > 0, x > 1, runs)])
    text = " ".join(read(report_scores(folder)).text)
    assert "Anomaly maps, preset baur" in text
    assert all(f"run{number}, preset baur" in text for number in range(4))

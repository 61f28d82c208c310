from pathlib import Path

import pandas as pd

from semcycle.cli import predict
from semcycle.prediction import records


def test_doubts_about_the_scans_of_this_call_are_said_on_the_terminal(monkeypatch, capsys):
    table = pd.DataFrame({"scan": ["a", "b", "earlier"], "flags": ["", "no T2: [white] matter", "small"]})
    monkeypatch.setattr(records, "read_summary", lambda folder: table)
    predict._show_flags(Path("p"), ["a", "b", "failed"])
    assert capsys.readouterr().err == "doubtful b: no T2: [white] matter\n"

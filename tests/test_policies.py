"""The simulation of reporting policies, and the page that shows it."""

from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_shows_what_the_script_says(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import policies

    scores, truth = policies.make_scores()
    values = policies.policies(scores, truth)
    assert policies.markdown(values) in (ROOT / "docs/explanation/scores.md").read_text(encoding="utf-8")
    assert values["AUPRC, pooled, slices with lesion only"] > values["AUPRC, all voxels of all slices pooled"]
    assert abs(truth.mean() - 0.028) < 0.001  # what the page says

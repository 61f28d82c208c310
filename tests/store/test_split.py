import json

import pytest

from semcycle.errors import SplitError
from semcycle.store.split import load_split, make_split


def test_split_is_seeded_stratified_and_by_subject(ball_store):
    first, again = (make_split(ball_store, test_fraction=0.5, seed=3) for _ in range(2))
    assert first == again
    assert sorted(first.train + first.test) == ball_store.case_ids
    assert sum(case.startswith("h") for case in first.test) == 2
    assert sum(case.startswith("l") for case in first.test) == 1
    assert any(make_split(ball_store, test_fraction=0.5, seed=seed).test != first.test for seed in range(6))


def test_sessions_of_a_subject_stay_together(ball_store, monkeypatch):
    monkeypatch.setattr(ball_store, "subject", lambda case: case[0] + str(int(case[1]) // 2))
    for seed in range(5):
        split = make_split(ball_store, test_fraction=0.5, seed=seed)
        assert ("h0" in split.test) == ("h1" in split.test)
        assert ("h2" in split.test) == ("h3" in split.test)


@pytest.mark.parametrize("fraction", [0, 1, -0.2, 0.01])
def test_one_sided_splits_are_refused(ball_store, fraction):
    with pytest.raises(SplitError):
        make_split(ball_store, test_fraction=fraction, seed=0)


def test_split_file_round_trip_and_errors(ball_store, tmp_path, monkeypatch):
    path = tmp_path / "split.json"
    split = make_split(ball_store, test_fraction=0.5, seed=0)
    split.save(path)
    assert load_split(path, ball_store) == split
    path.write_text(json.dumps({"train": ["h0"], "test": ["x1"]}))
    with pytest.raises(SplitError, match="x1"):
        load_split(path, ball_store)
    path.write_text(json.dumps({"train": ["h0"]}))
    with pytest.raises(SplitError, match="split.json.*something else"):
        load_split(path, ball_store)
    path.write_text(json.dumps({"train": ["h0", "l0"], "test": ["h0"]}))
    with pytest.raises(SplitError, match="subject-h0 in both"):
        load_split(path, ball_store)

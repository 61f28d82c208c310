"""Maps that wait on disk for their thresholds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semcycle.errors import ScoringError
from semcycle.scoring.cases import ScoredCase
from semcycle.scoring.metrics.codes import UNIT, CodeFitter
from semcycle.scoring.waiting import CodedRange, store_case
from semcycle.volume.masks import bounding_box

SHAPE = (3, 8, 8)
KEY = ("a", "raw")


def make_case(scores, name="c0", seed=0):
    """A brain of half the voxels, and a lesion voxel outside it."""
    generator = np.random.default_rng(seed)
    brain = generator.random(SHAPE) < 0.5
    brain[0, 0, 0], brain[0, 0, 1] = True, False
    truth = np.zeros(SHAPE, bool)
    truth[0, 0, :2] = True
    return ScoredCase(name, name, brain, truth, (1.0, 1.0, 1.0), 0.1, {KEY: scores, ("b", "raw"): -scores})


def store_all(cases, folder, code=None):
    """The cases as they wait, and the ranges of all of them."""
    fitters = {}
    waiting = []
    for number, case in enumerate(cases):
        stored, parts = store_case(case, folder / str(number), code)
        waiting.append(stored)
        for key, part in parts.items():
            fitters.setdefault(key, CodeFitter()).merge(part)
    if code:
        return waiting, {key: CodedRange(code, np.float32(0)) for key in cases[0].maps}
    return waiting, {key: CodedRange(fitter.fit(), fitter.lowest) for key, fitter in fitters.items()}


@pytest.mark.parametrize("kind", ["unit", "few values", "many values"])
def test_a_map_comes_back_at_any_threshold(kind, tmp_path):
    generator = np.random.default_rng(0)
    scores = generator.random(SHAPE).astype(np.float32)
    others = []
    if kind == "many values":
        scores = (generator.normal(size=SHAPE) * 50).astype(np.float32)
        others = [(generator.normal(size=SHAPE) * 50).astype(np.float32) for _ in range(700)]
    case = make_case(scores)
    case = replace(case, maps={KEY: scores}) if kind == "unit" else case
    cases = [case, *(make_case(other, f"other{number}", seed=number) for number, other in enumerate(others))]
    (first, *_), ranges = store_all(cases, tmp_path, UNIT if kind == "unit" else None)
    assert (first.facts.case, first.facts.lesion_ml, first.facts.maps) == ("c0", 0.1, {})
    assert first.keys == tuple(case.maps)
    brain, truth = first.masks()
    for _ in range(2):  # coding twice, as a worker does that takes over, changes nothing
        first.encode(ranges)
        cut = first.cutter(KEY, ranges[KEY].code, brain | truth)
        in_brain = scores[case.brain]
        box = bounding_box(case.brain | case.truth)
        for threshold in np.quantile(in_brain, [0.1, 0.5, 0.9]):
            expected = (case.brain & (scores >= threshold))[box]
            assert (cut(float(threshold)) != expected).mean() < 0.02  # neighbours may share a code
        assert not cut(np.inf).any()
        assert not cut(np.nan).any()
        np.testing.assert_array_equal(cut(-np.inf), brain | truth)
        assert not cut(float(in_brain.max()) + 1).any()


def test_a_lesion_outside_the_brain_has_the_lowest_score_of_all_brains(tmp_path):
    scores = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE) + 10
    low = make_case(scores - 100, "low", seed=1)
    waiting, ranges = store_all([make_case(scores), low], tmp_path)
    lowest = (scores - 100)[low.brain].min()
    for number, case in enumerate(waiting):
        case.encode(ranges)
        missed = case.codes(KEY)[1]  # the second voxel of the region
        assert ranges[KEY].code.decode(missed) == lowest, number


def test_a_full_disk_says_so(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("has no /dev/full")
    (tmp_path / "0-masks.npy").symlink_to("/dev/full")
    with pytest.raises(ScoringError, match=r"expected room.*No space left on device; free some"):
        store_case(make_case(np.zeros(SHAPE, np.float32)), tmp_path / "0", UNIT)

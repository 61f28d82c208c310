"""Maps that wait on disk for their thresholds."""

from dataclasses import replace

import numpy as np
import pytest

from semcycle.errors import ScoringError
from semcycle.scoring.cases import ScoredCase, WaitingCases
from semcycle.scoring.metrics.codes import UNIT
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


@pytest.mark.parametrize("kind", ["unit", "few values", "many values"])
def test_a_map_comes_back_at_any_threshold(kind):
    generator = np.random.default_rng(0)
    scores = generator.random(SHAPE).astype(np.float32)
    others = [scores]
    if kind == "many values":
        scores = (generator.normal(size=SHAPE) * 50).astype(np.float32)
        others = [(generator.normal(size=SHAPE) * 50).astype(np.float32) for _ in range(700)]
    case = make_case(scores)
    case = replace(case, maps={KEY: scores}) if kind == "unit" else case
    with WaitingCases(UNIT if kind == "unit" else None) as waiting:
        waiting.append(case)
        for number, other in enumerate(others[1:]):
            waiting.append(make_case(other, f"other{number}", seed=number))
        first = next(iter(waiting))
        assert (first.case, first.lesion_ml, first.maps) == ("c0", 0.1, {})
        assert waiting.keys(first) == list(case.maps)
        for _ in range(2):  # fitted codes are written back the first time
            cut = waiting.cutter(first, KEY)
            in_brain = scores[case.brain]
            box = bounding_box(case.brain | case.truth)
            for threshold in np.quantile(in_brain, [0.1, 0.5, 0.9]):
                expected = (case.brain & (scores >= threshold))[box]
                assert (cut(float(threshold)) != expected).mean() < 0.02  # neighbours may share a code
            assert not cut(np.inf).any()
            assert not cut(np.nan).any()
            np.testing.assert_array_equal(cut(-np.inf), first.brain | first.truth)
            assert not cut(float(in_brain.max()) + 1).any()


def test_a_lesion_outside_the_brain_has_the_lowest_score_of_all_brains():
    scores = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE) + 10
    low = make_case(scores - 100, "low", seed=1)
    with WaitingCases() as waiting:
        waiting.append(make_case(scores))
        waiting.append(low)
        codes = [waiting.codes(case, KEY) for case in waiting]
        lowest = (scores - 100)[low.brain].min()
        for number, each in enumerate(codes):
            missed = each[1]  # the second voxel of the region
            assert waiting.code(KEY).decode(missed) == lowest, number


def test_a_full_disk_says_so(monkeypatch, tmp_path):
    class Full:
        def seek(self, *place):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    for folder, remedy in ((None, "TMPDIR to a larger disk"), (tmp_path, f"{tmp_path}: expected room.*free some")):
        with WaitingCases(UNIT, folder) as waiting:
            waiting._file.close()
            monkeypatch.setattr(waiting, "_file", Full())
            with pytest.raises(ScoringError, match=remedy):
                waiting.append(make_case(np.zeros(SHAPE, np.float32)))


def test_nothing_is_left_in_the_folder(tmp_path):
    with WaitingCases(UNIT, tmp_path) as waiting:
        waiting.append(make_case(np.zeros(SHAPE, np.float32)))
        assert not list(tmp_path.iterdir())  # not even while it is there: a killed process leaves nothing

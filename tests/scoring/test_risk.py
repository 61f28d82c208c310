import numpy as np
import pytest

from semcycle.scoring.risk import LEVELS, control_risk, cuts, scans_needed, share_above


def test_the_fewest_scans_that_can_promise():
    assert scans_needed(0.01, 1.0) == 99
    assert scans_needed(0.01, 0.1) == 9
    assert scans_needed(2, 20) == 9
    assert scans_needed(2, 1) == 1


def test_a_cut_by_hand():
    losses = np.array([[0.5, 0.2, 0.1, 0.0], [0.5, 0.4, 0.1, 0.0], [0.9, 0.3, 0.1, 0.0]])
    cut = control_risk(losses, limit=0.35, bound=1.0)  # (0.3 + 1) / 4 = 0.325, (0.9 + 1) / 4 = 0.475
    assert cut.place == 2
    assert cut.promise.kept
    assert "at most 0.35 expected in the next healthy scan like these 3" in cut.promise.describe("voxels")


def test_too_few_scans_give_an_estimate_and_say_how_many_are_needed():
    losses = np.array([[0.5, 0.02, 0.0], [0.5, 0.01, 0.0]])
    cut = control_risk(losses, limit=0.015, bound=1.0)
    assert cut.place == 1
    assert not cut.promise.kept
    assert "2 scans are too few, 66 are the least" in cut.promise.describe("voxels")
    assert cut.promise.seen == pytest.approx((0.02 + 0.0) / 2)


def test_objections_take_the_promise_away():
    cut = control_risk(np.zeros((200, 3)), 0.01, 1.0, "the model has seen them")
    assert (cut.promise.kept, cut.promise.why_not) == (False, "the model has seen them")


def test_the_promise_holds_over_many_calibrations_and_is_not_much_too_careful():
    generator = np.random.default_rng(0)
    place = 0.25 * generator.random((2000, 21))
    losses = np.clip(1 - np.linspace(0, 1, 501) / (0.3 + place[..., None]), 0, 1)  # a line down to each scan's own cut
    seen = [each[-1, control_risk(each[:-1], limit=0.1, bound=1.0).place] for each in losses]
    assert np.mean(seen) <= 0.1 + 3 * np.std(seen) / np.sqrt(len(seen))
    assert np.mean(seen) > 0.1 - 2 / 21


def test_shares_above_the_cuts():
    shares = share_above(np.array([0.0, 0.25, 0.5, 1.0]))
    assert len(shares) == len(cuts()) == LEVELS + 2
    assert [shares[0], shares[LEVELS // 4], shares[LEVELS // 4 + 1], shares[LEVELS], shares[-1]] == [
        1,
        0.75,
        0.5,
        0.25,
        0,
    ]
    counts = share_above(np.array([0.5, 0.75]), np.array([2.0, 3.0]))
    assert (counts[0], counts[LEVELS // 2 + 1]) == (5, 3)
    assert share_above(np.zeros(0)).sum() == 0

"""Lesions one by one and surface distances: hand-made cases, brute force, and rules for what is empty."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree

from semcycle.errors import ScoringError
from semcycle.scoring.metrics.lesions import (
    ComponentRule,
    find_calls,
    find_lesions,
    froc_counts,
    froc_curve,
    match_calls,
)
from semcycle.scoring.metrics.metrics import metrics_reading
from semcycle.scoring.metrics.surface import surface_distances
from semcycle.volume.masks import drop_small

CUBE = (1.0, 1.0, 1.0)
EVERYTHING = ComponentRule(min_lesion_mm3=0, min_call_mm3=0)


def volume(*boxes, shape=(12, 12, 12)):
    mask = np.zeros(shape, bool)
    for low, high in boxes:
        mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def count(called, truth, rule=EVERYTHING, spacing=CUBE):
    lesions = find_lesions(truth, spacing, rule)
    return match_calls(find_calls(called, lesions), lesions)


def measure(called, truth, rule=EVERYTHING):
    """Every metric of a case at one threshold."""
    lesions = find_lesions(truth, CUBE, rule)
    calls = find_calls(called, lesions)
    counts, distances = match_calls(calls, lesions), surface_distances(calls.mask, truth, CUBE)
    values = {name: float(metric.function(counts)) for name, metric in metrics_reading("lesions").items()}
    values |= {name: float(metric.function(distances)) for name, metric in metrics_reading("surfaces").items()}
    return values | counts._asdict() | {"components_false": counts.components_false}


A = ((0, 0, 0), (3, 3, 3))  # 27 voxels each
B = ((6, 6, 6), (9, 9, 9))
C = ((0, 8, 0), (3, 11, 3))


def test_hand_made_counts():
    truth = volume(A, B)
    called = volume(((2, 2, 2), (4, 4, 4)), C)  # touches A in one voxel; C is nothing
    assert count(called, truth) == (2, 1, 2, 1, 1)
    values = measure(called, truth)
    rates = ("lesion_sensitivity", "lesion_precision", "lesion_f1", "false_positives_per_scan")
    assert [values[name] for name in rates] == [0.5, 0.5, 0.5, 1]
    assert count(called, truth, ComponentRule(overlap="iou", min_lesion_mm3=0, min_call_mm3=0)) == (2, 0, 2, 0, 1)


def test_one_call_over_two_lesions_finds_both_by_voxels_and_one_by_iou():
    truth = volume(((0, 0, 0), (3, 3, 3)), ((4, 0, 0), (7, 3, 3)))
    called = volume(((0, 0, 0), (7, 3, 3)))  # 63 voxels, IoU 27/63 with either
    assert count(called, truth) == (2, 2, 1, 1, 1)
    iou = {"overlap": "iou", "min_lesion_mm3": 0, "min_call_mm3": 0}
    assert count(called, truth, ComponentRule(min_iou=0.42, **iou)) == (2, 1, 1, 1, 1)
    assert count(called, truth, ComponentRule(min_iou=0.43, **iou)) == (2, 0, 1, 0, 1)
    assert count(truth, called, ComponentRule(min_iou=0.42, **iou)) == (1, 1, 2, 1, 1)


def test_pairs_are_as_many_as_can_be_made():
    """A greedy choice of the best pair would leave the other lesion alone."""
    truth = volume(((0, 0, 0), (4, 1, 1)), ((5, 0, 0), (7, 1, 1)), shape=(12, 3, 1))
    called = volume(((2, 0, 0), (6, 1, 1)), ((0, 0, 0), (1, 1, 1)), shape=(12, 3, 1))
    rule = ComponentRule(overlap="iou", min_iou=0.1, min_lesion_mm3=0, min_call_mm3=0)
    assert count(called, truth, rule) == (2, 2, 2, 2, 1)


def test_corners_connect():
    truth = volume(((0, 0, 0), (1, 1, 1)), ((1, 1, 1), (2, 2, 2)))
    assert find_lesions(truth, CUBE, EVERYTHING).count == 1
    assert find_lesions(volume(((0, 0, 0), (1, 1, 1)), ((2, 2, 2), (3, 3, 3))), CUBE, EVERYTHING).count == 2


def test_size_limits_are_in_mm3():
    truth = volume(A, ((6, 6, 6), (7, 7, 8)))  # 27 and 2 voxels
    called = volume(A, ((6, 6, 6), (7, 7, 7)), ((0, 8, 0), (1, 9, 3)))  # 27, 1 in the small one, 3 in nothing
    assert count(called, truth) == (2, 2, 3, 2, 1)
    rule = ComponentRule(min_lesion_mm3=14, min_call_mm3=0)
    assert count(called, truth, rule) == (1, 1, 2, 1, 1)  # what lies in the small one is neither true nor false
    assert count(called, truth, rule, (7.0, 1.0, 1.0)) == (2, 2, 3, 2, 1)  # 2 voxels are 14 mm3
    assert count(called, truth, ComponentRule(min_lesion_mm3=0, min_call_mm3=2)) == (2, 1, 2, 1, 1)
    assert drop_small(called, CUBE, 2).sum() == 30
    assert drop_small(called, CUBE, 4).sum() == 27
    assert drop_small(called, (2.0, 1.0, 1.0), 4).sum() == 30


def test_defaults_are_a_ball_of_three_millimetres():
    rule = ComponentRule()
    assert rule.min_lesion_mm3 == pytest.approx(np.pi / 6 * 3**3, abs=0.2)
    assert measure(volume(A), volume(A), rule)["lesion_f1"] == 1
    lesions = find_lesions(volume(A), CUBE, rule)
    assert not find_calls(volume(((5, 5, 5), (7, 7, 7))), lesions).mask.any()  # 8 mm3


@pytest.mark.parametrize(
    ("called", "truth", "expected"),
    [
        ((), (), {"lesions": 0, "components_false": 0, "lesion_sensitivity": np.nan, "lesion_f1": np.nan}),
        ((A,), (), {"components_false": 1, "lesion_precision": 0, "lesion_f1": np.nan, "hd95_mm": np.nan}),
        ((), (A,), {"lesion_sensitivity": 0, "lesion_precision": np.nan, "lesion_f1": 0, "assd_mm": np.nan}),
        ((B,), (A,), {"lesion_sensitivity": 0, "lesion_precision": 0, "lesion_f1": 0}),
        ((A,), (A,), {"lesion_sensitivity": 1, "lesion_precision": 1, "lesion_f1": 1, "hd95_mm": 0, "assd_mm": 0}),
    ],
)
def test_empty_cases(called, truth, expected):
    found = measure(volume(*called), volume(*truth), ComponentRule())
    assert {name: found[name] for name in expected} == pytest.approx(expected, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.02, 0.5), st.sampled_from(["any", "iou"]))
def test_counts_whatever_the_masks(seed, share, overlap):
    generator = np.random.default_rng(seed)
    called, truth = (generator.random((6, 7, 5)) < share for _ in range(2))
    rule = ComponentRule(overlap=overlap, min_lesion_mm3=0, min_call_mm3=0)
    found = count(called, truth, rule)
    assert 0 <= found.lesions_found <= found.lesions == ndimage.label(truth, np.ones((3, 3, 3)))[1]
    assert 0 <= found.components_true <= found.components == ndimage.label(called, np.ones((3, 3, 3)))[1]
    turned = count(called.transpose(2, 0, 1)[::-1], truth.transpose(2, 0, 1)[::-1], rule)
    assert turned == found
    mirrored = count(truth, called, rule)  # both rules are symmetric
    assert (mirrored.lesions_found, mirrored.components_true) == (found.components_true, found.lesions_found)
    labels, lesions = ndimage.label(truth, np.ones((3, 3, 3)))
    if overlap == "any":
        assert found.lesions_found == sum(called[labels == i].any() for i in range(1, lesions + 1))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.tuples(*[st.floats(0.3, 6)] * 3))
def test_distances_are_those_of_brute_force(seed, spacing):
    generator = np.random.default_rng(seed)
    one, other = (
        ndimage.binary_dilation(generator.random((7, 6, 8)) < 0.03, iterations=generator.integers(1, 3))
        for _ in range(2)
    )
    found = surface_distances(one, other, spacing)
    if not (one.any() and other.any()):
        assert np.isnan(found).all()
        return
    points = [np.argwhere(mask & ~ndimage.binary_erosion(mask)) * spacing for mask in (one, other)]
    there, back = (cKDTree(points[1 - i]).query(points[i])[0] for i in (0, 1))
    assert found.hd95_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-4, abs=1e-4)
    assert found.assd_mm == pytest.approx(np.concatenate([there, back]).mean(), rel=1e-4, abs=1e-4)
    assert surface_distances(other, one, spacing) == pytest.approx(found)


def test_distances_in_millimetres():
    one, other = (volume(((i, 2, 2), (i + 3, 5, 5))) for i in (1, 3))
    found = surface_distances(one, other, (2.5, 1.0, 1.0))
    assert found.hd95_mm == pytest.approx(5)  # two voxels of 2.5 mm
    faces = np.array([5.0] * 9 + [2.5] * 8 + [0.0] * 9)  # of either, first face to last
    assert found.assd_mm == pytest.approx(faces.mean())
    far = surface_distances(volume(((0, 0, 0), (1, 1, 1))), volume(((0, 3, 4), (1, 4, 5))), CUBE)
    assert far == pytest.approx((5, 5))


def test_froc_counts_by_threshold_and_adds_over_cases():
    truth = volume(A, B)
    scores = np.where(volume(A), 0.9, np.where(volume(B), 0.5, np.where(volume(C), 0.7, 0.1)))
    thresholds = (0.95, 0.8, 0.6, 0.4, 0.05)
    found = froc_counts((scores >= t for t in thresholds), find_lesions(truth, CUBE))
    np.testing.assert_array_equal(found, [[2, 0, 0], [2, 1, 0], [2, 1, 1], [2, 2, 1], [2, 2, 0]])
    healthy = froc_counts((scores >= t for t in thresholds), find_lesions(volume(), CUBE))
    np.testing.assert_array_equal(healthy[:, 2], [0, 1, 2, 3, 1])
    curve = froc_curve([found, healthy])
    np.testing.assert_allclose(curve[:, 0], [0, 0.5, 1.5, 2, 0.5])
    np.testing.assert_allclose(curve[:, 1], [0, 0.5, 0.5, 1, 1])
    assert np.isnan(froc_curve([healthy])[:, 1]).all()


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ScoringError, match=r"12, 12, 12.*got \(3, 3, 3\)"):
        find_calls(volume(shape=(3, 3, 3)), find_lesions(volume(A), CUBE))
    with pytest.raises(ScoringError, match="one 3-D shape"):
        surface_distances(volume(A), volume(A)[:3], CUBE)
    with pytest.raises(ScoringError, match="3-D mask"):
        find_lesions(volume(A)[0], CUBE)
    for spacing in ((0.0, 1.0, 1.0), (1.0, 1.0, np.nan), (1.0, 1.0)):
        with pytest.raises(ScoringError, match="voxel sizes in mm"):
            find_lesions(volume(A), spacing)
    with pytest.raises(ScoringError, match="same thresholds"):
        froc_curve([np.zeros((2, 3)), np.zeros((3, 3))])
    with pytest.raises(ScoringError, match="none"):
        froc_curve([])
    with pytest.raises(ValueError, match="min_iou"):
        ComponentRule(min_iou=0)

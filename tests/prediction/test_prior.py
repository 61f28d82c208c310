import numpy as np
import pytest

from semcycle.errors import CheckpointError, PredictionError, ScoringError
from semcycle.methods.base import Reconstructed
from semcycle.prediction.postprocess import PRESETS, PostProcessing, filter_residuals, make_anomaly_map, process_map
from semcycle.prediction.prior import (
    EPS,
    HEIGHTS,
    HealthyPrior,
    add_evidence,
    find_cells,
    fit_prior,
    measure_moments,
)

SPACING = (100.0, 1.0, 1.0)  # so thick that the few voxels are a head of two litres
PLAIN = PostProcessing(prior=True, sign="positive")


def scan(seed=0, shape=(40, 24, 24)):
    """Residuals that are three times as large in CSF, and larger low in the head; returns x, reconstruction, brain."""
    generator = np.random.default_rng(seed)
    brain = np.zeros(shape, bool)
    brain[2:-2, 2:-2, 2:-2] = True
    tissue = np.zeros((shape[0], 3, *shape[1:]), np.float32)
    tissue[:, 1, :, : shape[2] // 2] = 1
    tissue[:, 2, :, shape[2] // 2 :] = 1
    size = np.where(tissue[:, 2] > 0, 0.09, 0.03) * np.linspace(2, 1, shape[0])[:, None, None]
    x = np.where(brain, 0.5 + np.abs(generator.normal(0, size)), 0).astype(np.float32)
    x[:, ::2] -= 2 * (x[:, ::2] - 0.5 * brain[:, ::2])  # every other row is darker than painted
    return x, Reconstructed(np.where(brain, np.float32(0.5), np.float32(0)), tissue), brain


def learn(scans, steps=PLAIN):
    parts = [
        measure_moments(
            filter_residuals(x, made, brain, steps.model_copy(update={"sign": "absolute"}), SPACING),
            brain, brain, made.tissue, SPACING,
        )
        for x, made, brain in scans
    ]  # fmt: skip
    return fit_prior(sum(parts[1:], parts[0]), steps.filters), parts


def test_healthy_scores_mean_the_same_in_every_tissue_and_at_every_height():
    prior, _ = learn([scan(seed) for seed in range(3)])
    x, made, brain = scan(seed=9)
    plain = make_anomaly_map(x, made, brain, PostProcessing(sign="positive"), SPACING)
    related = make_anomaly_map(x, made, brain, PLAIN.model_copy(update={"sign": "absolute"}), SPACING, prior)
    parts = [np.s_[2:12, 2:-2, 2:12], np.s_[2:12, 2:-2, 12:-2], np.s_[-12:-2, 2:-2, 2:12], np.s_[-12:-2, 2:-2, 12:-2]]
    raw = [np.quantile(plain[part], 0.95) for part in parts]
    same = [np.quantile(related[part], 0.95) for part in parts]
    assert max(raw) / min(raw) > 4
    assert max(same) / min(same) < 1.7
    assert related.max() < 1
    assert (related[~brain] == 0).all()


def test_the_equation():
    x, made, brain = scan()
    shape = (2, 4, 5, HEIGHTS)
    prior = HealthyPrior(np.full(shape, 0.1, np.float32), np.full(shape, 0.05, np.float32), PLAIN.filters)
    z = np.maximum(x - made.image, 0) / (0.1 + 2 * 0.05 + EPS)
    np.testing.assert_allclose(make_anomaly_map(x, made, brain, PLAIN, SPACING, prior), z / (1 + z), atol=1e-6)
    q = np.where(brain, np.float32(0.25), np.float32(0))
    both = make_anomaly_map(x, made._replace(score=q), brain, PLAIN, SPACING, prior)
    odds = np.exp(2 * (np.minimum(z, 3) - 1)) / 3
    np.testing.assert_allclose(both, np.where(brain, odds / (1 + odds), 0), atol=1e-5)
    assert not both[~brain].any()


def test_the_residual_has_a_width_of_its_own_beside_a_score():
    x, made, brain = scan()
    wide = PLAIN.model_copy(update={"gaussian_mm": 1.0, "residual_mm": 3.0})
    same = PLAIN.model_copy(update={"gaussian_mm": 3.0})
    for sign, part in filter_residuals(x, made, brain, wide, SPACING).items():
        np.testing.assert_array_equal(part, filter_residuals(x, made, brain, same, SPACING)[sign])
    assert wide.filters != PLAIN.model_copy(update={"gaussian_mm": 1.0}).filters


def test_dark_residuals_have_a_prior_of_their_own():
    prior, _ = learn([scan(seed) for seed in range(2)])
    x, made, brain = scan(seed=5)
    x[20, 11, 5] = 0.05
    dark = make_anomaly_map(x, made, brain, PLAIN.model_copy(update={"sign": "negative"}), SPACING, prior)
    bright = make_anomaly_map(x, made, brain, PLAIN, SPACING, prior)
    either = make_anomaly_map(x, made, brain, PLAIN.model_copy(update={"sign": "absolute"}), SPACING, prior)
    assert dark[20, 11, 5] > 0.6 > bright[20, 11, 5] == 0
    np.testing.assert_allclose(either, np.maximum(dark, bright))


def test_a_scan_left_out_is_as_if_it_had_not_been_there():
    scans = [scan(seed) for seed in range(3)]
    _, parts = learn(scans)
    alone, _ = learn(scans[:2])
    np.testing.assert_allclose(fit_prior(sum(parts[1:], parts[0]) - parts[2], PLAIN.filters).mean, alone.mean)


def test_methods_without_tissue_maps_have_one_class_and_others_are_refused_theirs():
    x, made, brain = scan()
    bare = made._replace(tissue=None)
    prior, _ = learn([(x, bare, brain)])
    assert prior.mean.shape == (2, 1, 5, HEIGHTS)
    assert make_anomaly_map(x, bare, brain, PLAIN, SPACING, prior).max() > 0
    with pytest.raises(PredictionError, match="4 tissue classes, got one of 1"):
        make_anomaly_map(x, made, brain, PLAIN, SPACING, prior)


def test_cells_count_heights_from_the_brains_lowest_slice_and_distances_from_its_edge():
    _, made, brain = scan()
    cells = find_cells(brain, made.tissue, (1.0, 1.0))
    height, band = (np.zeros(brain.shape, int) for _ in range(2))
    height[brain], band[brain] = cells.place % HEIGHTS, cells.place // HEIGHTS
    assert (height[2, 5, 5], height[-3, 5, 5]) == (0, HEIGHTS - 1)
    assert (band[9, 2, 9], band[9, 5, 9], band[9, 11, 11]) == (0, 2, 3)
    assert find_cells(np.zeros_like(brain), None, (1.0, 1.0)).place.size == 0


def test_prior_on_disk(tmp_path):
    prior, _ = learn([scan()])
    prior.save(tmp_path)
    again = HealthyPrior.load(tmp_path)
    np.testing.assert_array_equal(again.mean, prior.mean)
    np.testing.assert_array_equal(again.deviation, prior.deviation)
    assert again.steps == prior.steps
    assert HealthyPrior.load(tmp_path / "none") is None
    (tmp_path / "prior.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="damaged"):
        HealthyPrior.load(tmp_path)


def test_what_cannot_be_related_is_refused():
    x, made, brain = scan()
    prior, _ = learn([scan()])
    with pytest.raises(PredictionError, match="preset healthy: expected a model with a healthy prior"):
        make_anomaly_map(x, made, brain, "healthy", SPACING)
    with pytest.raises(PredictionError, match="expected the filters"):
        make_anomaly_map(x, made, brain, "healthy", SPACING, prior)
    with pytest.raises(ScoringError, match="prior=off"):
        process_map(x, brain, PRESETS["healthy"], SPACING)
    with pytest.raises(PredictionError, match="healthy voxels"):
        learn([(x, made, np.zeros_like(brain))])


def test_evidence_moves_the_log_odds():
    """Nothing where z is 1, 2 up where it is 2, at most 4 up and 2 down; certain probabilities stay finite."""
    q = np.array([0.2, 0.2, 0.2, 0.2, 0.0, 1.0], np.float32)
    z = np.array([1.0, 2.0, 50.0, 0.0, 3.0, 0.0], np.float32)
    scores = add_evidence(q, z).astype(float)
    odds = np.log(scores / (1 - scores))
    assert odds[:4] - np.log(0.25) == pytest.approx([0, 2, 4, -2], abs=1e-4)
    assert odds[4:] == pytest.approx([-np.log(999) + 4, np.log(999) - 2], abs=1e-3)

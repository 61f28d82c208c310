import numpy as np
import pytest

from semcycle.preprocess.quantiles import read_quantile, scan_quantiles


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.9, 0.998, 1])
def test_kept_quantiles_are_those_of_the_scan(share):
    image = np.random.default_rng(0).random((7, 20, 20), dtype=np.float32)
    assert read_quantile(scan_quantiles(image), share) == pytest.approx(np.quantile(image, share), abs=1e-6)


def test_others_lie_between_their_neighbours():
    image = np.random.default_rng(1).random((7, 20, 20), dtype=np.float32)
    low, high = np.quantile(image, [0.9, 0.901])
    assert low <= read_quantile(scan_quantiles(image), 0.9004) <= high

import numpy as np
import pytest

from semcycle.volume.regions import REGIONS, name_places, name_region

PLACES = {
    "frontal": [(-35, 40, 20), (5, 60, 0), (-5, 10, 60), (-40, -5, 50)],
    "parietal": [(45, -45, 50), (-8, -65, 45)],
    "temporal": [(-55, -20, -15), (30, 5, -35), (25, -25, -12)],
    "occipital": [(-10, -95, 5), (30, -88, 0)],
    "cerebellum": [(-25, -65, -40), (0, -60, -30)],
    "brain stem": [(0, -28, -40), (2, -25, -25)],
    "deep grey matter or insula": [(-12, -18, 8), (25, 5, 0), (38, 4, 0)],
}
"""Places far from any border, in mm of the template."""


@pytest.mark.parametrize("region", PLACES)
def test_places_far_from_borders_are_named_on_both_sides(region):
    places = np.array(PLACES[region], float).T
    for side in (1, -1):
        names = [list(REGIONS)[index] for index in name_places(places * [[side], [1], [1]])]
        assert names == [region] * places.shape[1]


def test_a_piece_has_each_region_that_holds_a_quarter_of_it():
    frontal, parietal = (30, 40, 20), (45, -45, 50)
    assert name_region(np.array([frontal] * 3 + [parietal] * 7, float).T) == "parietal, frontal"
    assert name_region(np.array([frontal] * 2 + [parietal] * 8, float).T) == "parietal"
    assert name_region(np.array([frontal], float).T) == "frontal"


def test_every_region_has_points_within_the_brain():
    points = np.array([point for points in REGIONS.values() for point in points])
    assert (points[:, 0] >= 0).all()
    assert (np.abs(points) < 110).all()

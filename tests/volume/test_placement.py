import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from semcycle.volume.placement import STEP_MM, brain_outline, place_brain


def moved_brain(angles, size, shift):
    """The template's brain turned, resized and moved, on its own grid; the way there, and its affine."""
    brain, grid = brain_outline()
    away = np.eye(4)
    away[:3, :3] = size * Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    away[:3, 3] = shift
    wide = grid.copy()
    wide[:3, 3] -= 10 * STEP_MM
    index = np.linalg.inv(away @ grid) @ wide
    made = ndimage.affine_transform(
        brain.astype(np.float32), index[:3, :3], index[:3, 3], tuple(n + 20 for n in brain.shape), order=1
    )
    return made > 0.5, wide, away


@pytest.mark.parametrize(("angles", "size", "shift"), [((0, 0, 0), 1, (0, 0, 0)), ((18, 8, -10), 0.9, (12, -20, 9))])
def test_a_moved_brain_is_brought_back(angles, size, shift):
    brain, affine, away = moved_brain(angles, size, shift)
    points = np.array([[0, 0, 0, 1], [-40, -60, 30, 1], [40, 30, -10, 1], [10, 50, 20, 1]]).T
    back = place_brain(brain, affine) @ away @ points
    assert np.linalg.norm((back - points)[:3], axis=0).max() < 2


@pytest.mark.parametrize("axes", [(2, 0, 1), (1, 2, 0)])
def test_any_order_of_axes_and_thick_slices_give_the_same(axes):
    brain, affine, _ = moved_brain((10, 0, 5), 1.05, (5, 5, 5))
    expected = place_brain(brain, affine)
    turned = affine.copy()
    turned[:, :3] = affine[:, list(axes)]
    assert place_brain(brain.transpose(axes), turned) == pytest.approx(expected, abs=1e-6)
    thick = place_brain(brain[:, :, ::2], affine @ np.diag([1, 1, 2, 1]))
    middle = np.array([-20, -20, 20, 1])
    assert np.linalg.norm((thick - expected) @ middle) < 3


def test_what_is_no_brain_has_no_place():
    assert place_brain(np.ones((20, 20, 3), bool), np.eye(4)) is None
    assert place_brain(np.ones((60, 4, 60), bool), np.diag([4.0, 4.0, 4.0, 1.0])) is None


def test_the_template_has_the_size_of_a_brain():
    brain, _ = brain_outline()
    assert 1500 < brain.sum() * STEP_MM**3 / 1000 < 2100


def test_a_large_brain_is_placed_by_every_second_voxel(monkeypatch):
    brain, affine, _ = moved_brain((10, 0, 5), 1.05, (5, 5, 5))
    fine, half = np.repeat(np.repeat(np.repeat(brain, 2, 0), 2, 1), 2, 2), np.diag([0.5, 0.5, 0.5, 1.0])
    half[:3, 3] = -0.25
    whole = place_brain(fine, affine @ half)
    monkeypatch.setattr("semcycle.volume.slabs.LARGE", 1000)
    middle = np.array([-20, -20, 20, 1])
    away = np.linalg.norm((place_brain(fine, affine @ half) - whole) @ middle)
    assert away < 2  # half of these fine voxels of 2 mm along each axis: they are pairs, whose first is taken

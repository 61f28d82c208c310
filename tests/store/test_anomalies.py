"""Drawn anomalies: where they may be, what the target says of them, and that all of it follows from a seed."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from semcycle.errors import StoreError, VolumeError
from semcycle.store.anomalies.acquisition import average_slices, move
from semcycle.store.anomalies.canvas import Canvas
from semcycle.store.anomalies.confounders import CONFOUNDERS, add_rim
from semcycle.store.anomalies.drawing import DrawingSettings, Drawn, draw_anomalies
from semcycle.store.anomalies.lesions import LESION_KINDS
from semcycle.store.anomalies.shapes import draw_blob, draw_wedge, place_pattern, read_patterns
from semcycle.volume.masks import label_components

SPACING = (3.0, 3.0, 3.0)


def head(depth: int = 44, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A ball of white matter under grey, with two ventricles; ``(S, H, W)``."""
    z, y, x = np.ogrid[-1 : 1 : depth * 1j, -1 : 1 : size * 1j, -1 : 1 : size * 1j]
    radius = np.sqrt(z**2 + y**2 + (1.2 * x) ** 2)
    brain = radius < 0.8
    image = np.where(radius < 0.62, 0.2, 0.3).astype(np.float32)
    image = np.where(((np.abs(x) - 0.12) ** 2 + (0.5 * y) ** 2 + z**2) < 0.015, 0.8, image)
    rng = np.random.default_rng(0)
    image = image + 0.01 * rng.standard_normal(image.shape).astype(np.float32)
    return np.where(brain, image, 0).astype(np.float32), brain


def draw(seed: int, kind: str | None = None, **changes: object) -> tuple[Drawn, np.ndarray]:
    image, brain = head()
    lesion = np.zeros_like(brain)
    lesion[18:24, 20:28, 38:44] = True
    lesion &= brain
    kinds = {"kinds": {kind: 1.0}, "healthy": 0.0, "second": 0.0} if kind else {}
    how = DrawingSettings.model_validate({"slices": 99, **kinds, **changes})
    return draw_anomalies(image, brain, lesion, SPACING, np.random.default_rng(seed), how), brain


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([None, *LESION_KINDS]))
def test_drawn_scan_stays_a_scan(seed: int, kind: str | None) -> None:
    made, _ = draw(seed, kind)
    assert made.image.min() >= 0
    assert made.image.max() <= 1
    assert (made.image[~made.brain] == 0).all()
    assert (made.target[~made.brain] == 0).all()
    assert set(np.unique(made.target)) <= {0, 1, 2}
    assert (np.diff(made.height) >= 0).all()
    assert 0 <= made.height.min() <= made.height.max() <= 1
    assert len(made.image) == len(made.height) == len(made.index)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(list(LESION_KINDS)))
def test_target_is_where_the_change_can_be_seen(seed: int, kind: str) -> None:
    """Without noise and thick slices the target follows from the scan with and the scan without lesions."""
    made, brain = draw(seed, kind, vary=False, confounders=False)
    image, _ = head()
    median = np.median(image[brain & (made.lesion == 0)])
    change = np.abs(made.image - made.clean)
    assert (change[made.target == 1] > 0.07 * median).all()
    assert (change[made.target == 0] <= 0.11 * np.maximum(median, made.clean[made.target == 0] * 4)).all()
    near = ndimage.binary_dilation(made.lesion, iterations=2) & brain
    assert (change[near] == 0).all()
    assert (made.target[near] == 0).all()


@pytest.mark.parametrize("kind", LESION_KINDS)
def test_every_kind_leaves_something_to_find(kind: str) -> None:
    found = [int((draw(seed, kind, vary=False, confounders=False)[0].target == 1).sum()) for seed in range(4)]
    assert max(found) > 20, f"{kind}: {found}"


def test_same_seed_same_scan_other_seed_another() -> None:
    first, again, other = draw(5)[0], draw(5)[0], draw(6)[0]
    for name in ("image", "target", "height", "brain"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.image.shape != other.image.shape or not np.array_equal(first.image, other.image)


def test_a_healthy_copy_has_no_target() -> None:
    made, _ = draw(1, healthy=1.0)
    assert made.kinds == ()
    assert not made.target.any()


@pytest.mark.parametrize("name", CONFOUNDERS)
def test_confounders_change_the_clean_scan_and_no_target(name: str) -> None:
    image, brain = head()
    canvas = Canvas.of(image, brain, np.zeros_like(brain), SPACING, np.random.default_rng(3))
    CONFOUNDERS[name][0](canvas)
    assert not np.array_equal(canvas.clean, image)
    assert (canvas.clean[~brain] == 0).all()
    assert not canvas.weight.any()


def test_bits_at_the_rim_are_outside_and_belong_to_the_mask() -> None:
    image, brain = head()
    more, mask = add_rim(image, brain, SPACING, np.random.default_rng(0))
    assert (mask & ~brain).sum() > 10
    np.testing.assert_array_equal(more[brain], image[brain])
    assert (more[mask & ~brain] > 0).all()


@settings(max_examples=10, deadline=None)
@given(st.floats(6, 18), st.sampled_from([(1.0, 3.0, 3.0), (3.0, 3.0, 3.0), (6.0, 2.0, 2.0)]))
def test_lengths_are_in_mm(radius: float, spacing: tuple[float, float, float]) -> None:
    """The same ball has the same volume whatever the voxels are."""
    shape = [round(150 / step) for step in spacing]
    blank = np.zeros(shape, np.float32)
    canvas = Canvas.of(blank, blank == 0, blank > 0, spacing, np.random.default_rng(1))
    _, weight, _ = draw_blob(canvas, np.array(shape) // 2, radius, rough=0.0, edge=0.02)
    drawn = np.random.default_rng(1)
    drawn.uniform(0, np.pi)
    expected = 4 / 3 * np.pi * np.prod(drawn.uniform(0.65, 1.4, 3) * radius)
    assert weight.sum() * np.prod(spacing) == pytest.approx(expected, rel=0.15)


def test_a_wedge_stays_in_one_hemisphere() -> None:
    image, brain = head()
    for seed in range(5):
        canvas = Canvas.of(image, brain, np.zeros_like(brain), SPACING, np.random.default_rng(seed))
        made = draw_wedge(canvas)
        assert made is not None
        box, weight = made
        left, right = np.array_split((weight > 0.5) & brain[box], 2, axis=2)
        assert min(left.sum(), right.sum()) == 0
        assert max(left.sum(), right.sum()) > 20


def test_widening_makes_the_middle_larger() -> None:
    image, brain = head()
    fluid = brain & (image > 0.6)
    sizes = []
    for seed in range(12):
        moved, (inside,) = move(image, [brain], SPACING, np.random.default_rng(seed), widen=0.9)
        sizes.append((inside & (moved > 0.6)).sum() / fluid.sum())
    assert max(sizes) > 1.3
    assert min(sizes) > 0.8
    # without it only the head's scale changes, by at most 7 % along two axes
    moved, (inside,) = move(image, [brain], SPACING, np.random.default_rng(int(np.argmax(sizes))), widen=0.0)
    assert (inside & (moved > 0.6)).sum() < 1.2 * fluid.sum()


def test_average_slices() -> None:
    data = np.arange(7.0)[:, None, None] * np.ones((1, 2, 2))
    np.testing.assert_allclose(average_slices(data, 2, 1, 2)[:, 0, 0], [1.5, 3.5, 5.5])
    np.testing.assert_allclose(average_slices(data, 1, 0, 3)[:, 0, 0], [0, 3, 6])


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """One patient with a large and a small lesion, on the grid of MNI masks."""
    mask = np.zeros((182, 218, 182), np.uint8)
    mask[60:80, 100:120, 80:100] = 1
    mask[110:114, 100:104, 90:94] = 1
    nib.save(
        nib.Nifti1Image(mask, np.array([[-1, 0, 0, 90], [0, 1, 0, -126], [0, 0, 1, -72], [0, 0, 0, 1.0]])),
        tmp_path / "a.nii",
    )
    return tmp_path


def test_patterns_keep_place_and_size(library: Path) -> None:
    (pattern,) = read_patterns(library)
    assert [pattern.mask[box].sum() for box in pattern.lesions] == [8000, 64]
    # x = 90 - 79 = 11 .. 30 mm: right of the middle in RAS, so the second half of W
    assert pattern.origin[2] + pattern.mask.shape[2] > pattern.brain[2] / 2
    image, brain = head()
    canvas = Canvas.of(image, brain, np.zeros_like(brain), SPACING, np.random.default_rng(0))
    made = place_pattern(canvas, pattern, component=1, centre=np.array([22, 32, 32]))
    assert made is not None
    assert made[1].sum() * 27 == pytest.approx(64, rel=0.9)
    whole = place_pattern(canvas, pattern)
    assert whole is not None
    labels, _ = label_components(whole[1] > 0.4, SPACING)
    assert labels.max() >= 1


def test_a_folder_without_masks_is_refused(library: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="found none"):
        read_patterns(library, leave_out=("a.nii",))
    (tmp_path / "a.nii").write_bytes(b"x" * 400)
    with pytest.raises(VolumeError):
        read_patterns(tmp_path)

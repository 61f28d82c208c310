"""Tissue providers ``atlas`` and ``priors``: templates registered to the scan, with a model of its T2 or without.

N4, SyN, and a Gaussian mixture with the warped templates as spatial priors: what SPM's unified segmentation does, in
separate steps of well-kept libraries and without MATLAB. Known lesions are left out of all three, so that a large
tumour does not bend the fit of the healthy brain. Accuracy and times are in ``docs/tissue-maps.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.cohorts.base import Case
from semcycle.errors import TissueError
from semcycle.preprocess.bias import fit_bias
from semcycle.tissue.base import TissueMaps, make_tissue_maps
from semcycle.tissue.mixture import PRIOR_FLOOR, Mixture, fit_mixture, posterior
from semcycle.types import VoxelArray, VoxelMask
from semcycle.volume import Volume, from_ras, ras_spacing, to_ras
from semcycle.volume.template import warp_template

REGISTRATION = {"full": (2.0, (40, 20, 0)), "fast": (3.0, (30, 0, 0))}
"""Voxel size in mm and SyN iterations, from coarse to fine."""
LESION_MARGIN = 2
"""Voxels round a known lesion that are left out with it."""


@dataclass(frozen=True)
class AtlasSegmentation:
    """Tissue maps from the packaged templates.

    Attributes:
        mode: ``full``, or ``fast``: registration at 3 mm in half the time, for a little less accuracy.
        fit: Whether the tissue model is fitted to the scan. Without it the maps are the warped templates: the reading
            of the paper's "probability maps" as an atlas (A8), which knows where tissue usually lies and not what is
            seen.
    """

    mode: Literal["full", "fast"] = "full"
    fit: bool = True

    def maps(self, case: Case, volume: Volume, brain: VoxelMask, lesion: VoxelMask) -> TissueMaps:
        """Tissue maps of a scan.

        Raises:
            TissueError: The fit did not find three tissues.
        """
        data, brain, lesion = (to_ras(array, volume.affine) for array in (volume.data, brain, lesion))
        spacing = ras_spacing(volume.affine)
        if self.fit:
            maps, _ = segment(data, spacing, brain, lesion, mode=self.mode)
        else:
            maps = warped_priors(data, spacing, brain, lesion, mode=self.mode)
        gm, wm, csf = (np.ascontiguousarray(from_ras(tissue_map, volume.affine)) for tissue_map in maps)
        return make_tissue_maps(gm, wm, csf, f"{volume.source} ({self.name})")

    @property
    def name(self) -> str:
        """The provider's name on the command line."""
        return "atlas" if self.fit else "priors"

    def describe(self) -> dict[str, str]:
        """Provider and mode."""
        return {"provider": self.name, "mode": self.mode}

    def files(self, case: Case) -> list[Path]:
        """None: the maps depend on the scan alone."""
        return []


def segment(
    data: VoxelArray,
    spacing: tuple[float, float, float],
    brain: VoxelMask,
    lesion: VoxelMask | None = None,
    *,
    mode: Literal["full", "fast"] = "full",
) -> tuple[VoxelArray, Mixture]:
    """Segment a T2 brain into GM, WM and CSF.

    Args:
        data: ``(I, J, K)`` T2 intensities, axes RAS+.
        spacing: Voxel size in mm.
        brain: ``(I, J, K)``.
        lesion: ``(I, J, K)`` known lesion, left out of the fits; it gets the probabilities of the fitted model.
        mode: ``full`` or ``fast``.

    Returns:
        ``(3, I, J, K)`` probabilities that sum to 1 in the brain and are 0 outside, and the fitted model.

    Raises:
        TissueError: Too little healthy brain to fit.
    """
    box = _bounding_box(brain)
    inside = brain[box]
    scaled, prior, fitted = _register(data[box], spacing, inside, None if lesion is None else lesion[box], mode)
    prior = prior + np.float32(PRIOR_FLOOR)
    prior /= prior.sum(axis=0)
    model = fit_mixture(scaled[fitted], prior[:, fitted])
    maps = np.zeros((3, *data.shape), np.float32)
    maps[(slice(None), *box)] = posterior(model, scaled, prior, inside)
    return maps, model


def warped_priors(
    data: VoxelArray,
    spacing: tuple[float, float, float],
    brain: VoxelMask,
    lesion: VoxelMask | None = None,
    *,
    mode: Literal["full", "fast"] = "full",
) -> VoxelArray:
    """The templates' GM, WM and CSF, registered to a T2 brain.

    Args and errors as for :func:`segment`.

    Returns:
        ``(3, I, J, K)`` probabilities with a sum of at most 1, 0 outside the brain.
    """
    box = _bounding_box(brain)
    _, prior, _ = _register(data[box], spacing, brain[box], None if lesion is None else lesion[box], mode)
    maps = np.zeros((3, *data.shape), np.float32)
    maps[(slice(None), *box)] = np.where(brain[box], prior, np.float32(0))
    return maps


def _register(
    data: VoxelArray,
    spacing: tuple[float, float, float],
    inside: VoxelMask,
    lesion: VoxelMask | None,
    mode: Literal["full", "fast"],
) -> tuple[VoxelArray, NDArray[np.float32], VoxelMask]:
    """Even out and scale the box of a brain and bring the templates to it.

    Returns:
        The box ``(I, J, K)`` scaled to about [0, 1], the templates ``(3, I, J, K)`` and the healthy part of the brain.
    """
    out = np.zeros(inside.shape, bool)
    if lesion is not None and lesion.any():
        out = ndimage.binary_dilation(lesion, iterations=LESION_MARGIN)
    fitted = inside & ~out
    if fitted.sum() < 1000:
        msg = (
            f"expected at least 1000 voxels of healthy brain to fit tissues on, got {int(fitted.sum())}; check the "
            "masks"
        )
        raise TissueError(msg)
    field = fit_bias(data, spacing, inside, out)
    scaled = np.where(inside, data / field, 0)
    scaled = (np.clip(scaled / np.percentile(scaled[fitted], 99.5), 0, 1.2) * inside).astype(np.float32)
    working_mm, iterations = REGISTRATION[mode]
    prior = warp_template(scaled, spacing, out, working_mm=working_mm, iterations=iterations)
    return scaled, prior, fitted


def _bounding_box(brain: VoxelMask) -> tuple[slice, slice, slice]:
    """The brain's box with a margin for the registration."""
    i, j, k = (slice(max(int(axis.min()) - 4, 0), int(axis.max()) + 5) for axis in np.nonzero(brain))
    return i, j, k


def full(folder: Path | None) -> AtlasSegmentation:
    """The provider ``atlas``; it needs no folder."""
    return _without_folder(folder, AtlasSegmentation("full"))


def fast(folder: Path | None) -> AtlasSegmentation:
    """The provider ``atlas-fast``; it needs no folder."""
    return _without_folder(folder, AtlasSegmentation("fast"))


def priors(folder: Path | None) -> AtlasSegmentation:
    """The provider ``priors``; it needs no folder."""
    return _without_folder(folder, AtlasSegmentation("full", fit=False))


def _without_folder(folder: Path | None, provider: AtlasSegmentation) -> AtlasSegmentation:
    if folder is not None:
        msg = (
            f"{folder}: expected no --tissue-dir with --tissue {provider.name}, which makes the maps itself; use "
            "--tissue maps"
        )
        raise TissueError(msg)
    return provider

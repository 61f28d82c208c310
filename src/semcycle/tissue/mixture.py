"""Tissue model: a Gaussian mixture on T2 intensities with spatial priors, as unified segmentation has it.

After [ashburner2005], without its inner registration: GM and WM are one
Gaussian each, CSF two. Guards keep a large lesion, a strong atrophy or a thin CSF from turning one tissue into another:
tissue weights stay within human proportions, and GM and WM stay near where they began.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.types import VoxelArray, VoxelMask

_BINS = 512
_COMPONENTS = (0, 1, 2, 2)
"""Tissue (GM, WM, CSF) of every Gaussian."""
TISSUE_WEIGHTS = (0.2, 0.5)
"""Range of a tissue's share; free weights run away in atrophied and lesioned brains."""
MEAN_RANGE, SD_RANGE = 1.5, 2.0
"""How far a GM or WM mean may move, in starting sd, and how much wider its sd may become."""
_NEIGHBOURS = 0.3
"""Strength of the Markov random field, per face neighbour."""
PRIOR_FLOOR = 0.05


@dataclass(frozen=True)
class Mixture:
    """A fitted tissue model.

    Attributes:
        means: ``(4,)`` GM, WM, CSF, CSF.
        sds: ``(4,)``.
        shares: ``(4,)`` of a tissue's Gaussians; those of one tissue sum to 1.
        weights: ``(3,)`` global tissue weights.
        iterations: How many it took.
    """

    means: NDArray[np.float64]
    sds: NDArray[np.float64]
    shares: NDArray[np.float64]
    weights: NDArray[np.float64]
    iterations: int

    def likelihood(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """``(3, N)`` of ``(N,)`` intensities under GM, WM and CSF."""
        density = self.shares[:, None] * _gaussians(values, self.means, self.sds)
        return np.stack([density[0], density[1], density[2] + density[3]]).astype(np.float32)


def fit_mixture(
    values: NDArray[np.floating], prior: NDArray[np.floating], *, iterations: int = 60, tolerance: float = 1e-4
) -> Mixture:
    """Fit the model by expectation-maximisation on binned intensities.

    Args:
        values: ``(N,)`` intensities of brain voxels, scaled to about [0, 1].
        prior: ``(3, N)`` GM, WM, CSF probabilities that sum to 1.
        iterations: At most.
        tolerance: Stop when the mean log-likelihood changes by less (the guards can lower it).
    """
    centres, index = _bin(values)
    model = _start(values, prior)
    first_means, first_sds = model.means[:2].copy(), model.sds[:2].copy()
    before = -np.inf
    for step in range(1, iterations + 1):
        table = model.likelihood(centres)  # (3, _BINS)
        joint = prior * model.weights[:, None] * table[:, index]
        total = joint.sum(axis=0) + 1e-30
        mass = np.stack(
            [np.bincount(index, part / total, _BINS).astype(float) for part in joint]
        )  # (3, _BINS) responsibility a bin
        # SPM's update of the weights: responsibility over what the prior alone would give
        expected = prior @ (1 / (model.weights @ prior))
        weights = np.clip(mass.sum(axis=1) / expected, 1e-6, None)
        weights = np.clip(weights / weights.sum(), *TISSUE_WEIGHTS)
        model = _maximise(model, mass, centres, weights / weights.sum(), first_means, first_sds, step)
        now = float(np.log(total).mean())
        if abs(now - before) < tolerance:
            break
        before = now
    return model


def posterior(
    model: Mixture, data: VoxelArray, prior: NDArray[np.float32], brain: VoxelMask, sweeps: int = 3
) -> NDArray[np.float32]:
    """Tissue probabilities, smoothed by a Markov random field (mean field, face neighbours).

    Args:
        model: The fitted model.
        data: ``(I, J, K)`` intensities, scaled as for the fit.
        prior: ``(3, I, J, K)`` that sum to 1 in the brain.
        brain: ``(I, J, K)``.
        sweeps: Mean-field iterations.

    Returns:
        ``(3, I, J, K)`` that sum to 1 in the brain and are 0 outside.
    """
    centres, index = _bin(data[brain])
    evidence = np.zeros(prior.shape, np.float32)
    evidence[:, brain] = prior[:, brain] * model.weights[:, None] * model.likelihood(centres)[:, index] + 1e-12
    q = evidence / np.maximum(evidence.sum(axis=0), 1e-30)
    faces = ndimage.generate_binary_structure(3, 1).astype(np.float32)
    faces[1, 1, 1] = 0
    for _ in range(sweeps):
        near = np.stack([_neighbours(part) for part in q])
        q = evidence * np.exp(_NEIGHBOURS * near)
        q /= np.maximum(q.sum(axis=0), 1e-30)
    return np.where(brain, q, np.float32(0))


def _neighbours(part: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum over the six face neighbours, 0 beyond the edge."""
    total = np.zeros_like(part)
    for axis in range(3):
        ahead, behind = [slice(None)] * 3, [slice(None)] * 3
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        total[tuple(behind)] += part[tuple(ahead)]
        total[tuple(ahead)] += part[tuple(behind)]
    return total


def _bin(values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Bin centres over [0, 1.2] and every value's bin; brighter is the last bin."""
    width = 1.2 / _BINS
    centres = np.asarray((np.arange(_BINS) + 0.5) * width, float)
    return centres, np.clip(values / width, 0, _BINS - 1).astype(np.intp)


def _gaussians(
    values: NDArray[np.floating], means: NDArray[np.float64], sds: NDArray[np.float64]
) -> NDArray[np.float64]:
    z = (np.asarray(values, float)[None] - means[:, None]) / sds[:, None]
    return np.exp(-0.5 * z * z) / (sds[:, None] * np.sqrt(2 * np.pi))


def _start(values: NDArray[np.floating], prior: NDArray[np.floating]) -> Mixture:
    """Median and MAD of the voxels where each prior is highest."""
    means, sds = np.empty(3), np.empty(3)
    for tissue in range(3):
        sure = values[prior[tissue] >= np.quantile(prior[tissue], 0.9)]
        means[tissue] = np.median(sure)
        sds[tissue] = max(1.4826 * float(np.median(np.abs(sure - means[tissue]))), 0.01)
    split = 0.5 * sds[2]
    return Mixture(
        np.array([means[0], means[1], means[2] - split, means[2] + split]),
        np.array([sds[0], sds[1], sds[2], sds[2]]),
        np.array([1, 1, 0.5, 0.5]),
        np.full(3, 1 / 3),
        0,
    )


def _maximise(
    model: Mixture,
    mass: NDArray[np.float64],
    centres: NDArray[np.float64],
    weights: NDArray[np.float64],
    first_means: NDArray[np.float64],
    first_sds: NDArray[np.float64],
    step: int,
) -> Mixture:
    """New means, widths and shares from the responsibilities of every bin."""
    density = model.shares[:, None] * _gaussians(centres, model.means, model.sds)
    owner = np.array(_COMPONENTS)
    within = density / np.maximum(np.stack([density[owner == tissue].sum(axis=0) for tissue in owner]), 1e-300)
    part = mass[owner] * within  # (4, _BINS)
    size = part.sum(axis=1) + 1e-9
    means = part @ centres / size
    sds = np.sqrt((part * (centres - means[:, None]) ** 2).sum(axis=1) / size)
    means[:2] = np.clip(means[:2], first_means - MEAN_RANGE * first_sds, first_means + MEAN_RANGE * first_sds)
    sds[:2] = np.minimum(sds[:2], SD_RANGE * first_sds)
    shares = size / np.array([size[owner == tissue].sum() for tissue in owner])
    return Mixture(means, np.maximum(sds, 0.005), shares, weights, step)

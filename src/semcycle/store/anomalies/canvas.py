"""Canvas: a scan before and after lesions are drawn into it, and how much of each voxel is lesion."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.types import Box, SliceArray, SliceMask, Spacing


@dataclass
class Canvas:
    """A scan to draw on. Shapes ``(S, H, W)``, intensities in [0, 1].

    Attributes:
        clean: The scan without drawn lesions.
        pasted: The scan with them.
        weight: Share of each voxel that is drawn lesion, in [0, 1].
        brain: Nothing is drawn outside.
        avoid: Nothing is drawn here: around the lesions of a patient.
        spacing: Voxel size in mm.
        rng: Source of everything random.
    """

    clean: SliceArray
    pasted: SliceArray
    weight: SliceArray
    brain: SliceMask
    avoid: SliceMask
    spacing: Spacing
    rng: np.random.Generator
    median: float = field(init=False)
    fluid: float = field(init=False)

    def __post_init__(self) -> None:
        inside = self.clean[self.brain & ~self.avoid]
        self.median = float(np.median(inside)) if inside.size else 1.0
        self.fluid = float(np.quantile(inside, 0.97)) if inside.size else 1.0

    @classmethod
    def of(
        cls, image: SliceArray, brain: SliceMask, avoid: SliceMask, spacing: Spacing, rng: np.random.Generator
    ) -> Canvas:
        """A canvas on which nothing is drawn yet."""
        clean = np.array(image, np.float32)
        return cls(clean, clean.copy(), np.zeros_like(clean), brain, avoid, spacing, rng)

    @property
    def free(self) -> SliceMask:
        """Where lesions may be drawn."""
        return self.brain & ~self.avoid

    def white(self) -> SliceMask:
        """What is likely white matter: the darker part of the brain, a few mm from its edge."""
        blurred = ndimage.gaussian_filter(self.clean, [1.5 / step for step in self.spacing])
        depth = max(1, round(4 / self.spacing[1]))
        inner = ndimage.minimum_filter(self.brain, size=(1, 2 * depth + 1, 2 * depth + 1))
        return self.free & inner & (blurred < 0.97 * self.median) & (blurred > 0.4 * self.median)

    def solid(self, box: Box) -> NDArray[np.float32]:
        """1 in tissue, 0 in fluid, of a box: where a lesion of the tissue can be."""
        blurred = ndimage.gaussian_filter(self.clean[box], 0.5)
        level = 0.5 * (self.median + self.fluid)
        return sigmoid((level - blurred) / (0.08 * self.median))

    def add(self, box: Box, weight: NDArray[np.float32], level: NDArray[np.float32], strength: float = 1.0) -> None:
        """Blend a lesion into a box.

        Args:
            box: Where.
            weight: Share of each voxel that is lesion.
            level: Its intensities.
            strength: How much of the tissue it replaces.
        """
        weight = weight * self.free[box]
        mixed = self.pasted[box] + strength * weight * (level - self.pasted[box])
        self.pasted[box] = np.clip(mixed, 0, 1)
        self.weight[box] = np.maximum(self.weight[box], weight)

    def box(self, centre: NDArray[np.intp], reach_mm: float) -> Box:
        """The part of the grid within a distance of a voxel, along each axis."""
        sides = []
        for at, step, size in zip(centre, self.spacing, self.clean.shape, strict=True):
            reach = int(np.ceil(reach_mm / step)) + 1
            sides.append(slice(max(0, int(at) - reach), min(size, int(at) + reach + 1)))
        s, h, w = sides
        return s, h, w

    def distances(self, box: Box, centre: NDArray[np.floating | np.intp]) -> list[NDArray[np.float32]]:
        """Distances in mm from a point along the axes of a box, each broadcastable to it."""
        lines = []
        for axis, (side, at, step) in enumerate(zip(box, centre, self.spacing, strict=True)):
            line = (np.arange(side.start, side.stop, dtype=np.float32) - np.float32(at)) * np.float32(step)
            lines.append(line.reshape([-1 if axis == other else 1 for other in range(3)]))
        return lines

    def pick(self, where: SliceMask) -> NDArray[np.intp] | None:
        """A random voxel of a mask; ``None`` of an empty one."""
        chosen = np.flatnonzero(where)
        if not len(chosen):
            return None
        return np.array(np.unravel_index(int(self.rng.choice(chosen)), where.shape))

    def noise(self, shape: tuple[int, ...], length_mm: float) -> NDArray[np.float32]:
        """A smooth random field of mean 0 and standard deviation 1 with details of about ``length_mm``."""
        steps = [max(1.0, length_mm / step) for step in self.spacing]
        coarse = [int(np.ceil(size / step)) + 4 for size, step in zip(shape, steps, strict=True)]
        grid = self.rng.standard_normal(coarse).astype(np.float32)
        scale = np.diag([1 / step for step in steps])
        field = ndimage.affine_transform(grid, scale, offset=self.rng.uniform(1, 2, 3), output_shape=shape, order=2)
        spread = float(field.std())
        return np.asarray((field - field.mean()) / max(spread, 1e-3), np.float32)


def sigmoid(value: NDArray[np.floating]) -> NDArray[np.float32]:
    """1 / (1 + exp(-v)), without overflow."""
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -30, 30))), np.float32)

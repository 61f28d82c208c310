"""Pictures of scored maps: the slice with the largest lesion of the first cases that have one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from semcycle.scoring.map_reader import MapVoxels
from semcycle.scoring.metrics.counts import ScoreCounts
from semcycle.scoring.metrics.metrics import threshold_at_fpr
from semcycle.scoring.panels import Panel, RunPanel

MOST = 12
"""Cases that get a picture."""
FLAT = np.float32(0.35)
"""Grey of the brain where no scan was given."""


@dataclass
class MapPictures:
    """Collects slices while cases are read; scores are brought to [0, 1] once their range is known.

    Attributes:
        kept: Panels whose runs are still empty, and the scores ``(H, W)`` by method and preset.
    """

    kept: list[tuple[Panel, dict[tuple[str, str], NDArray[np.float32]]]] = field(default_factory=list)

    def add(self, case: str, voxels: MapVoxels, scores: Mapping[tuple[str, str], NDArray[np.float32]]) -> None:
        """Keep the slice with the largest lesion, if there is one and not enough are kept.

        Args:
            case: Name.
            voxels: Masks and image.
            scores: Method and preset -> ``(S, H, W)``.
        """
        sizes = voxels.truth.sum(axis=(1, 2))
        if len(self.kept) == MOST or not sizes.any():
            return
        shown = int(sizes.argmax())
        brain = voxels.brain[shown]
        x = np.where(brain, FLAT, np.float32(0))
        if voxels.image is not None:
            white = max(float(np.percentile(voxels.image[voxels.brain], 99.8)), 1e-9)
            x = np.clip(voxels.image[shown] / np.float32(white), 0, 1)
        panel = Panel(case, voxels.first_slice + shown, x, brain, voxels.truth[shown])
        self.kept.append((panel, {key: some[shown].copy() for key, some in scores.items()}))

    def panels(self, counts: Mapping[tuple[str, str], ScoreCounts]) -> list[Panel]:
        """Panels with scores in [0, 1]: 0 is the median of the voxels outside lesions, 1 what one in a thousand passes.

        Args:
            counts: Method and preset -> all test cases together.
        """
        ranges = {key: _shown_range(some) for key, some in counts.items()}
        for panel, scores in self.kept:
            by_run: dict[str, dict[str, NDArray[np.float32]]] = {}
            for (method, preset), some in scores.items():
                low, high = ranges[method, preset]
                scaled = np.clip((some.astype(np.float64) - low) / (high - low), 0, 1)
                by_run.setdefault(method, {})[preset] = np.where(panel.brain, scaled, 0).astype(np.float32)
            panel.runs.update({name: RunPanel(None, None, found) for name, found in by_run.items()})
        return [panel for panel, _ in self.kept]


def _shown_range(counts: ScoreCounts) -> tuple[float, float]:
    used = counts.code.decode(np.flatnonzero(counts.positives + counts.negatives))
    low, high = threshold_at_fpr(counts, 0.5), threshold_at_fpr(counts, 0.001)
    low, high = low if np.isfinite(low) else float(used[0]), high if np.isfinite(high) else float(used[-1])
    return (
        (low, high)
        if high > low
        else (float(used[0]), max(float(used[-1]), float(used[0]) + 1e-6 * max(abs(float(used[0])), 1)))
    )

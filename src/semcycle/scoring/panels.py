"""Panels: the slices worth a picture, kept beside the scores so that a report can be drawn later."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import ScoringError
from semcycle.files import write_bytes
from semcycle.scoring.cases import Key, ScoredCase
from semcycle.scoring.metrics.counts import ScoreCounts
from semcycle.scoring.metrics.metrics import threshold_at_fpr

FLAT = np.float32(0.35)
"""Grey of the brain where no scan was given."""


@dataclass(frozen=True)
class RunPanel:
    """What one run made of a slice.

    Attributes:
        reconstruction: ``(H, W)`` in [0, 1]; ``None`` for a method that reconstructs nothing.
        tissue: ``(3, H, W)`` GM, WM, CSF in [0, 1], or ``None``.
        scores: Preset -> anomaly score ``(H, W)`` in [0, 1].
    """

    reconstruction: NDArray[np.float32] | None
    tissue: NDArray[np.float32] | None
    scores: dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Panel:
    """One slice of a test case with the expert's mask and what every run made of it.

    Attributes:
        case_id: The case.
        slice_index: Index of the slice from the foot in the scan.
        x: ``(H, W)`` intensities in [0, 1].
        brain: ``(H, W)`` bool.
        truth: ``(H, W)`` bool, the expert's lesion.
        runs: Run name -> its part.
    """

    case_id: str
    slice_index: int
    x: NDArray[np.float32]
    brain: NDArray[np.bool_]
    truth: NDArray[np.bool_]
    runs: dict[str, RunPanel] = field(default_factory=dict)


def draw_panel(case: ScoredCase) -> Panel | None:
    """The slice with the largest lesion; ``None`` for a case without."""
    sizes = case.truth.sum(axis=(1, 2))
    if not sizes.any():
        return None
    shown = int(sizes.argmax())
    brain = case.brain[shown]
    x = np.where(brain, FLAT, np.float32(0)) if case.image is None else case.image[shown]
    runs: dict[str, RunPanel] = {}
    for (run, preset), scores in case.maps.items():
        if run not in runs:
            reconstruction, tissue = (
                None if part is None else part[shown].copy() for part in case.shown.get(run, (None, None))
            )
            runs[run] = RunPanel(reconstruction, tissue, {})
        runs[run].scores[preset] = scores[shown].copy()
    index = case.slice_index[shown] if len(case.slice_index) else shown
    return Panel(case.case, int(index), x.copy(), brain.copy(), case.truth[shown].copy(), runs)


def rescale_panels(panels: Sequence[Panel], counts: Mapping[Key, ScoreCounts]) -> None:
    """Bring scores of any range to [0, 1]: from the median outside lesions to what one such voxel in 1000 passes.

    Args:
        panels: Of maps in their own range; changed.
        counts: Run and preset -> all test cases together.
    """
    ranges = {key: _shown_range(pooled) for key, pooled in counts.items()}
    for panel in panels:
        for name, run in panel.runs.items():
            for preset, scores in run.scores.items():
                low, high = ranges[name, preset]
                scaled = np.clip((scores.astype(np.float64) - low) / (high - low), 0, 1)
                run.scores[preset] = np.where(panel.brain, scaled, 0).astype(np.float32)


def _shown_range(counts: ScoreCounts) -> tuple[float, float]:
    lowest, highest = (float(score) for score in counts.code.decode(counts.codes[[0, -1]]))
    low, high = threshold_at_fpr(counts, 0.5), threshold_at_fpr(counts, 0.001)
    low, high = low if np.isfinite(low) else lowest, high if np.isfinite(high) else highest
    return (low, high) if high > low else (lowest, max(highest, lowest + 1e-6 * max(abs(lowest), 1)))


def save_panels(path: Path, panels: Iterable[Panel]) -> None:
    """Write panels as one compressed ``.npz`` (arrays only, no pickle)."""
    arrays: dict[str, NDArray[np.generic]] = {}
    index = []
    for number, panel in enumerate(panels):
        runs = []
        for position, (name, run) in enumerate(panel.runs.items()):
            runs.append({"name": name, "presets": list(run.scores)})
            stem = f"{number}/{position}"
            if run.reconstruction is not None:
                arrays[f"{stem}/reconstruction"] = run.reconstruction.astype(np.float16)
            if run.tissue is not None:
                arrays[f"{stem}/tissue"] = run.tissue.astype(np.float16)
            arrays |= {f"{stem}/{preset}": score.astype(np.float16) for preset, score in run.scores.items()}
        index.append({"case_id": panel.case_id, "slice_index": int(panel.slice_index), "runs": runs})
        arrays[f"{number}/x"] = panel.x.astype(np.float16)
        arrays[f"{number}/brain"] = panel.brain
        arrays[f"{number}/truth"] = panel.truth
    arrays["index"] = np.frombuffer(json.dumps(index).encode(), np.uint8)
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_bytes(path, content.getvalue())


def load_panels(path: Path) -> list[Panel]:
    """Read what :func:`save_panels` wrote.

    Raises:
        ScoringError: The file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            index = json.loads(arrays["index"].tobytes())
            return [_read_panel(arrays, number, entry) for number, entry in enumerate(index)]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        msg = f"{path}: expected the panels of a `semcycle score`, got a missing or damaged file ({error}); score again"
        raise ScoringError(msg) from error


def _read_panel(arrays: np.lib.npyio.NpzFile, number: int, entry: dict) -> Panel:
    def read(name: str) -> NDArray[np.float32] | None:
        key = f"{number}/{name}"
        return arrays[key].astype(np.float32) if key in arrays else None

    runs = {}
    for position, run in enumerate(entry["runs"]):
        stem = f"{position}"
        scores = {preset: arrays[f"{number}/{stem}/{preset}"].astype(np.float32) for preset in run["presets"]}
        runs[run["name"]] = RunPanel(read(f"{stem}/reconstruction"), read(f"{stem}/tissue"), scores)
    x = arrays[f"{number}/x"].astype(np.float32)
    brain, truth = arrays[f"{number}/brain"], arrays[f"{number}/truth"]
    return Panel(entry["case_id"], entry["slice_index"], x, brain, truth, runs)

"""Findings: the pieces of a lesion mask one by one, as a reader would list them: how large, where, in what, how sure.

Places in words come from a coarse alignment with a template brain (:mod:`semcycle.volume.placement`) and name the lobe
(:mod:`semcycle.volume.regions`), never a gyrus.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.files import write_bytes
from semcycle.spreadsheet import defuse_frame
from semcycle.types import Affine, VoxelMask
from semcycle.volume.masks import NEIGHBOURS
from semcycle.volume.placement import place_brain
from semcycle.volume.regions import name_region
from semcycle.volume.slabs import cut_slabs

if TYPE_CHECKING:
    from semcycle.prediction.prediction import Prediction
    from semcycle.training.calibration import HealthyComponents

FINDINGS = "_findings.csv"
"""Ending of the table of findings."""
AROUND_MM = 3.0
"""How far round a piece the tissue is looked at that it sits in; within it a lesion is taken for another tissue."""
ONE_SIDE = 0.8
"""Share of a piece's voxels on one side from which it is called left or right."""
TISSUE_WORDS = ("grey matter", "white matter", "CSF")
SAME_CUT = 1e-3
"""Growth thresholds that differ by less than this make the same pieces, for counting."""
_MAX_VOXELS = 20_000
"""Of a piece, evenly chosen, that are looked at for means over the working grid."""


@dataclass(frozen=True)
class Finding:
    """A piece of the lesion mask; ``None`` and ``""`` where nothing is known.

    Attributes:
        number: From 1, the largest first.
        volume_ml: Its volume.
        peak_score: Highest anomaly score.
        mean_score: Mean anomaly score.
        voxel: ``(i, j, k)`` from 0: its voxel that is nearest to its centre of mass.
        mm: The same place in the scan's mm, right, anterior and superior positive.
        template_mm: The same place in the template, some mm wrong.
        side: ``left``, ``right`` (the patient's) or ``both sides``.
        region: About which lobe, cerebellum, brain stem, or ``deep grey matter or insula``; several where a quarter of
            it or more lies in each.
        tissue: That most of its surroundings are, by the model's tissue maps.
        contrast: ``brighter`` or ``darker`` than the healthy reconstruction.
        difference: Mean of x - G(S(x)) in it, in units of the intensity scale.
        healthy_with: Scans of the healthy cohort with a component at least this large and high.
        healthy_scans: Scans of that cohort.
    """

    number: int
    volume_ml: float
    peak_score: float
    mean_score: float
    voxel: tuple[int, int, int]
    mm: tuple[float, float, float]
    template_mm: tuple[float, float, float] | None
    side: str
    region: str
    tissue: str
    contrast: str
    difference: float
    healthy_with: int | None
    healthy_scans: int | None


def list_findings(prediction: Prediction) -> list[Finding]:
    """The pieces of a lesion mask, the largest first; none without a threshold."""
    components, affine = prediction.components(), prediction.volume.affine
    if components is None or not components.count:
        return []
    to_template = place_brain(prediction.prepared.brain_native, affine)
    health = _comparable(prediction)
    boxes = [box[::-1] for box in ndimage.find_objects(components.labels.T)]  # along memory
    findings = []
    for number, label in enumerate(np.argsort(-components.sizes_ml, kind="stable"), start=1):
        box, ml = boxes[label], float(components.sizes_ml[label])
        inside = components.labels[box] == label + 1
        scores = prediction.anomaly_native(box[2])[box[:2]][inside]
        voxels = np.argwhere(inside)
        voxels += [part.start for part in box]
        centre = voxels[_distances(voxels, voxels.mean(axis=0)).argmin()]
        some = voxels[:: 1 + len(voxels) // _MAX_VOXELS]
        pixels = tuple(prediction.prepared.record.grid.locate(some).T)
        difference = float((prediction.prepared.image[pixels] - prediction.reconstruction[pixels]).mean())
        place = _Place.find(some, centre, affine, to_template)
        peak = float(scores.max())
        findings.append(
            Finding(
                number=number,
                volume_ml=round(ml, 3),
                peak_score=round(peak, 4),
                mean_score=round(float(scores.mean()), 4),
                voxel=_three(centre, 0),
                mm=_three(affine[:3, :3] @ centre + affine[:3, 3], 1),
                template_mm=place.mm,
                side=place.side,
                region=place.region,
                tissue=_surroundings(prediction, components.labels, box, label + 1),
                contrast="brighter" if difference >= 0 else "darker",
                difference=round(difference, 4),
                healthy_with=health.scans_with(ml, peak) if health else None,
                healthy_scans=health.count if health else None,
            )
        )
    return findings


def findings_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """A row a finding, a column a number: ``voxel`` becomes ``i, j, k``, the places ``x_mm``, ``template_x_mm``, ..."""
    rows = []
    for finding in findings:
        row = asdict(finding)
        i, j, k = row.pop("voxel")
        mm, template = row.pop("mm"), row.pop("template_mm") or (None,) * 3
        places = {f"{axis}_mm": value for axis, value in zip("xyz", mm, strict=True)}
        places |= {f"template_{axis}_mm": value for axis, value in zip("xyz", template, strict=True)}
        rows.append({**row, **places, "i": i, "j": j, "k": k})
    return pd.DataFrame(rows, columns=COLUMNS)


COLUMNS = (
    *("number", "volume_ml", "peak_score", "mean_score", "x_mm", "y_mm", "z_mm", "i", "j", "k", "side", "region"),
    *("template_x_mm", "template_y_mm", "template_z_mm", "tissue", "contrast", "difference"),
    *("healthy_with", "healthy_scans"),
)
"""Of the table of findings."""


def write_findings(path: Path, findings: Sequence[Finding]) -> Path:
    """Write ``<name>_findings.csv``, a header alone where nothing was found."""
    text = io.StringIO()
    defuse_frame(findings_table(findings)).to_csv(text, index=False)
    write_bytes(path, text.getvalue().encode())
    return path


@dataclass(frozen=True)
class _Place:
    """Where a finding lies in the template."""

    mm: tuple[float, float, float] | None = None
    side: str = ""
    region: str = ""

    @classmethod
    def find(cls, voxels: NDArray[np.intp], centre: NDArray[np.intp], affine: Affine, to: Affine | None) -> _Place:
        if to is None:
            return cls()
        spots = (to @ affine @ np.vstack([np.vstack([centre, voxels]).T, np.ones(len(voxels) + 1)]))[:3]
        left = float((spots[0] < 0).mean())
        side = "left" if left >= ONE_SIDE else "right" if left <= 1 - ONE_SIDE else "both sides"
        return cls(_three(spots[:, 0], 0), side, name_region(spots[:, 1:]))


def _distances(voxels: NDArray[np.intp], middle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squares of the distances in voxels, an axis at a time: a large scan's pieces have millions of voxels."""
    squares = np.zeros(len(voxels))
    for index, place in zip(voxels.T, middle, strict=True):
        squares += np.square(index - place)
    return squares


def _comparable(prediction: Prediction) -> HealthyComponents | None:
    """The healthy cohort's components, where they were cut out of the scores as this mask was."""
    threshold, health = prediction.threshold, prediction.health
    if threshold is None or health is None:
        return None
    grow = threshold.value if threshold.grow is None else threshold.grow
    return health if abs(grow - health.grow) < SAME_CUT else None


def _surroundings(prediction: Prediction, labels: NDArray[np.int32], box: tuple[slice, ...], label: int) -> str:
    """The tissue that most of a thin rim of brain around a piece is, none where the method has no tissue maps."""
    if prediction.tissue is None:
        return ""
    reach = [int(np.ceil(AROUND_MM / side)) for side in prediction.volume.spacing]
    wide = tuple(slice(max(part.start - n, 0), part.stop + n) for part, n in zip(box, reach, strict=True))
    stride = 1 if len(cut_slabs(labels.shape)) == 1 else 2
    near = labels[wide][::stride, ::stride, ::stride]
    brain = prediction.prepared.brain_native[wide][::stride, ::stride, ::stride]
    free = near != label
    if free.all():  # a piece of few voxels between those of every second
        return ""
    distance = ndimage.distance_transform_edt(free, [stride * side for side in prediction.volume.spacing])
    rim: VoxelMask = free & (distance <= AROUND_MM) & (near == 0) & brain
    if not rim.any():
        rim = ndimage.binary_dilation(~free, NEIGHBOURS) & free
    voxels = stride * np.argwhere(rim) + [part.start for part in wide]
    slices, rows, columns = prediction.prepared.record.grid.locate(voxels[:: 1 + len(voxels) // _MAX_VOXELS]).T
    shares = prediction.tissue[slices, :, rows, columns].mean(axis=0)
    return TISSUE_WORDS[int(shares.argmax())]


def _three(values: NDArray[np.generic], digits: int) -> tuple:
    x, y, z = (round(float(value), digits) for value in values)
    return (int(x), int(y), int(z)) if digits == 0 else (x, y, z)

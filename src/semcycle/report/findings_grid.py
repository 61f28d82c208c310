"""The table of findings on a scan's page: what stands in ``<name>_findings.csv``, in the words of a reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from semcycle.prediction.findings import Finding
from semcycle.report.html import make_grid

_NOTE = (
    "Regions are about right: lobes are named by a template brain that was laid over this one by its outline alone, "
    "some millimetres off. Only what the threshold let through is listed: a lesion may be missing, and a finding may "
    "be healthy."
)


def findings_grid(findings: Sequence[Finding]) -> dict[str, Any] | None:
    """What the template needs of the findings; ``None`` where there are none."""
    if not findings:
        return None
    compared = findings[0].healthy_scans
    frame = pd.DataFrame(
        {
            "no.": [finding.number for finding in findings],
            "volume, ml": [finding.volume_ml for finding in findings],
            "peak score": [finding.peak_score for finding in findings],
            "mean score": [finding.mean_score for finding in findings],
            "side": [finding.side for finding in findings],
            "region": [finding.region for finding in findings],
            "tissue around": [finding.tissue for finding in findings],
            "contrast": [finding.contrast for finding in findings],
            f"such in {compared} healthy scans": [finding.healthy_with for finding in findings],
            "centre, mm": [", ".join(f"{part:.0f}" for part in finding.mm) for finding in findings],
            "centre, voxel": [", ".join(map(str, finding.voxel)) for finding in findings],
        }
    )
    health = "The model's calibration has no healthy components for this threshold to compare with."
    if compared is None:
        frame = frame.drop(columns=f"such in {compared} healthy scans")
    else:
        health = (
            f"Such in {compared} healthy scans: how many scans of the model's calibration have a piece of healthy "
            "tissue that is at least as large and reaches at least this peak."
        )
    empty = [name for name in ("side", "region", "tissue around") if not any(frame[name])]
    caption = f"A click on a row, or n and p, moves the viewer to it. Contrast: to what the model expects. {health}"
    grid = make_grid(frame.drop(columns=empty), digits={"volume, ml": 2})
    return {**grid, "caption": caption, "note": _NOTE}

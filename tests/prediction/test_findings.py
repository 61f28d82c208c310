from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from semcycle.prediction.findings import list_findings, write_findings
from semcycle.training.calibration import HealthyComponents, Threshold
from semcycle.volume.placement import STEP_MM, brain_outline
from tests.report.test_scan_page import on_grid

CUT = Threshold("given", 0.5, "given", min_ml=0.01)


def even_outline():
    """The template's brain with an even number of voxels, so that :func:`on_grid` need not interpolate."""
    brain, affine = brain_outline()
    return np.pad(brain, ((0, 1), (0, 0), (0, 0))), affine


def template_scan(*lesions):
    """A prediction of the template's own brain, with balls of anomaly: (centre in mm, radius in mm, score, grey)."""
    brain, affine = even_outline()
    mm = np.moveaxis(np.indices(brain.shape), 0, -1) * STEP_MM + affine[:3, 3]
    image, scores = np.where(brain, 500, 0).astype(np.float32), np.zeros(brain.shape, np.float32)
    for centre, radius, score, grey in lesions:
        ball = (((mm - centre) ** 2).sum(-1) < radius**2) & brain
        scores[ball], image[ball] = score, grey
    tissue = np.zeros((*brain.shape, 3), np.float32)
    tissue[..., 1] = brain
    made = {"image": image, "affine": affine, "brain": brain, "scores": scores, "tissue": tissue}
    reconstruction = np.where(brain, 500, 0).astype(np.float32)
    return on_grid(**made, reconstruction=reconstruction, threshold=CUT, pixel_mm=4.0)


def test_each_piece_is_described():
    bright = ((-30, -70, 40), 12, 0.9, 800)
    dark = ((26, 45, -5), 8, 0.7, 300)
    findings = list_findings(template_scan(bright, dark))
    assert [finding.number for finding in findings] == [1, 2]
    assert findings[0].volume_ml > findings[1].volume_ml
    one, other = findings
    assert one.volume_ml == pytest.approx(4 / 3 * np.pi * 1.2**3, rel=0.15)
    assert (one.peak_score, one.mean_score) == (0.9, 0.9)
    assert (one.side, one.region, one.tissue) == ("left", "parietal", "white matter")
    assert (one.contrast, one.difference) == ("brighter", pytest.approx(0.3, abs=1e-3))
    assert (other.side, other.region) == ("right", "frontal")
    assert (other.contrast, other.difference) == ("darker", pytest.approx(-0.2, abs=1e-3))
    for finding, (centre, *_) in zip(findings, (bright, dark), strict=True):
        assert finding.mm == pytest.approx(centre, abs=STEP_MM)
        assert finding.template_mm == pytest.approx(centre, abs=STEP_MM + 2)
    assert (one.healthy_with, one.healthy_scans) == (None, None)


def test_the_centre_lies_within_the_piece_and_a_piece_may_take_both_sides():
    brain, affine = even_outline()
    prediction = template_scan(((0, -20, 20), 20, 0.8, 900))
    (finding,) = list_findings(prediction)
    assert (finding.side, finding.region) == ("both sides", "deep grey matter or insula, frontal")
    ring = prediction.anomaly_native().copy()
    mm = np.moveaxis(np.indices(brain.shape), 0, -1) * STEP_MM + affine[:3, 3]
    ring[((mm - (0, -20, 20)) ** 2).sum(-1) < 12**2] = 0
    hollow = on_grid(
        prediction.volume.data, affine, brain, ring, prediction.volume.data, None, Threshold("given", 0.5, ""), 4.0
    )
    (finding,) = list_findings(hollow)
    assert hollow.mask_native()[finding.voxel]
    assert finding.tissue == ""
    assert affine[:3, :3] @ finding.voxel + affine[:3, 3] == pytest.approx(finding.mm, abs=0.06)


def test_no_threshold_or_no_lesion_is_no_finding(tmp_path):
    assert list_findings(template_scan()) == []
    assert list_findings(replace(template_scan(((0, 0, 0), 20, 0.8, 900)), threshold=None)) == []
    assert len(pd.read_csv(write_findings(tmp_path / "x_findings.csv", []))) == 0


def test_health_is_compared_where_masks_are_cut_alike():
    health = HealthyComponents(
        grow=0.5, least_ml=0.03, count=4, scan=[0, 0, 1, 2], ml=[9.0, 8.0, 20.0, 9.0], peak=[0.95, 0.95, 0.95, 0.6]
    )
    prediction = replace(template_scan(((-30, -70, 40), 12, 0.9, 800)), health=health)
    (finding,) = prediction.findings
    assert (finding.healthy_with, finding.healthy_scans) == (2, 4)  # the third is not as high, the fourth has none
    other = replace(prediction, threshold=Threshold("given", 0.4, "given"))
    assert other.findings[0].healthy_scans is None
    assert health.scans_with(0.02, 0.1) is None
    assert health.scans_with(21, 0.1) == 0


def test_the_table_has_a_row_a_finding(tmp_path):
    prediction = template_scan(((-30, -70, 40), 12, 0.9, 800), ((26, 45, -5), 8, 0.7, 300))
    table = pd.read_csv(write_findings(tmp_path / "x_findings.csv", prediction.findings))
    assert list(table.number) == [1, 2]
    assert list(table.side) == ["left", "right"]
    row, finding = table.iloc[0], prediction.findings[0]
    assert (row.i, row.j, row.k) == finding.voxel
    assert (row.x_mm, row.y_mm, row.z_mm) == finding.mm
    assert np.isnan(row.healthy_with)

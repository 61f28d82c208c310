"""Scores of maps from files: agreement with scikit-learn, any value range, and a clear rule for every bad input."""

import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from semcycle.errors import SemcycleError
from semcycle.scoring.map_files import AS_IS, read_case
from semcycle.scoring.maps import map_steps, score_maps
from semcycle.scoring.pairing import pair_folders
from semcycle.scoring.path_list import read_list
from tests.conftest import semcycle

SHAPE = (14, 12, 10)
AFFINE = np.array([[-2.0, 0, 0, 5], [0, 2.0, 0, -7], [0, 0, 3.0, 1], [0, 0, 0, 1]])


def write(path, data, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def head(seed):
    """Brain, a cubic lesion that sticks out of it by one voxel, and noisy scores that see it."""
    generator = np.random.default_rng(seed)
    brain = np.zeros(SHAPE, bool)
    brain[2:12, 2:10, 1:9] = True
    truth = np.zeros(SHAPE, np.uint8)
    truth[1:5, 3:7, 2:6] = 2
    scores = generator.normal(size=SHAPE) + 1.2 * (truth > 0)
    return brain, truth, scores.astype(np.float32)


@pytest.fixture
def lab(tmp_path):
    """Three cases: maps, a second method that is their square with the sign kept, truth, brain."""
    for n, case in enumerate("abc"):
        brain, truth, scores = head(n)
        write(tmp_path / "maps" / f"{case}_anomaly.nii.gz", scores)
        write(tmp_path / "cubes" / f"{case}_score.nii.gz", (scores**3 * 1e6).astype(np.float32))
        write(tmp_path / "truth" / f"{case}_seg.nii.gz", truth)
        write(tmp_path / "brain" / f"{case}_brain.nii.gz", brain.astype(np.uint8))
    return tmp_path


def pair(lab, *methods):
    return pair_folders({name: lab / name for name in methods or ("maps",)}, lab / "truth", lab / "brain")


def value(table, metric, pooling="pooled", run="maps", preset="as_is"):
    rows = table.table.query("run == @run and metric == @metric and pooling == @pooling and preset == @preset")
    assert len(rows) == 1
    return rows.iloc[0]


def test_values_are_those_of_scikit_learn_whatever_the_range(lab):
    table, failures = score_maps(pair(lab, "maps", "cubes"), resamples=50)
    assert failures == []
    cases = [head(n) for n in range(3)]
    lowest = min(scores[brain].min() for brain, _, scores in cases)
    truths, found = [], []
    for brain, truth, scores in cases:
        region = brain | (truth > 0)
        truths.append(truth[region] > 0)
        found.append(np.where(brain, scores, lowest)[region])  # lesion outside the brain is missed
    each = [average_precision_score(t, s) for t, s in zip(truths, found, strict=True)]
    for run in ("maps", "cubes"):  # a monotone map of the scores changes no rank
        expected = average_precision_score(np.concatenate(truths), np.concatenate(found))
        assert value(table, "auprc", run=run)["value"] == pytest.approx(expected, abs=1e-9)
        expected = roc_auc_score(np.concatenate(truths), np.concatenate(found))
        assert value(table, "auroc", run=run)["value"] == pytest.approx(expected, abs=1e-9)
        assert value(table, "auprc", "per_case_mean", run)["value"] == pytest.approx(np.mean(each), abs=1e-9)
    assert table.per_case.lesion_ml.unique() == pytest.approx([64 * 12 / 1000])  # voxels of 12 mm3
    comparison = table.comparisons.query("metric == 'auprc' and pooling == 'pooled'").iloc[0]
    assert comparison["difference"] == pytest.approx(0)


def test_lesions_surfaces_and_pictures_come_with_them(lab):
    _, truth, scores = head(0)
    write(lab / "maps" / "a_anomaly.nii.gz", np.where(truth > 0, 5, scores / 10).astype(np.float32))
    table, _ = score_maps(pair(lab), given={"maps": 3.0}, resamples=20)
    row = table.per_case.set_index("case").loc["a"]
    assert (row["lesions_at_given"], row["lesions_found_at_given"], row["components_false_at_given"]) == (1, 1, 0)
    assert row["hd95_mm_at_given"] == pytest.approx(2)  # the layer outside the brain is missed: one voxel of 2 mm
    assert value(table, "dice_at_given")["threshold_source"] == "given: 3 by the user"
    assert {"maps|as_is|froc_sensitivity", "maps|as_is|precision"} <= table.curves.keys()
    panel = table.panels[0]
    assert panel.case_id == "a"
    shown = panel.runs["maps"].scores["as_is"]
    assert shown.shape == panel.truth.shape
    assert (shown.min(), shown.max()) == (0, 1)
    assert panel.slice_index in range(2, 6)  # counted in the whole scan


def test_integer_and_constant_maps(lab):
    expected = value(score_maps(pair(lab), resamples=20)[0], "auprc")["value"]
    for n, case in enumerate("abc"):
        write(lab / "maps" / f"{case}_anomaly.nii.gz", (head(n)[2] * 1000).round().astype(np.int32))
    assert value(score_maps(pair(lab), resamples=20)[0], "auprc")["value"] == pytest.approx(expected, abs=0.005)
    for case in "abc":
        write(lab / "maps" / f"{case}_anomaly.nii.gz", np.full(SHAPE, -7, np.int16))
    row = value(score_maps(pair(lab), resamples=20)[0], "auprc")
    assert row["value"] == pytest.approx(row["prevalence"])


def test_nan_outside_the_brain_is_ignored(lab):
    expected = value(score_maps(pair(lab), resamples=20)[0], "auprc")["value"]
    for n, case in enumerate("abc"):
        brain, _, scores = head(n)
        write(lab / "maps" / f"{case}_anomaly.nii.gz", np.where(brain, scores, np.nan).astype(np.float32))
    table, failures = score_maps(pair(lab), resamples=20)
    assert failures == []
    assert value(table, "auprc")["value"] == expected


def spoil(name):
    """Case b made wrong in one way -> folder, data, affine."""
    brain, truth, scores = head(1)
    broken = scores.copy()
    broken[5, 5, 5] = np.nan
    huge = scores.astype(np.float64)
    huge[5, 5, 5] = 1e300
    shifted = AFFINE + np.array([[0, 0, 0, 1], *[[0] * 4] * 3])
    return {
        "another shape": ("maps", scores[:-1], AFFINE),
        "another affine": ("maps", scores, shifted),
        "a brain on another affine": ("brain", brain.astype(np.uint8), shifted),
        "NaN inside": ("maps", broken, AFFINE),
        "beyond float32": ("maps", huge, AFFINE),
        "four dimensions": ("maps", np.stack([scores, scores], -1), AFFINE),
        "all lesion": ("truth", np.ones(SHAPE, np.uint8), AFFINE),
        "fractions": ("truth", (truth / 4).astype(np.float32), AFFINE),
        "negative labels": ("truth", truth.astype(np.int16) - 1, AFFINE),
        "an empty brain": ("brain", np.zeros(SHAPE, np.uint8), AFFINE),
    }[name]


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("another shape", r"b_anomaly.*\(14, 12, 10\), got \(13, 12, 10\)"),
        ("another affine", r"b_anomaly.*off by up to 1\.0 mm"),
        ("a brain on another affine", "b_brain.*brain mask"),
        ("NaN inside", "b_anomaly.*got 1 that are NaN"),
        ("beyond float32", "b_anomaly.*beyond float32"),
        ("four dimensions", "b_anomaly.*3-D"),
        ("all lesion", "b_seg.*is it a brain mask"),
        ("fractions", "b_seg.*whole numbers"),
        ("negative labels", "b_seg.*whole numbers"),
        ("an empty brain", "b_brain.*empty"),
    ],
)
def test_a_bad_case_fails_and_the_others_are_scored(lab, name, message):
    folder, data, affine = spoil(name)
    write(next((lab / folder).glob("b_*")), data, affine)
    table, failures = score_maps(pair(lab), resamples=20)
    assert [failure.case_id for failure in failures] == ["b"]
    assert re.search(message, failures[0].reason)
    assert list(table.per_case.case) == ["a", "c"]


def test_unreadable_and_missing_files_fail_alone(lab):
    (lab / "maps" / "b_anomaly.nii.gz").write_bytes(b"no gzip")
    (lab / "maps" / "c_anomaly.nii.gz").unlink()
    table, failures = score_maps(pair(lab), resamples=20)
    assert [failure.case_id for failure in failures] == ["b", "c"]
    assert list(table.per_case.case) == ["a"]


def test_a_case_that_one_method_misses_is_left_out_for_all(lab):
    (lab / "cubes" / "b_score.nii.gz").unlink()
    table, failures = score_maps(pair(lab, "maps", "cubes"), resamples=20)
    assert [failure.case_id for failure in failures] == ["b"]
    assert sorted(table.per_case.case) == ["a", "a", "c", "c"]


def test_empty_truth_is_a_healthy_case(lab):
    write(lab / "truth" / "b_seg.nii.gz", np.zeros(SHAPE, np.uint8))
    table, failures = score_maps(pair(lab), resamples=20)
    assert failures == []
    assert value(table, "auprc")["cases"] == 3
    assert value(table, "auprc", "per_case_mean")["cases"] == 2
    for case in "ac":
        write(lab / "truth" / f"{case}_seg.nii.gz", np.zeros(SHAPE, np.uint8))
    with pytest.raises(SemcycleError, match="expected a lesion"):
        score_maps(pair(lab))


def test_slices_run_from_foot_to_head_whatever_the_orientation(lab):
    case = pair(lab).cases[0]
    straight = read_case(case)
    assert straight.spacing == pytest.approx((3, 2, 2))
    for path in (case.truth, case.brain, case.predictions["maps"]):
        turned = nib.load(path).as_reoriented(nib.orientations.axcodes2ornt(("S", "L", "P")))
        nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), path)
    again = read_case(case)
    for one, other in ((straight.truth, again.truth), (straight.maps["maps", AS_IS], again.maps["maps", AS_IS])):
        np.testing.assert_array_equal(one, other)
    assert (again.spacing, again.slice_index) == (straight.spacing, straight.slice_index)


def test_post_processing_gets_rows_of_its_own(lab):
    for n, case in enumerate("abc"):
        write(lab / "maps" / f"{case}_anomaly.nii.gz", np.abs(head(n)[2]))
    blurred = "as_is,gaussian_mm=3"
    table, _ = score_maps(pair(lab), presets=["as_is", blurred], resamples=20)
    assert value(table, "auprc", preset=blurred)["value"] > value(table, "auprc")["value"] + 0.05
    for text, message in (("baur", "as_is"), ("as_is,sign=positive", "only the map"), ("as_is,blur=2", "NAME=VALUE")):
        with pytest.raises(SemcycleError, match=message):
            map_steps(text)


def test_post_processing_blanks_negative_scores_with_the_lowest(lab):
    """Where the zero of the scores is does not matter: 0 would be the highest of all in the second method."""
    for n, case in enumerate("abc"):
        write(lab / "cubes" / f"{case}_score.nii.gz", head(n)[2] - 100)
    steps = "as_is,median_size=3,erode_mm=2"
    table, failures = score_maps(pair(lab, "maps", "cubes"), presets=[steps], resamples=20)
    assert failures == []
    one, other = (value(table, "auprc", run=run, preset=steps)["value"] for run in ("maps", "cubes"))
    assert one == pytest.approx(other, abs=1e-3)
    assert one > 2 * value(table, "auprc", preset=steps)["prevalence"]


def test_thresholds_from_rows_of_the_list(lab):
    rows = [
        f"{case},maps/{case}_anomaly.nii.gz,truth/{case}_seg.nii.gz,brain/{case}_brain.nii.gz,{who},{use}"
        for case, who, use in (("a", "x", "test"), ("b", "y", "validation"), ("c", "z", "healthy"))
    ]
    head_line = "case,prediction,truth,brain,subject,use"
    (lab / "list.csv").write_text("\n".join([head_line, *rows]))
    table, _ = score_maps(read_list(lab / "list.csv"), resamples=20)
    row = value(table, "dice_at_validation", run="map")
    assert row["threshold_source"].startswith("validation: best pooled Dice on 1 case (b)")
    own = value(score_maps(pair(lab), resamples=20)[0], "best_dice")
    assert row["threshold"] != own["threshold"]
    assert value(table, "fpr_at_healthy_5", run="map")["threshold_source"].startswith("healthy: 5 % FPR on 1 case (c)")
    (lab / "list.csv").write_text("\n".join([head_line, *rows]).replace(",y,", ",x,"))
    with pytest.raises(SemcycleError, match="other subjects.*got x"):
        score_maps(read_list(lab / "list.csv"))


def test_the_verb_leaves_what_score_leaves(lab, capsys):
    out = lab / "out"
    words = ["evaluate", lab / "maps", f"theirs={lab / 'cubes'}", lab / "truth", "--brain", lab / "brain"]
    semcycle(*words, "--out", out, "--threshold", "maps=1.5", "--lesion-rule", "overlap=iou,min_iou=0.3")
    for name in ("table.csv", "per_case.csv", "comparisons.csv", "curves.csv", "curves.npz", "facts.json"):
        assert (out / name).is_file()
    assert "Scores of anomaly maps" in (out / "report" / "index.html").read_text()
    table = pd.read_csv(out / "table.csv")
    assert set(table.run) == {"maps", "theirs"}
    assert set(table[table.metric == "dice_at_given"].run) == {"maps"}
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    assert not (out / "failures.csv").exists()
    (lab / "maps" / "b_anomaly.nii.gz").unlink()
    semcycle(*words, "--out", out, expect=1)
    assert "b," in (out / "failures.csv").read_text()
    assert "b: " in capsys.readouterr().err


def test_wrong_input_is_refused_before_anything_is_written(lab):
    out = lab / "out"
    for words in (
        [lab / "maps", lab / "truth"],  # the background is not healthy brain unless somebody says so
        [lab / "maps", "--brain", "none"],
        [lab / "maps", lab / "maps", lab / "truth", "--brain", "none"],
        [lab / "nowhere", lab / "truth", "--brain", "none"],
        [lab / "maps", lab / "truth", "--brain", lab / "nowhere"],
        [lab / "maps", lab / "truth", "--brain", "none", "--preset", "baur"],
        [lab / "maps", lab / "truth", "--brain", "none", "--threshold", "high"],
        [lab / "maps", lab / "truth", "--brain", "none", "--threshold", "yours=3"],
        [lab / "maps", lab / "truth", "--brain", "none", "--lesion-rule", "overlap=some"],
        [lab / "list.csv", "--brain", lab / "brain"],
    ):
        semcycle("evaluate", *words, "--out", out, expect=2)
        assert not out.exists()
    for path in (lab / "cubes").iterdir():
        write(path, head(0)[2][:-1])
    semcycle("evaluate", lab / "cubes", lab / "truth", "--brain", "none", "--out", out, expect=2)  # every case fails
    assert not out.exists()
    semcycle("evaluate", lab / "maps", lab / "truth", "--brain", "none", "--out", out)
    table = pd.read_csv(out / "table.csv")
    assert table.prevalence.iloc[0] == pytest.approx(64 / np.prod(SHAPE), rel=1e-4)


def test_whatever_a_case_raises_is_a_line_and_the_others_are_scored(lab, monkeypatch):
    def odd(case):
        if case.case == "b":
            raise MemoryError
        return read_case(case)

    monkeypatch.setattr("semcycle.scoring.maps.read_case", odd)
    table, failures = score_maps(pair(lab), resamples=20)
    assert [failure.case_id for failure in failures] == ["b"]
    assert "enough memory" in failures[0].reason
    assert list(table.per_case["case"]) == ["a", "c"]

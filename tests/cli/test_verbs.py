"""The command line's contract: verbs, files, one-line errors, exit codes."""

import json
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from semcycle.cohorts.manifest import write_manifest
from tests.conftest import make_scan, semcycle, write_case

pytestmark = pytest.mark.slow

TINY = """
training: {batch_size: 8, validation_share: 0}
method:
  name: cycle
  segmentation: {epochs: 1, base: 2, norm: group}
  synthesis: {epochs: 1, base: 2, norm: group, discriminator_base: 2, discriminator_layers: 1}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A cohort in manifest layout, its store, split, a trained run and scores, all made by the command line."""
    root = tmp_path_factory.mktemp("lab")
    cases = [write_case(root / "cohort", f"h{n}", seed=n, lesion=False, group="healthy") for n in range(3)]
    cases += [write_case(root / "cohort", f"l{n}", seed=9 + n, group="lesion") for n in range(3)]
    write_manifest(root / "cohort", cases)
    (root / "tiny.yaml").write_text(TINY)
    grid = ["--size", 32, "--pixel-mm", 7, "--tissue", "maps"]
    semcycle("prepare", "manifest", root / "cohort", "--out", root / "store", *grid)
    semcycle("split", root / "store", "--out", root / "split.json", "--test-fraction", 0.4)
    data = ["--data", root / "store", "--split", root / "split.json"]
    semcycle("train", root / "tiny.yaml", *data, "--out", root / "run")
    semcycle("score", root / "run", *data, "--out", root / "scores")
    return root


def test_the_whole_path_leaves_what_it_promises(lab):
    for name in (
        "store/manifest.json",
        "store/h0.safetensors",
        "store/quality/index.html",
        "store/quality/quality.csv",
        "split.json",
        "run/model.safetensors",
        "run/run.json",
        "run/log.csv",
        "run/samples/segmentation-001.png",
        "scores/table.csv",
        "scores/per_case.csv",
        "scores/curves.npz",
        "scores/report/index.html",
    ):
        assert (lab / name).is_file(), name
    table = (lab / "scores/table.csv").read_text()
    assert "intensity" in table
    assert "literal" in table
    assert "baur" in table


def test_thresholds_can_come_from_cases_that_are_not_tested(lab, tmp_path, capsys):
    words = ["score", "--data", lab / "store", "--split", lab / "split.json", "--out", tmp_path / "s"]
    semcycle(*words, "--threshold-from", f"validation={lab / 'store'}", "--threshold-from", f"healthy={lab / 'store'}")
    table = (tmp_path / "s/table.csv").read_text()
    assert "validation: best pooled Dice on" in table
    assert "healthy: 1 % FPR on" in table
    assert "dice_at_validation" in table
    printed = capsys.readouterr().out
    assert "preset literal" in printed
    assert "validation" in printed
    semcycle(*words, lab / "run", "--threshold-from", "validation", expect=2)
    assert "validation_share" in capsys.readouterr().err


def test_simulated_cohorts_can_be_prepared(tmp_path):
    semcycle("simulate", "phantom", "--out", tmp_path / "p", "--healthy", 1, "--lesions", 1, "--spacing", 6)
    grid = ["--size", 32, "--pixel-mm", 7, "--tissue", "maps"]
    semcycle("prepare", "phantom", tmp_path / "p", "--out", tmp_path / "sp", *grid)
    assert (tmp_path / "sp" / "manifest.json").is_file()
    (tmp_path / "models").mkdir()
    semcycle("simulate", "brainweb", tmp_path / "models", "--out", tmp_path / "b", expect=2)


def test_masks_for_a_folder_of_scans_are_found_by_name(lab, tmp_path):
    for name in ("l0", "l1"):
        t2 = nib.load(lab / f"cohort/{name}/{name}_t2.nii.gz")
        (tmp_path / "scans").mkdir(exist_ok=True)
        (tmp_path / "masks").mkdir(exist_ok=True)
        nib.save(t2, tmp_path / "scans" / f"{name}.nii.gz")
        mask = (t2.get_fdata() > 0).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, t2.affine), tmp_path / "masks" / f"{name}_bet_mask.nii.gz")
    words = ["predict", tmp_path / "scans", "--model", lab / "run", "--out", tmp_path / "p", "--brain-mask"]
    semcycle(*words, tmp_path / "masks")
    scans = json.loads((tmp_path / "p/run.json").read_text())["scans"]
    assert [scan["preprocess"]["brain"]["method"] for scan in scans] == ["given", "given"]
    semcycle(*words, tmp_path / "masks/l0_bet_mask.nii.gz", expect=2)
    (tmp_path / "masks/l1_bet_mask.nii.gz").unlink()
    semcycle(*words, tmp_path / "masks", expect=1)
    assert "expected one brain mask l1*" in (tmp_path / "p/failures.csv").read_text()


def test_a_calibrated_run_predicts_masks_pages_and_a_table(lab, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(lab / "run", run)
    semcycle("calibrate", run, "--data", lab / "store", "--split", lab / "split.json", "--preset", "smooth")
    assert "fpr=0.01" in capsys.readouterr().out
    semcycle("export", run, "--out", tmp_path / "model")
    out = tmp_path / "p"
    words = ["predict", lab / "cohort/l0/l0_t2.nii.gz", "--model", tmp_path / "model", "--out", out]
    capsys.readouterr()
    semcycle(*words, "--fast", "--json")
    (row,) = json.loads(capsys.readouterr().out)
    assert row["scan"] == "l0_t2"
    assert row["lesion_ml"] >= 0
    assert not list(out.glob("*.html"))
    semcycle(*words, "--overwrite", "--tta", "--threshold", "fpr=0.05")
    made = {path.name for path in out.iterdir()}
    endings = (
        "anomaly.nii.gz",
        "mask.nii.gz",
        "reconstruction.nii.gz",
        "tissue.nii.gz",
        "findings.csv",
        "overview.png",
        "thumbnail.png",
        "report.html",
        "record.json",
    )
    assert {f"l0_t2_{ending}" for ending in endings} | {"index.html", "summary.csv", "run.json"} == made
    assert "5 % FPR" in (out / "l0_t2_report.html").read_text()
    semcycle(*words, "--threshold", "fpr=0.5", expect=2)
    assert "fpr=0.01, fpr=0.02, fpr=0.05" in capsys.readouterr().err
    semcycle(*words, "--preset", "nicer", expect=2)


def test_predict_writes_native_maps(lab, capsys):
    semcycle("predict", lab / "cohort/l0/l0_t2.nii.gz", "--model", lab / "run", "--out", lab / "p")
    for end in ("anomaly.nii.gz", "reconstruction.nii.gz", "tissue.nii.gz", "overview.png"):
        assert (lab / "p" / f"l0_t2_{end}").is_file()
    assert (lab / "p/run.json").is_file()
    assert "predictions:" in capsys.readouterr().out


def test_report_can_be_written_again(lab):
    page = lab / "scores/report/index.html"
    before = page.read_bytes()
    page.unlink()
    semcycle("report", lab / "scores")
    assert page.read_bytes() == before


def test_a_finished_training_is_protected_and_resumable(lab, capsys):
    words = ["train", lab / "tiny.yaml", "--data", lab / "store", "--split", lab / "split.json", "--out", lab / "run"]
    semcycle(*words, expect=2)
    assert "finished run" in capsys.readouterr().err
    semcycle(*words, "--resume")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prepare", "bratz", "{lab}", "--out", "{tmp}/s"], "did you mean 'brats'"),
        (["prepare", "brats", "{lab}/nowhere", "--out", "{tmp}/s"], "expected a BraTS folder"),
        (["prepare", "brats", "{lab}/cohort", "--out", "{tmp}/s"], "expected at least one usable case"),
        (["prepare", "manifest", "{lab}/cohort", "--out", "{lab}/store", "--size", "64"], "preprocess.size 32, now 64"),
        (["prepare", "manifest", "{lab}/cohort", "--out", "{tmp}/s", "--tissue", "spn"], "expected a tissue provider"),
        (["train", "nothing", "--data", "{lab}/store", "--out", "{tmp}/r"], "expected a recipe file or one of"),
        (["train", "{lab}/typo.yaml", "--data", "{lab}/store", "--out", "{tmp}/r"], "did you mean 'epochs'"),
        (["train", "{lab}/tiny.yaml", "--data", "{tmp}", "--out", "{tmp}/r"], "no manifest.json"),
        (
            ["predict", "{lab}/cohort/l0/l0_t2.nii.gz", "--model", "{tmp}", "--out", "{tmp}/p"],
            "expected a finished run",
        ),
        (["predict", "{lab}/none.nii", "--model", "{lab}/run", "--out", "{tmp}/p"], "found none"),
        (["predict", "{lab}/four.nii.gz", "--model", "{lab}/run", "--out", "{tmp}/p"], "expected a 3-D scan"),
        (["score", "{lab}/run", "--data", "{lab}/store", "--out", "{tmp}/d"], "never seen"),
        (["score", "{tmp}", "--data", "{lab}/store", "--out", "{tmp}/d"], "expected a finished run"),
        (["report", "{tmp}"], "score first"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_two(lab, tmp_path, capsys, words, message):
    (lab / "typo.yaml").write_text(TINY.replace("epochs", "epoch", 1))
    make_scan(lab / "four.nii.gz", np.random.default_rng(0).random((6, 6, 6, 2)))
    capsys.readouterr()
    semcycle(*[word.format(lab=lab, tmp=tmp_path) for word in words], expect=2)
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert error.count("\n") == 1
    # a cohort without a usable case leaves the list of reasons
    assert {path.name for path in tmp_path.rglob("*.*")} <= {"settings.json", "failures.csv"}


def test_a_batch_with_a_bad_case_ends_with_one(lab, tmp_path, capsys):
    good = write_case(tmp_path / "cohort", "good")
    bad = write_case(tmp_path / "cohort", "bad")
    bad.images["t2"].write_bytes(b"broken")
    write_manifest(tmp_path / "cohort", [good, bad])
    grid = ["--size", 32, "--pixel-mm", 7, "--tissue", "maps"]
    semcycle("prepare", "manifest", tmp_path / "cohort", "--out", tmp_path / "s", *grid, expect=1)
    assert "bad_t2.nii.gz" in capsys.readouterr().err
    assert "bad" in (tmp_path / "s/failures.csv").read_text()
    semcycle(
        "predict",
        tmp_path / "cohort",
        "--pattern",
        "*_t2.nii.gz",
        "--model",
        lab / "run",
        "--out",
        tmp_path / "p",
        expect=1,
    )
    assert (tmp_path / "p/good_t2_anomaly.nii.gz").is_file()


def test_a_run_is_not_scored_on_other_slices(lab, tmp_path, capsys):
    words = ["--size", 32, "--pixel-mm", 7, "--tissue", "maps", "--intensity", "median"]
    semcycle("prepare", "manifest", lab / "cohort", "--out", tmp_path / "s", *words)
    capsys.readouterr()
    semcycle(
        "score", lab / "run", "--data", tmp_path / "s", "--split", lab / "split.json", "--out", tmp_path / "d", expect=2
    )
    assert "intensity median, not percentile" in capsys.readouterr().err


def test_info_lists_everything_without_torch(capsys):
    semcycle("info", "--json")
    content = json.loads(capsys.readouterr().out)
    assert {"brats", "manifest", "phantom"} <= set(content["cohorts"])
    assert "paper/cycle-continuous" in content["recipes"]
    code = (
        "import sys; sys.argv=['semcycle','info']; import semcycle.cli as c\ntry: c.main()\nexcept SystemExit: "
        "pass\nassert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_unknown_options_exit_with_two():
    semcycle("prepare", "--nonsense", expect=2)

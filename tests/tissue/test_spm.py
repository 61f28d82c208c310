import pickle
import re
import sys

import numpy as np
import pytest

from semcycle.errors import TissueError
from semcycle.tissue.spm import (
    SpmSegmentation,
    command_line,
    find_spm,
    foreground_box,
    parse_output,
    sampling_mm,
    write_batch,
)
from semcycle.volume import load_volume, make_volume
from tests.conftest import write_case

SEGMENT = """
import re, sys
from pathlib import Path
import nibabel, numpy
script = Path(re.search(r"(/[^']*semcycle_spm[.]m)", sys.argv[-1])[1])
scan = Path(re.search(r"vols = [{]'(.*),1'[}]", script.read_text())[1])
image = nibabel.load(scan)
data = image.get_fdata()
for name, low, high in (("c1", 350, 600), ("c2", 1, 350), ("c3", 600, 9999)):
    tissue = 255 * ((data >= low) & (data < high))
    out = nibabel.Nifti1Image(tissue.astype(numpy.uint8), image.affine)
    out.header.set_slope_inter(1 / 255, 0)
    if BROKEN:
        out = nibabel.Nifti1Image(numpy.full(data.shape, numpy.nan, numpy.float32), image.affine)
    nibabel.save(out, scan.with_name(name + "scan.nii"))
print("semcycle: ll -1.5e+06 finite 1")
"""
"""Stands in for an interpreter with SPM: assigns tissues by the intensity of the ball, as c1, c2, c3."""


@pytest.fixture
def make_spm(tmp_path, monkeypatch):
    """Puts a program that runs ``code`` on an otherwise empty PATH, and makes a folder that looks like SPM's."""
    monkeypatch.delenv("SEMCYCLE_SPM_COMMAND", raising=False)
    monkeypatch.delenv("SEMCYCLE_SPM_DIR", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    spm = tmp_path / "spm"
    (spm / "tpm").mkdir(parents=True)
    (spm / "spm.m").touch()
    (spm / "tpm" / "TPM.nii").touch()
    (spm / "Contents.m").write_text("% Statistical Parametric Mapping\n% Version 7771 (SPM12) 13-Jan-20\n%___\n")

    def make(name, code=""):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!{sys.executable}\n{code}\n")
        program.chmod(0o755)
        return spm

    return make


@pytest.fixture
def ball(tmp_path):
    case = write_case(tmp_path, "a", lesion=False)
    return case, load_volume(case.images["t2"])


@pytest.mark.parametrize("name", ["octave-cli", "matlab", "spm12"])
def test_maps_lie_on_the_scans_own_grid(make_spm, ball, name):
    spm = make_spm(name, SEGMENT.replace("BROKEN", "False"))
    case, volume = ball
    provider = find_spm(None if name == "spm12" else spm)
    assert provider.kind == {"octave-cli": "octave", "matlab": "matlab", "spm12": "standalone"}[name]
    maps = pickle.loads(pickle.dumps(provider)).maps(case, volume)
    expected = [(volume.data >= 350) & (volume.data < 600), (volume.data >= 1) & (volume.data < 350)]
    expected.append(volume.data >= 600)
    np.testing.assert_allclose(maps.data, np.stack(expected), atol=1e-6)
    assert maps.source.startswith(volume.source)
    assert provider.files(case) == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('semcycle: no spm'); raise SystemExit(1)", "SPM on the path.*--tissue-dir"),
        ("print('semcycle: no tpm /s/tpm/TPM.nii'); raise SystemExit(1)", "/s/tpm/TPM.nii, found none.*copy it"),
        (
            "print('License checkout failed.\\nLicense Manager Error -15'); raise SystemExit(1)",
            "'License checkout failed.'",
        ),
        (
            "print('one'); print('error: out of bounds'); raise SystemExit(3)",
            r"exit code 3 \(one \| error: out of bounds\)",
        ),
        ("import os; os.kill(os.getpid(), 9)", "exit code -9.*fewer --workers"),
        ("import time; time.sleep(60)", "within 2 s.*stopped it"),
        ("print('hello')", r"report its fit, got none though it ended well \(hello\)"),
        ("print('semcycle: ll -3 finite 1')", "write c1scan.nii, found none"),
        ("print('semcycle: ll NaN finite 0')", "finite log-likelihood.*got NaN.*diverged"),
        (SEGMENT.replace("BROKEN", "True"), "usable GM map from SPM.*NaN"),
    ],
)
def test_every_failure_says_what_to_do(make_spm, ball, code, message):
    spm = make_spm("octave", code)
    case, volume = ball
    provider = SpmSegmentation(spm_dir=spm, timeout_s=2 if "sleep" in code else 60)
    with pytest.raises(TissueError, match=message) as caught:
        provider.maps(case, volume)
    assert str(caught.value).startswith(volume.source)


def test_time_out_ends_what_the_launcher_started(make_spm, ball, tmp_path):
    child = f"import time, pathlib; time.sleep(3); pathlib.Path({str(tmp_path / 'survived')!r}).touch()"
    spm = make_spm("octave", f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])")
    with pytest.raises(TissueError, match="within 1 s"):
        SpmSegmentation(spm_dir=spm, timeout_s=1).maps(*ball)
    import time

    time.sleep(5)
    assert not (tmp_path / "survived").exists()


def test_what_is_missing_is_named(make_spm, monkeypatch, tmp_path):
    spm = make_spm("other")
    with pytest.raises(TissueError, match="matlab, octave-cli, octave, spm12, spm25 on PATH.*SEMCYCLE_SPM_COMMAND"):
        find_spm()
    make_spm("octave")
    make_spm("spm12")
    (spm / "tpm" / "TPM.nii").unlink()
    with pytest.raises(TissueError, match="tpm/TPM.nii, found none"):
        find_spm(spm)
    with pytest.raises(TissueError, match="SPM's folder with spm.m.*--tissue-dir"):
        find_spm(tmp_path)
    for command, message in (
        ("matlab -batch", "program 'matlab'.*SEMCYCLE_SPM_COMMAND"),
        ("other -x", "matlab, octave, spm12 or run_spm12.sh"),
        ("octave 'x", "No closing quotation"),
    ):
        monkeypatch.setenv("SEMCYCLE_SPM_COMMAND", command)
        with pytest.raises(TissueError, match=message):
            find_spm()


def test_environment_and_path_say_how_spm_is_started(make_spm, monkeypatch, tmp_path):
    spm = make_spm("spm25")
    assert find_spm().kind == "standalone"
    make_spm("octave")
    assert find_spm().arguments == [str(tmp_path / "bin" / "octave"), "--no-gui"]
    make_spm("matlab")
    monkeypatch.setenv("SEMCYCLE_SPM_DIR", str(spm))
    assert (find_spm().kind, find_spm().spm_dir) == ("matlab", spm)
    make_spm("run_spm12.sh")
    monkeypatch.setenv("SEMCYCLE_SPM_COMMAND", "run_spm12.sh '/opt/the mcr/v97' script")
    provider = find_spm()
    assert provider.kind == "standalone"
    assert provider.arguments[1:] == ["/opt/the mcr/v97", "script"]
    assert provider.describe()["version"] == "unknown"  # it brings its own SPM, not the folder's
    described = SpmSegmentation("octave", spm).describe()
    assert described["version"] == "7771 (SPM12) 13-Jan-20"
    assert "biasreg 0.001, biasfwhm 60, mrf 1, cleanup 1, reg [0 0.001 0.5 0.05 0.2]" in described["settings"]


def test_command_line_of_every_kind(tmp_path):
    script = tmp_path / "it's.m"
    assert command_line(["octave"], "octave", script) == ["octave", str(script)]
    assert command_line(["spm12"], "standalone", script) == ["spm12", "script", str(script)]
    assert command_line(["run_spm12.sh", "mcr", "script"], "standalone", script)[2:] == ["script", str(script)]
    *start, statement = command_line(["matlab", "-nodisplay"], "matlab", script)
    assert start == ["matlab", "-nodisplay", "-batch"]
    assert "it''s.m'" in statement
    assert command_line(["matlab", "-r"], "matlab", script)[:-1] == ["matlab", "-r"]


def test_batch_carries_spms_defaults(tmp_path):
    scan = tmp_path / "scan.nii"
    octave = write_batch(scan, "octave", tmp_path / "spm", 3.5)
    for line in (
        f"addpath('{tmp_path / 'spm'}');",
        f"job.channel.vols = {{'{scan},1'}};",
        "job.channel.biasreg = 0.001;",
        "job.channel.biasfwhm = 60;",
        "ngaus = [1 1 2 3 4 2];",
        "job.warp.affreg = 'mni';",
        "job.warp.samp = 3.5;",
        "spm_preproc_run(job);",
    ):
        assert line in octave.splitlines()
    assert "matlabbatch" not in octave
    matlab = write_batch(scan, "matlab", None, 3)
    assert "addpath" not in matlab
    assert "spm_preproc_run" not in matlab
    order = ["spm('defaults', 'fmri');", "spm_jobman('initcfg');", "matlabbatch{1}", "spm_jobman('run', matlabbatch);"]
    assert [matlab.index(part) for part in order] == sorted(matlab.index(part) for part in order)
    standalone = write_batch(scan, "standalone", tmp_path, 3)
    assert standalone == matlab
    assert not re.search(r"^\s*function", standalone, re.MULTILINE)


def test_output_is_read():
    assert parse_output("noise\nsemcycle: ll -2.5e+06 finite 1\nBye\n", 0, "x") == -2.5e6
    # only a failing run can lack a licence
    assert parse_output("License error handling on\nsemcycle: ll -1 finite 1\n", 0, "x") == -1
    for text in ("MATLAB has experienced a licensing error.", "No valid license found", "Licence checkout failed"):
        with pytest.raises(TissueError, match="expected a MATLAB licence"):
            parse_output(text, 1, "x")


def test_crop_and_sampling():
    data = np.zeros((20, 20, 20), np.float32)
    data[5:10, 0:7, 12:20] = 1
    assert foreground_box(make_volume(data, np.eye(4))) == (slice(3, 12), slice(0, 9), slice(10, 20))
    data[:] = 2
    data[10, 10, 10] = 1
    assert foreground_box(make_volume(data, np.eye(4))) == (slice(0, 20),) * 3

    def sampled(shape, spacing):
        return sampling_mm(make_volume(np.zeros(shape), np.diag([*spacing, 1])))

    assert sampled((150, 192, 140), (1, 1, 1)) == 3
    assert sampled((150, 193, 140), (1, 1, 1)) == 3.5
    assert sampled((2, 380, 2), (0.5, 0.5, 0.5)) == 3
    assert sampled((2, 142, 2), (1.3, 1.3, 1.3)) == 3.5  # 3 mm are 2 voxels there

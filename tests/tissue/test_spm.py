import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from semcycle.errors import TissueError
from semcycle.tissue.spm import SpmSegmentation, find_spm
from semcycle.volume import load_volume, make_volume
from tests.conftest import write_case

SEGMENT = """
import re, sys
from pathlib import Path
import nibabel, numpy
script = Path(re.search(r"(/[^']*semcycle_spm[.]m)", sys.argv[-1])[1])
if "vols" not in script.read_text():
    print("semcycle: spm /opt/spm")
    raise SystemExit
print("classes", re.search("k = 1:([0-9])", script.read_text())[1], file=open(Path(sys.argv[0]).with_name("log"), "a"))
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
def test_maps_lie_on_the_scans_own_grid(make_spm, ball, name, tmp_path):
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
    assert (tmp_path / "bin" / "log").read_text() == "classes 3\n"


def test_a_head_is_fitted_with_all_classes_and_a_stripped_scan_within_its_brain_only(make_spm, ball, tmp_path):
    spm = make_spm("octave", SEGMENT.replace("BROKEN", "False").replace("data < 350", "data < 350 + (data == 0)"))
    case, volume = ball
    brain = volume.data > 0
    brain[:, :18] = False
    maps = SpmSegmentation(spm_dir=spm).maps(case, volume, brain)
    assert not maps.data[:, ~brain].any()
    radius = np.linalg.norm(np.stack(np.meshgrid(*[np.linspace(-1, 1, 64)] * 3, indexing="ij")), axis=0)
    head = np.where(radius < 0.95, 500, 0) * ((radius < 0.7) | (radius > 0.8))
    head[radius < 0.4], head[(radius > 0.6) & (radius < 0.7)] = 300, 800
    head = make_volume(head.astype(np.float32), np.diag([3, 3, 3, 1]))
    maps = SpmSegmentation(spm_dir=spm).maps(case, head, radius < 0.7)
    assert (tmp_path / "bin" / "log").read_text() == "classes 3\nclasses 6\n"
    assert maps.data[:, radius > 0.82].any()


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
            r"exit code 3 \(error: out of bounds\)",
        ),
        ("import os; os.kill(os.getpid(), 9)", "exit code 137.*fewer --workers"),
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
    time.sleep(5)
    assert not (tmp_path / "survived").exists()


def test_what_is_missing_is_named(make_spm, monkeypatch, tmp_path):
    spm = make_spm("other")
    with pytest.raises(TissueError, match="matlab, octave-cli, octave, spm12, spm25 on PATH.*SEMCYCLE_SPM_COMMAND"):
        find_spm()
    make_spm("octave", "raise SystemExit(1)")
    with pytest.raises(TissueError, match="octave: expected SPM to succeed, got exit code 1"):
        find_spm()
    make_spm("octave", "print('semcycle: no spm'); raise SystemExit(1)")
    with pytest.raises(TissueError, match="octave: expected SPM on the path.*--tissue-dir"):
        find_spm()
    make_spm("octave", "print('hello')")
    with pytest.raises(TissueError, match="octave: expected the folder of SPM.*hello"):
        find_spm()
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
    answer = f"print('semcycle: spm {tmp_path / 'spm'}')"
    spm = make_spm("spm25", answer)
    assert find_spm().kind == "standalone"
    make_spm("octave", answer)
    assert find_spm().arguments == [str(tmp_path / "bin" / "octave"), "--no-gui"]
    make_spm("matlab", answer)
    monkeypatch.setenv("SEMCYCLE_SPM_DIR", str(spm))
    assert (find_spm().kind, find_spm().spm_dir) == ("matlab", spm)
    make_spm("run_spm12.sh", "print('semcycle: spm /in/a/container')")
    monkeypatch.setenv("SEMCYCLE_SPM_COMMAND", "run_spm12.sh '/opt/the mcr/v97' script")
    provider = find_spm()
    assert provider.kind == "standalone"
    assert provider.arguments[1:] == ["/opt/the mcr/v97", "script"]
    # it brings its own SPM, not the folder's
    assert (provider.describe()["version"], provider.describe()["tpm"]) == ("unknown", "unknown")
    monkeypatch.delenv("SEMCYCLE_SPM_COMMAND")
    monkeypatch.delenv("SEMCYCLE_SPM_DIR")
    assert find_spm().describe()["version"] == "7771 (SPM12) 13-Jan-20"  # the interpreter was asked
    described = SpmSegmentation("octave", spm).describe()
    assert described["version"] == "7771 (SPM12) 13-Jan-20"
    assert "biasreg 0.001, biasfwhm 60, mrf 1, cleanup 1, reg [0 0.001 0.5 0.05 0.2]" in described["settings"]


def test_another_tpm_is_another_record(make_spm):
    spm = make_spm("octave")
    described = SpmSegmentation(spm_dir=spm).describe()
    (spm / "tpm" / "TPM.nii").write_bytes(b"another")
    assert described["tpm"] != SpmSegmentation(spm_dir=spm).describe()["tpm"]


def test_no_spm_leaves_no_folder_behind(make_spm, monkeypatch, tmp_path, capsys):
    from semcycle.cli import main

    make_spm("octave", "print('semcycle: no spm'); raise SystemExit(1)")
    write_case(tmp_path / "cohort", "a", lesion=False)
    out = tmp_path / "store"
    words = ["semcycle", "prepare", "phantom", tmp_path / "cohort", "--tissue", "spm", "--out", out]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "--tissue-dir" in capsys.readouterr().err
    assert not out.exists()


def test_no_room_for_the_scan_names_the_folder(make_spm, ball, monkeypatch):
    spm = make_spm("octave")
    provider = SpmSegmentation(spm_dir=spm)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("semcycle.tissue.spm.save_volume", fail)
    with pytest.raises(TissueError, match=f"room for the scan in {tempfile.gettempdir()}, got No space.*TMPDIR"):
        provider.maps(*ball)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_spm_and_its_scan_end_with_semcycle(make_spm, tmp_path, number):
    started = tmp_path / "started"
    child = f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    spm = make_spm("octave", f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])")
    write_case(tmp_path, "a", lesion=False)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code = (
        "import sys; from pathlib import Path; from semcycle.volume import load_volume\n"
        "from semcycle.processes import end_on_signals; from semcycle.tissue.spm import SpmSegmentation\n"
        "end_on_signals()\n"
        "SpmSegmentation(spm_dir=Path(sys.argv[1])).maps(None, load_volume(Path(sys.argv[2])))"
    )
    scan = next(tmp_path.rglob("*_t2.nii*"))
    environment = os.environ | {"TMPDIR": str(scratch)}
    with subprocess.Popen([sys.executable, "-c", code, str(spm), str(scan)], env=environment) as process:
        wait_until(lambda: started.exists() and started.read_text())
        assert len(list(scratch.iterdir())) == 1
        process.send_signal(number)
        process.wait(10)
    wait_until(lambda: not list(scratch.iterdir()))
    wait_until(lambda: not is_running(int(started.read_text())))


def is_running(pid):
    """Whether a process lives; one that ended but was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition):
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError

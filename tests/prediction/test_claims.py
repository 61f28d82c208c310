"""A scan is done by one job: claims, those of dead processes, and several jobs in one folder."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from semcycle.prediction import claims
from semcycle.prediction.claims import HOURS, claim_scan, sweep_claims
from semcycle.prediction.folder import PredictSettings, predict_files
from semcycle.training.calibration import Threshold
from semcycle.training.checkpoint import load_checkpoint

OLD = Path(__file__).parent / "f4e7b19"
SETTINGS = PredictSettings("literal", Threshold("given", 0.35, "given by the user"))


def test_a_claim_is_ours_alone_and_ends_with_its_block(tmp_path):
    with claim_scan(tmp_path, "scan") as first, claim_scan(tmp_path, "scan") as second:
        assert (first, second) == (True, False)
    with claim_scan(tmp_path, "scan") as third:
        assert third
    assert not (tmp_path / ".scan.claim").exists()


KILLED = """
import os, sys
from pathlib import Path
from semcycle.prediction.claims import claim_scan
with claim_scan(Path(sys.argv[1]), "scan") as is_ours:
    assert is_ours
    print("claimed", flush=True)
    sys.stdin.read()
"""


def test_the_claim_of_a_killed_process_is_taken_over_even_while_it_is_a_zombie(tmp_path):
    words = [sys.executable, "-c", KILLED, tmp_path]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "claimed\n"
        with claim_scan(tmp_path, "scan") as is_ours:
            assert not is_ours
        sweep_claims(tmp_path)
        assert (tmp_path / ".scan.claim").exists()
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with claim_scan(tmp_path, "scan") as is_ours:  # nobody has waited for it: its number is still taken
            assert is_ours
    (tmp_path / ".scan.claim").write_text("{")
    sweep_claims(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("hours", "is_taken"), [(0, False), (HOURS - 1, False), (HOURS + 1, True)])
def test_the_claim_of_another_machine_holds_some_hours(tmp_path, hours, is_taken):
    path = tmp_path / ".scan.claim"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "time": 0}))
    before = time.time() - 3600 * hours
    os.utime(path, (before, before))
    with claim_scan(tmp_path, "scan") as is_ours:
        assert is_ours == is_taken
    assert path.exists() != is_taken


def test_where_there_are_no_locks_a_claim_of_this_machine_holds_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claims.fcntl, "flock", refuse)
    with claim_scan(tmp_path, "scan") as first, claim_scan(tmp_path, "scan") as second:
        assert (first, second) == (True, False)
    with claim_scan(tmp_path, "scan") as third:
        assert third
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    names = [f"ball{number}" for number in range(6)]
    return {name: Path(shutil.copy(OLD / "ball.nii.gz", folder / f"{name}.nii.gz")) for name in names}


def outputs(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.nii.gz")}


@pytest.mark.slow
def test_outputs_are_the_same_bytes_however_many_workers(scans, tmp_path):
    for workers in (1, 2):
        assert (
            predict_files(scans, load_checkpoint(OLD / "model"), tmp_path / f"{workers}", SETTINGS, workers=workers)
            == []
        )
    assert outputs(tmp_path / "1") == outputs(tmp_path / "2")
    assert len(outputs(tmp_path / "2")) == 4 * len(scans)
    tables = [pd.read_csv(tmp_path / f"{workers}/summary.csv").drop(columns="seconds") for workers in (1, 2)]
    pd.testing.assert_frame_equal(*tables)


JOB = """
import sys
from pathlib import Path
from semcycle.prediction.folder import PredictSettings, predict_files
from semcycle.training.checkpoint import load_checkpoint
model, scans, out, done = sys.argv[1:]
names = {path.name.removesuffix(".nii.gz"): path for path in sorted(Path(scans).glob("*.nii.gz"))}
def draw(prediction, folder, name, record):
    with open(done, "a") as stream:
        stream.write(name + "\\n")
    return []
predict_files(names, load_checkpoint(Path(model)), Path(out), PredictSettings("literal"), draw=draw)
"""


@pytest.mark.slow
def test_four_processes_share_a_folder_and_no_scan_is_lost_or_done_twice(scans, tmp_path):
    folder = next(iter(scans.values())).parent
    (tmp_path / "in").mkdir()
    for path in folder.iterdir():
        shutil.copy(path, tmp_path / "in")
    (tmp_path / "in/bad.nii.gz").write_bytes(b"no scan")
    words = [str(OLD / "model"), str(tmp_path / "in"), str(tmp_path / "out"), str(tmp_path / "done.txt")]
    jobs = [subprocess.Popen([sys.executable, "-c", JOB, *words]) for _ in range(4)]
    assert [job.wait() for job in jobs] == [0] * 4
    assert sorted((tmp_path / "done.txt").read_text().split()) == sorted(scans)
    assert list(pd.read_csv(tmp_path / "out/summary.csv")["scan"]) == sorted(scans)
    assert list(pd.read_csv(tmp_path / "out/failures.csv")["case"]) == ["bad"]
    assert not list((tmp_path / "out").glob(".*.claim"))

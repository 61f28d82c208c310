"""A scan is done by one job: claims, those of dead processes, and several jobs in one folder."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from semcycle.prediction.claims import HOURS, claim_scan
from semcycle.prediction.folder import PredictSettings, predict_files
from semcycle.training.calibration import Threshold
from semcycle.training.checkpoint import load_checkpoint

OLD = Path(__file__).parent / "f4e7b19"
SETTINGS = PredictSettings("literal", Threshold("given", 0.35, "given by the user"))


def write_claim(folder, host, pid):
    path = folder / ".scan.claim"
    path.write_text(json.dumps({"host": host, "pid": pid, "time": time.time()}))
    return path


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_claim_is_ours_alone_and_ends_with_its_block(tmp_path):
    with claim_scan(tmp_path, "scan") as first, claim_scan(tmp_path, "scan") as second:
        assert (first, second) == (True, False)
    with claim_scan(tmp_path, "scan") as third:
        assert third
    assert not (tmp_path / ".scan.claim").exists()


@pytest.mark.parametrize(
    ("here", "alive", "hours", "is_taken"),
    [
        (True, True, 0, False),
        (True, False, 0, True),
        (False, False, 0, False),
        (False, False, HOURS + 1, True),
    ],
)
def test_claims_of_dead_processes_and_old_ones_are_taken_over(tmp_path, here, alive, hours, is_taken):
    path = write_claim(tmp_path, socket.gethostname() if here else "elsewhere", os.getpid() if alive else dead_pid())
    before = time.time() - 3600 * hours
    os.utime(path, (before, before))
    with claim_scan(tmp_path, "scan") as is_ours:
        assert is_ours == is_taken
    assert path.exists() != is_taken


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

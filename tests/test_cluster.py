"""A real Dask scheduler with two workers: same bytes as one process, and killed workers lose no scan."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from semcycle import cluster
from semcycle.cluster import map_on_cluster
from semcycle.errors import ClusterError, WorkerError
from tests.conftest import semcycle

pytest.importorskip("distributed", reason="the extra cluster is not installed")
pytestmark = pytest.mark.slow
OLD = Path(__file__).parent / "prediction" / "f4e7b19"


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """Scheduler file of a cluster whose workers come back; a job may end two of them, the third is its last."""
    folder = tmp_path_factory.mktemp("cluster")
    file = folder / "scheduler.json"
    variables = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "2", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    where = ["--scheduler-file", str(file), "--no-dashboard"]
    words = [
        ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", *where],
        ["distributed.cli.dask_worker", "--nthreads", "1", "--nworkers", "2", *where, "--local-directory", str(folder)],
    ]
    with contextlib.ExitStack() as stack, (folder / "log.txt").open("w") as log:
        for command in words:
            process = subprocess.Popen(
                [sys.executable, "-m", *command], env=environment, stdout=log, stderr=log, start_new_session=True
            )
            stack.callback(_end, process)
            _wait(file.is_file)
        yield str(file)


def _end(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)


def double_or_die(folder, job):
    """Twice the job; 3 kills its worker every time, 5 the first time."""
    once = Path(folder) / "once"
    if job == 3 or (job == 5 and not once.exists()):
        once.touch() if job == 5 else None
        os.kill(os.getpid(), signal.SIGKILL)
    if job == 9:
        raise ValueError(9)
    return 2 * job


def own_pid(shared, job):
    return os.getpid()


def test_a_job_that_ends_three_workers_is_an_error_and_the_others_are_done(scheduler, tmp_path):
    outcomes = dict(map_on_cluster(double_or_die, str(tmp_path), range(8), scheduler))
    assert "3 that were killed" in str(error := outcomes.pop(3))
    assert isinstance(error, WorkerError)
    assert outcomes == {job: 2 * job for job in range(8) if job != 3}


def test_what_a_job_raises_is_raised(scheduler, tmp_path):
    with pytest.raises(ValueError, match="9"):
        list(map_on_cluster(double_or_die, str(tmp_path), [9], scheduler))


def test_predictions_are_the_same_bytes_and_a_killed_worker_loses_none(scheduler, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # workers find relative paths too
    Path("scans").mkdir()
    names = [f"ball{number}" for number in range(6)]
    for name in names:
        shutil.copy(OLD / "ball.nii.gz", f"scans/{name}.nii.gz")
    Path("scans/bad.nii.gz").write_bytes(b"no scan")
    common = ["scans", "--model", str(OLD / "model"), "--preset", "literal", "--fast"]
    semcycle("predict", *common, "--out", "alone", "--workers", "1", expect=1)
    pids = [pid for _, pid in map_on_cluster(own_pid, None, range(4), scheduler)]
    killer = _kill_worker_after(lambda: any(Path("shared").glob("*_record.json")), pids)
    semcycle("predict", *common, "--out", "shared", "--dask", scheduler, expect=1)
    killer.join()
    images = {path.name: path.read_bytes() for path in Path("alone").glob("*.nii.gz")}
    assert len(images) >= 3 * len(names)
    assert images == {path.name: path.read_bytes() for path in Path("shared").glob("*.nii.gz")}
    assert list(pd.read_csv("shared/summary.csv")["scan"]) == names
    assert list(pd.read_csv("shared/failures.csv")["case"]) == ["bad"]
    assert not list(Path("shared").glob(".*.claim"))


def _kill_worker_after(done, pids):
    """In a thread: end a worker process (its nanny starts another) when the condition holds."""

    def kill():
        _wait(done)
        os.kill(pids[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "no address", "missing.json"])
def test_a_missing_scheduler_is_one_line(address, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 1)
    with pytest.raises(ClusterError, match="expected a Dask scheduler"):
        next(map_on_cluster(double_or_die, "", [1], address))


def test_other_versions_are_refused(scheduler, monkeypatch):
    monkeypatch.setattr(cluster, "_versions", lambda: {"torch": "0.1"})
    with pytest.raises(ClusterError, match="same environment"):
        list(map_on_cluster(double_or_die, "", [1], scheduler))


def test_without_the_extra_its_name_is_said(monkeypatch):
    monkeypatch.setattr(cluster, "distributed", None)
    with pytest.raises(ClusterError, match=r"semcycle\[cluster\]"):
        next(map_on_cluster(double_or_die, "", [1], "tcp://127.0.0.1:1"))

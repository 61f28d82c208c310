"""Jobs in processes: all are done, a killed process costs no other job, and workers end with their parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from semcycle import processes
from semcycle.errors import WorkerError
from semcycle.processes import map_jobs

SPAWNED = """\
    import multiprocessing
    import semcycle.processes
    semcycle.processes._start_method = lambda module: multiprocessing.get_context("spawn")
    end_on_signals()"""
UNBORN = """
import multiprocessing
from multiprocessing import resource_tracker
from semcycle import processes
from tests.test_processes import pid_and_sleep
if __name__ == "__main__":
    resource_tracker.ensure_running()
    processes._start_method = lambda module: multiprocessing.get_context("spawn")
    multiprocessing.set_executable("/bin/false")
    print([type(outcome).__name__ for _, outcome in processes.map_jobs(pid_and_sleep, "x" * 1_000_000, [0], 2)])
"""
PARENT = """
import sys, time
from semcycle.processes import end_on_signals, map_jobs
from tests.test_processes import pid_and_sleep
if __name__ == "__main__":
    end_on_signals()
    for _, pid in map_jobs(pid_and_sleep, None, [0, 0, 0, 0, 60, 60, 60], 2):
        print(pid, flush=True)
"""


def pid_and_sleep(shared, seconds):
    time.sleep(seconds)
    return os.getpid()


def double_or_die(folder, job):
    """Twice the job; 3 kills its process every time, 5 the first time."""
    once = Path(folder) / "once"
    if job == 3 or (job == 5 and not once.exists()):
        once.touch() if job == 5 else None
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * job


def test_jobs_are_done_here_in_order_and_only_when_asked(tmp_path):
    taken = []
    outcomes = map_jobs(double_or_die, tmp_path, (taken.append(job) or job for job in (1, 2, 4)), 1)
    assert next(outcomes) == (1, 2)
    assert taken == [1]
    assert list(outcomes) == [(2, 4), (4, 8)]


@pytest.mark.slow
def test_a_job_that_kills_its_processes_is_an_error_and_the_others_are_done(tmp_path):
    outcomes = dict(map_jobs(double_or_die, str(tmp_path), range(12), 2))
    assert isinstance(outcomes.pop(3), WorkerError)
    assert outcomes == {job: 2 * job for job in range(12) if job != 3}


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_catching_ctrl_c(pid):
    """Whether it is a worker whose interpreter has come so far that Ctrl-C would end in a traceback."""
    try:
        caught = next(
            line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt")
        )
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes() and int(caught.split()[1], 16) & 2
    except (OSError, StopIteration):
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at /proc")
def test_a_worker_that_is_still_importing_does_not_hear_ctrl_c(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT.replace("    end_on_signals()", SPAWNED))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, tmp_path / "parent.py"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as parent:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        while parent.poll() is None and not any(map(is_catching_ctrl_c, children.read_text().split())):
            time.sleep(0.001)
        os.killpg(parent.pid, signal.SIGINT)
        said = parent.communicate(timeout=60)[1]
    assert said.count("Traceback") <= 1  # the parent's own
    assert "spawn_main" not in said


@pytest.mark.slow
@pytest.mark.skipif(not Path("/bin/false").exists(), reason="needs a program that does nothing")
def test_a_worker_that_dies_before_it_has_read_anything_is_not_waited_for(tmp_path):
    (tmp_path / "parent.py").write_text(UNBORN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, tmp_path / "parent.py"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.stdout.strip() == "['WorkerError']", done.stderr


def linger(shared, job):
    """Keep the process from ending, as the lock of a queue does that a killed worker held."""
    threading.Thread(target=time.sleep, args=(600,)).start()
    return os.getpid()


@pytest.mark.slow
def test_a_worker_that_does_not_end_by_itself_is_killed(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE_S", 0.5)
    workers = {outcome for _, outcome in map_jobs(linger, None, range(4), 2)}  # ends long before the threads do
    assert workers
    assert not any(map(is_alive, workers))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path, number):
    (tmp_path / "parent.py").write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, tmp_path / "parent.py"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        workers = {int(parent.stdout.readline()) for _ in range(4)}
        assert workers
        assert all(map(is_alive, workers))
        signal_time = time.monotonic()
        os.kill(parent.pid, number)
        parent.wait(10)
    while any(map(is_alive, workers)) and time.monotonic() < signal_time + 10:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_an_end_that_python_drops_is_asked_for_again(name):
    code = (
        "import os, signal, time\n"
        "from semcycle.processes import end_on_signals\n"
        "end_on_signals()\n"
        "class Thing:\n"
        f"    def __del__(self): signal.raise_signal(signal.{name}); time.sleep(0)\n"
        "Thing()\n"
        "time.sleep(20)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=15)
    assert done.returncode == {"SIGTERM": 143, "SIGINT": -2}[name]
    assert "ignored" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the GNU C library's memory")
def test_memory_that_is_kept_is_not_cleared_again():
    code = (
        "import sys, resource, numpy as np\n"
        "from semcycle.processes import keep_memory\n"
        "if sys.argv[1] == 'kept': keep_memory()\n"
        "np.ones(9_000_000, np.float32)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(10): np.ones(9_000_000, np.float32)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    faults = {
        how: int(subprocess.run([sys.executable, "-c", code, how], capture_output=True, check=True).stdout)
        for how in ("kept", "plain")
    }
    assert faults["kept"] < faults["plain"] / 2

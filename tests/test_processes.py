import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import sys, time
from semcycle.processes import end_on_signals, open_pool
if __name__ == "__main__":
    end_on_signals()
    with open_pool(2) as pool:
        pids = {pool.submit(__import__("os").getpid).result() for _ in range(8)}
        waiting = [pool.submit(time.sleep, 60) for _ in range(4)]
        print(*pids, flush=True)
        waiting[0].result()
"""


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path, number):
    (tmp_path / "parent.py").write_text(PARENT)
    with subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True) as parent:
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert workers
        assert all(map(is_alive, workers))
        signal_time = time.monotonic()
        os.kill(parent.pid, number)
        parent.wait(10)
    while any(map(is_alive, workers)) and time.monotonic() < signal_time + 10:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))

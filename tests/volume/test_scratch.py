import fcntl
import os
import signal
import subprocess
import sys
import tempfile

import pytest

from semcycle.volume.scratch import make_scratch, sweep_scratch


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_removed_also_after_an_error(place):
    with pytest.raises(RuntimeError), make_scratch("a") as folder:  # noqa: PT012
        (folder / "scan.nii").touch()
        raise RuntimeError
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_has_is_not(place):
    code = (
        "import signal; from semcycle.volume.scratch import make_scratch\n"
        "with make_scratch('b'): signal.raise_signal(9)"
    )
    ended = subprocess.run([sys.executable, "-c", code], env=os.environ | {"TMPDIR": str(place)}, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len(list(place.iterdir())) == 1
    (place / "semcycle-scratch-mine").mkdir()  # a user's
    (place / "semcycle-scratch-mine" / "scan.nii").touch()
    with make_scratch("a") as folder:
        assert {path.name for path in place.iterdir()} == {folder.name, "semcycle-scratch-mine"}
        with next(folder.iterdir()).open("rb") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        sweep_scratch()
        assert folder.exists()

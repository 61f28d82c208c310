import os
import signal
import subprocess
import sys
import tempfile

import pytest

from semcycle.files import open_scratch


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_removed_also_after_an_error(place):
    with pytest.raises(RuntimeError), open_scratch("a") as folder:  # noqa: PT012
        (folder / "scan.nii").touch()
        raise RuntimeError
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_has_is_not(place):
    code = "import signal; from semcycle.files import open_scratch\nwith open_scratch('a'): signal.raise_signal(9)"
    ended = subprocess.run([sys.executable, "-c", code], env=os.environ | {"TMPDIR": str(place)}, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len(list(place.iterdir())) == 1
    (place / ".semcycle-mine").mkdir()  # a user's
    (place / ".semcycle-mine" / "scan.nii").touch()
    with open_scratch("a") as folder:
        assert {path.name for path in place.iterdir()} == {folder.name, ".semcycle-mine"}
        with open_scratch("a"):
            assert folder.exists()

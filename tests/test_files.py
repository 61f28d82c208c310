import os
import subprocess
import sys

import pytest

from semcycle.files import is_empty, open_scratch, sweep, write_bytes


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o002, 0o664), (0o022, 0o644)])
def test_files_have_the_permissions_that_the_umask_leaves(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "a", b"1")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failed_write_leaves_the_older_file_and_no_other(tmp_path, monkeypatch):
    write_bytes(tmp_path / "a", b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from semcycle.files import write_bytes
os.fsync = lambda _: os.kill(os.getpid(), getattr(signal, sys.argv[2]))
write_bytes(Path(sys.argv[1]) / "a", b"new")
"""


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path):
    write_bytes(tmp_path / "a", b"old")
    (tmp_path / ".mine.part").write_bytes(b"of a user")
    subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, tmp_path, "SIGKILL"], check=False)
    left = set(tmp_path.glob(".a.*.part"))
    assert len(left) == 1
    with subprocess.Popen([sys.executable, "-c", KILLED_WHILE_WRITING, tmp_path, "SIGSTOP"]) as living:
        os.waitpid(living.pid, os.WUNTRACED)  # it stands still while it writes
        writing = set(tmp_path.glob(".a.*.part")) - left
        sweep(tmp_path)
        assert set(tmp_path.glob(".a.*.part")) == writing
        assert len(writing) == 1
        living.kill()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a", ".mine.part"}
    assert (tmp_path / "a").read_bytes() == b"old"
    assert not is_empty(tmp_path)


def test_a_file_that_is_too_large_for_the_disk_is_named(tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="large") as caught:
            write_bytes(tmp_path / "a", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(tmp_path / "a")
    assert is_empty(tmp_path)


def test_a_temporary_folder_goes_with_its_block_and_those_of_killed_processes_with_the_next(tmp_path):
    left = tmp_path / ".scores.123-0123abcd.part"
    left.mkdir()
    (left / "0.masks").touch()
    with open_scratch("scores", tmp_path) as first:
        assert not left.exists()
        with open_scratch("scores", tmp_path) as second:
            assert first.is_dir()
            assert second != first
        assert list(tmp_path.iterdir()) == [first]
    assert not list(tmp_path.iterdir())

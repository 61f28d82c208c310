"""What the commands say, and how much of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from semcycle.console import set_manners
from tests.conftest import ball_brain, make_scan, semcycle

MODEL = Path(__file__).parents[1] / "prediction" / "f4e7b19" / "model"
COMMAND = Path(sys.executable).with_name("semcycle")


@pytest.fixture
def words(tmp_path):
    yield (
        *("predict", make_scan(tmp_path / "a.nii.gz", ball_brain((24, 26, 14))["t2"])),
        *("--model", MODEL, "--out", tmp_path / "out", "--fast", "--preset", "literal", "--overwrite"),
    )
    set_manners(quiet=False, verbose=False)


def test_quiet_says_nothing_but_errors_and_doubts(words, capsys):
    semcycle("--quiet", *words)
    said = capsys.readouterr()
    assert said.out == ""
    assert all(line.startswith("doubtful a") for line in said.err.splitlines() if line[:1] != " ")
    semcycle(*words, "--quiet", "--json")
    assert json.loads(capsys.readouterr().out)[0]["scan"] == "a"
    semcycle("--quiet", "predict", "nowhere", "--out", "x", expect=2)
    assert "error:" in capsys.readouterr().err
    semcycle(*words)
    assert "predictions:" in capsys.readouterr().out


def test_verbose_names_every_item(words, capsys):
    semcycle(*words, "--verbose")
    assert "predict: 1 of 1, a, after" in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path):
    from semcycle.errors import SemcycleError

    with pytest.raises(SemcycleError):
        semcycle("predict", tmp_path / "nowhere", "--out", tmp_path, "--debug")


@pytest.mark.parametrize("no_color", [True, False])
def test_colours_are_left_out_on_demand(no_color):
    environment = {**os.environ, "FORCE_COLOR": "1"} | ({"NO_COLOR": "1"} if no_color else {})
    answer = subprocess.run(
        [sys.executable, "-m", "semcycle.cli", "--help"], capture_output=True, text=True, env=environment, check=True
    )
    coloured = any(f"\x1b[{code}m" in answer.stdout for code in (*range(30, 38), "1;33", "1;36", "1;32"))
    assert coloured != no_color


@pytest.mark.skipif(not COMMAND.is_file(), reason="semcycle is not installed as a command")
@pytest.mark.parametrize(
    ("line", "expected"), [("semcycle pre", {"predict", "prepare"}), ("semcycle predict x --model t2", {"t2-brain"})]
)
def test_a_shell_completes_verbs_and_models(line, expected):
    typed = line.split()
    environment = {
        **os.environ,
        "_SEMCYCLE_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(typed) - 1),
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
    }
    answer = subprocess.run([COMMAND], capture_output=True, text=True, env=environment, check=True)
    assert expected <= set(answer.stdout.split())

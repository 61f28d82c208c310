"""The house stays in order: rooms import downwards, names mean one thing, and CONTRIBUTING says where things are."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "semcycle"
FILES = sorted(SOURCE.rglob("*.py"))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
LONGEST = 400
ROOMS = (
    *("cohorts", "preprocess", "tissue", "store", "methods"),
    *("training", "prediction", "scoring", "report", "studies"),
)


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path):
    """Every module a file imports, anywhere in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def public_definitions(path):
    """Classes and constants that a file defines at its top level: (name, node)."""
    for node in tree(path).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            if isinstance(target, ast.Name) and re.fullmatch(r"[A-Z][A-Za-z0-9_]*", target.id):
                yield target.id, node


def test_the_import_order_is_printed_as_it_is_checked():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert [contract["type"] for contract in contracts] == ["layers"]
    rooms = [layer.replace("semcycle.", "") for layer in contracts[0]["layers"]]
    block = re.search(r"```\n(types : errors.*?)```", CONTRIBUTING, re.DOTALL)
    printed = [re.split(r"\s{2,}", line)[0] for line in block[1].splitlines()]
    assert printed == rooms[::-1]
    names = {name for room in rooms for name in room.split(" : ")}
    present = {path.stem for path in SOURCE.glob("*.py")} | {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert names == present - {"__init__"}


def test_the_table_names_places_that_exist():
    rows = re.findall(r"^\| (.+?) \| `([^`]+)`.*\|$", CONTRIBUTING, re.MULTILINE)
    assert len(rows) >= 20
    assert len({question for question, _ in rows}) == len(rows)
    missing = [place for _, place in rows if not (ROOT / place).exists()]
    assert missing == []


def test_other_paths_in_contributing_exist():
    named = set(re.findall(r"`((?:src|tests|recipes|docs|benchmarks)/[^`\s]+)`", CONTRIBUTING))
    missing = {place for place in named if "mine" not in place and not (ROOT / place).exists()}
    assert missing == set()


def test_the_top_level_is_the_data_flow():
    assert len(list(SOURCE.glob("*/__init__.py"))) <= 12
    assert len(list(SOURCE.glob("*.py"))) <= 9


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_public_names_mean_one_thing():
    places = defaultdict(list)
    for path in FILES:
        for name, _ in public_definitions(path):
            places[name].append(path.relative_to(SOURCE).as_posix())
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_only_exceptions_are_called_errors():
    bases = {}
    for path in FILES:
        for name, node in public_definitions(path):
            if isinstance(node, ast.ClassDef):
                bases[name] = [ast.unparse(base) for base in node.bases]

    def is_error(name):
        return name in ("Exception", "SemcycleError") or any(is_error(base) for base in bases.get(name, ()))

    assert [name for name in bases if name.endswith("Error") != is_error(name)] == []


def test_only_volume_touches_nibabel():
    users = {
        path.relative_to(SOURCE).as_posix() for path in FILES if "nibabel" in {m.split(".")[0] for m in imported(path)}
    }
    assert users == {"volume/__init__.py", "volume/reading.py"}


def test_networks_know_neither_data_nor_losses():
    for path in (SOURCE / "methods" / "networks").glob("*.py"):
        ours = {module for module in imported(path) if module.startswith("semcycle")}
        assert all(module.startswith("semcycle.methods.networks") for module in ours), path


def test_no_room_imports_the_package_face():
    assert [path for path in FILES if "semcycle" in set(imported(path))] == []


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_exports_is_there(room):
    module = importlib.import_module(f"semcycle.{room}")
    for name in getattr(module, "__all__", ()):
        assert getattr(module, name) is not None
        assert not inspect.ismodule(getattr(module, name)), f"{name} is a file of {room} and cannot be a name of it too"
    with pytest.raises(AttributeError, match="no attribute"):
        _ = module.nothing


def test_importing_rooms_loads_no_torch():
    code = f"import sys\nfor room in {ROOMS}: __import__('semcycle.' + room)\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_python_reference_names_rooms_not_files():
    page = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    named = re.findall(r"^::: semcycle\.(\S+)$", page, re.MULTILINE) + re.findall(r"from semcycle\.(\S+) import", page)
    assert len(named) > 20
    for place in named:
        parts = place.split(".")
        assert len(parts) <= 2, place
        module = importlib.import_module("semcycle" if len(parts) == 1 else f"semcycle.{parts[0]}")
        assert hasattr(module, parts[-1]) or (SOURCE / f"{place}.py").is_file() or (SOURCE / place).is_dir(), place

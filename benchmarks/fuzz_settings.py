"""How configuration files stand up to damage: every value of wrong type, size or depth; called by fuzz.py.

A mutant is a file of the laboratory with one value replaced, removed or added, or cut, or blown up. What reads it has
to take it or to refuse it in one line that names the file, within a second; anything else is a defect.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from semcycle.cohorts import get_cohort
from semcycle.errors import SemcycleError, error_line
from semcycle.prediction.records import join_records
from semcycle.report.folder_page import write_index
from semcycle.report.scores_page import report_scores
from semcycle.store.slice_store import SliceStore
from semcycle.store.split import load_split
from semcycle.training.checkpoint import load_checkpoint
from semcycle.training.recipe import load_recipe

OUTCOMES = ("taken", "refused", "slow", "foreign exception")
LIMIT_S = 1.0
"""CPU seconds that reading a mutant may take."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**70, 10**400, 0.5, -0.5, 1e-300, 1e308, float("inf"), float("nan")),
    *("", " ", "x", "none", "nan", "1e999", "../../x", "a\nb", "\x00", "=cmd()", "é" * 3, "x" * 100_000),
    *([], [None], [[]], [0], ["x"] * 50, [1] * 100_000, {}, {"x": 1}, {"": {}}, {"name": []}),
)
"""What takes a value's place."""


def _deep(levels: int) -> Any:
    content: Any = 1
    for _ in range(levels):
        content = [content]
    return content


def list_places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there is a value, in any depth; of long lists the first items."""
    yield path
    items = (
        content.items() if isinstance(content, dict) else enumerate(content[:5]) if isinstance(content, list) else ()
    )
    for key, inner in items:
        yield from list_places(inner, (*path, key))


def mutate_content(content: Any, draw: random.Random) -> Any:
    """A copy with one place changed: another value, no value, another name, or a value too many."""
    changed = copy.deepcopy(content)
    path = draw.choice([place for place in list_places(content) if place] or [()])
    value = copy.deepcopy(draw.choice([*VALUES, _deep(60), _deep(300)]))
    if not path:
        return value
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    kind = draw.choice(["replace"] * 6 + ["remove", "add", "rename"])
    if kind == "remove":
        del parent[path[-1]]
    elif kind == "replace" or isinstance(parent, list):
        parent[path[-1]] = value
    elif kind == "add":
        parent[draw.choice(["x", "", "name", "seed", "1"])] = value
    else:
        parent[f"{path[-1]}_"] = parent.pop(path[-1])
    return changed


def mutate_text(content: bytes, draw: random.Random) -> bytes:
    """The file cut, flipped, in another encoding, or blown up."""
    kind = draw.choice(["cut", "flip", "utf-16", "latin-1", "empty", "brackets", "aliases", "repeat", "digits", "nul"])
    if kind == "cut":
        return content[: draw.randrange(len(content))]
    if kind == "flip":
        place = draw.randrange(len(content))
        return content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :]
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
    )
    return {
        "utf-16": content.decode(errors="replace").encode("utf-16"),
        "latin-1": content + b"\xe9\xff\n",
        "empty": b"",
        "brackets": b"[" * 100_000,
        "aliases": bomb.encode(),
        "repeat": content * 3,
        "digits": content + b"1" * 10_000,
        "nul": content.replace(b"\n", b"\x00\n", 1),
    }[kind]


def _pack_json(content: Any) -> bytes:
    return json.dumps(content, default=str).encode()


def _pack_yaml(content: Any) -> bytes:
    return yaml.safe_dump(content).encode(errors="replace")


def _pack_rows(content: Any) -> bytes:
    """Any content as lines of CSV."""
    rows = content if isinstance(content, list) else [content]
    return "\n".join(",".join(map(str, row)) if isinstance(row, list) else str(row) for row in rows).encode("utf-8")


def _read_rows(content: bytes) -> Any:
    return [line.split(",") for line in content.decode().splitlines()]


@dataclass(frozen=True)
class Subject:
    """A kind of file.

    Attributes:
        place: Below the laboratory.
        parse: Its bytes as plain content.
        pack: Plain content as its bytes.
        read: What reads it, called with the laboratory's folder.
    """

    place: str
    parse: Callable[[bytes], Any]
    pack: Callable[[Any], bytes]
    read: Callable[[Path], object]


def _read_store(lab: Path) -> None:
    store = SliceStore(lab / "store")
    for case in store.case_ids:
        store.subject(case)
        store.load(case)


def _report_maps(lab: Path) -> None:
    join_records(lab / "maps")
    write_index(lab / "maps")


SUBJECTS = {
    "recipe": Subject("tiny.yaml", yaml.safe_load, _pack_yaml, lambda lab: load_recipe(lab / "tiny.yaml").build()),
    "run.json": Subject("run/run.json", json.loads, _pack_json, lambda lab: load_checkpoint(lab / "run")),
    "calibration": Subject("run/calibration.json", json.loads, _pack_json, lambda lab: load_checkpoint(lab / "run")),
    "split": Subject(
        "split.json", json.loads, _pack_json, lambda lab: load_split(lab / "split.json", SliceStore(lab / "store"))
    ),
    "store": Subject("store/manifest.json", json.loads, _pack_json, _read_store),
    "manifest.csv": Subject(
        "cohort/manifest.csv", _read_rows, _pack_rows, lambda lab: get_cohort("manifest").find_cases(lab / "cohort")
    ),
    "predictions": Subject("maps/run.json", json.loads, _pack_json, lambda lab: write_index(lab / "maps")),
    "scan's record": Subject("maps/{scan}_record.json", json.loads, _pack_json, _report_maps),
    "summary": Subject("maps/summary.csv", _read_rows, _pack_rows, lambda lab: write_index(lab / "maps")),
    "failures": Subject("maps/failures.csv", _read_rows, _pack_rows, lambda lab: write_index(lab / "maps")),
    "facts": Subject("scores/facts.json", json.loads, _pack_json, lambda lab: report_scores(lab / "scores")),
    "table": Subject("scores/table.csv", _read_rows, _pack_rows, lambda lab: report_scores(lab / "scores")),
}
"""Name -> file and what reads it."""
SLOW = {"predictions", "scan's record", "summary", "failures", "facts", "table"}
"""Subjects whose reader draws a page: they get a tenth of the mutants, and their time is not judged."""


def outcome(subject: Subject, lab: Path, *, timed: bool) -> tuple[str, str]:
    """What reading comes to, and the exception's words where it is a defect."""
    started = time.process_time()
    try:
        subject.read(lab)
        word, text = "taken", ""
    except SemcycleError as error:
        word, text = "refused", ""
        if lab.name not in error_line(error):
            word, text = "foreign exception", f"a message that names no file: {error_line(error)[:200]}"
    except Exception as error:
        word, text = "foreign exception", f"{type(error).__name__}: {str(error)[:200]}"
    seconds = time.process_time() - started
    return ("slow", f"{seconds:.1f} s") if timed and seconds > LIMIT_S else (word, text)


def run(lab: Path, count: int, seed: int) -> tuple[dict[str, Counter[str]], list[str]]:
    """Read mutants of every subject in turn.

    Args:
        lab: Of :func:`lab.make_lab`; left as it was.
        count: Mutants in all.
        seed: Same seed, same mutants.

    Returns:
        Outcomes by subject, and a line for every defect.
    """
    draw = random.Random(seed)
    table: dict[str, Counter[str]] = {name: Counter() for name in SUBJECTS}
    defects = []
    scan = sorted((lab / "maps").glob("*_record.json"))[0].name.removesuffix("_record.json")
    names = [name for name in SUBJECTS for _ in range(1 if name in SLOW else 10)]
    (lab / "maps" / "failures.csv").write_text("case,reason\na,b\n", encoding="utf-8")
    shutil.copytree(lab / "maps", lab / "maps_whole", dirs_exist_ok=True)
    for number in range(count):
        name = names[number % len(names)]
        subject = SUBJECTS[name]
        path = lab / subject.place.format(scan=scan)
        whole = path.read_bytes()
        try:
            plain = draw.random() < 0.8
            changed = subject.pack(mutate_content(subject.parse(whole), draw)) if plain else mutate_text(whole, draw)
            path.write_bytes(changed)
            word, text = outcome(subject, lab, timed=name not in SLOW)
        finally:
            path.write_bytes(whole)
            if name in SLOW and name != "facts":
                for file in (lab / "maps_whole").glob("*.*"):
                    if file.suffix in (".json", ".csv"):
                        shutil.copyfile(file, lab / "maps" / file.name)
        table[name][word] += 1
        if text:
            defects.append(f"{name}, mutant {number}: {text}; {changed[:80]!r}")
    shutil.rmtree(lab / "maps_whole")
    return table, defects

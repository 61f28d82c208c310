"""Splits: which cases train and which test. By subject, seeded, stratified, written to a file."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semcycle.errors import SplitError
from semcycle.files import read_json, write_json
from semcycle.store.slice_store import SliceStore


@dataclass(frozen=True)
class Split:
    """Which cases of a store train and which test.

    Attributes:
        train: Case ids, sorted.
        test: Case ids, sorted.
        origin: How it was made, in words or as ``{"seed": ..., "test_fraction": ...}``.
    """

    train: list[str]
    test: list[str]
    origin: Any = None

    def save(self, path: Path) -> None:
        """Write ``{"origin": ..., "train": [...], "test": [...]}``.

        Raises:
            SplitError: Something else than a split stands there; it is left as it is.
        """
        if path.is_symlink() or path.exists():
            try:
                ours = path.is_file() and not path.is_symlink() and {"train", "test"} <= set(read_json(path))
            except (OSError, ValueError, RecursionError):
                ours = False
            if not ours:
                msg = f"{path}: expected a new file or an older split, got something else; choose another --out"
                raise SplitError(msg)
        write_json(path, {"origin": self.origin, "train": self.train, "test": self.test})


def read_split(path: Path) -> Split:
    """Read a split file.

    Raises:
        SplitError: The file is missing or malformed.
    """
    try:
        content = read_json(path)
        for side in ("train", "test"):
            if not isinstance(content[side], list) or not all(isinstance(case, str) for case in content[side]):
                msg = f"{side} is no list of names"
                raise TypeError(msg)
        return Split(sorted(content["train"]), sorted(content["test"]), content.get("origin"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f'{path}: expected a split file {{"train": [cases], "test": [cases]}}, got something else ({error})'
        raise SplitError(msg) from error


def load_split(path: Path, store: SliceStore) -> Split:
    """Read a split file and check it against a store.

    Raises:
        SplitError: The file is malformed, names a case the store does not have, or a subject stands on both sides.
    """
    split = read_split(path)
    unknown = [case for case in split.train + split.test if case not in store.case_ids]
    if unknown:
        msg = f"{path}: expected cases of {store.folder}, got {len(unknown)} unknown ones such as {unknown[0]}"
        raise SplitError(msg)
    check_subjects(store, split.train, split.test, str(path))
    return split


def check_subjects(store: SliceStore, train: list[str], test: list[str], where: str) -> None:
    """Refuse a split in which a subject stands on both sides.

    Raises:
        SplitError: Some do; they are named.
    """
    shared = {store.subject(case) for case in train} & {store.subject(case) for case in test}
    if shared:
        msg = f"{where}: expected train and test without a common subject, got {', '.join(sorted(shared)[:5])} in both"
        raise SplitError(msg)


def make_split(store: SliceStore, *, test_fraction: float, seed: int) -> Split:
    """Split a store's cases by subject, with the same share of every group in the test set.

    Args:
        store: The store.
        test_fraction: Share of the subjects of every group to test on, in (0, 1).
        seed: Same seed, same split.

    Raises:
        SplitError: The fraction is out of range or leaves one side empty.
    """
    if not 0 < test_fraction < 1:
        msg = f"expected a test fraction between 0 and 1, got {test_fraction:g}"
        raise SplitError(msg)
    cases: dict[str, list[str]] = defaultdict(list)
    groups: dict[str, str] = {}
    for case in store.case_ids:
        cases[store.subject(case)].append(case)
        groups.setdefault(store.subject(case), str(store.summary(case)["group"]))
    train: list[str] = []
    test: list[str] = []
    generator = random.Random(seed)
    for group in sorted(set(groups.values())):
        subjects = sorted(subject for subject in groups if groups[subject] == group)
        generator.shuffle(subjects)
        cut = round(len(subjects) * test_fraction)
        test += [case for subject in subjects[:cut] for case in cases[subject]]
        train += [case for subject in subjects[cut:] for case in cases[subject]]
    if not train or not test:
        msg = f"{store.folder}: expected cases on both sides, got {len(train)} to train and {len(test)} to test"
        raise SplitError(msg)
    return Split(sorted(train), sorted(test), {"seed": seed, "test_fraction": test_fraction, "store": store.hash})

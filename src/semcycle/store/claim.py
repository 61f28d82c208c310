"""Claim of a folder for a store: who makes what in it, so that a killed run is continued and nothing else replaced."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from semcycle.errors import StoreError
from semcycle.files import is_empty, read_json, write_json
from semcycle.store.slice_store import MANIFEST

SETTINGS = "settings.json"
"""Written first, so that an unfinished store is never continued with other settings."""


def claim_folder(folder: Path, description: dict[str, Any]) -> dict[str, str]:
    """Refuse a folder with a store of other settings; otherwise note ours and mark the store unfinished.

    A note that cannot be read does not bar the folder: every case file holds a hash of the settings it was made with.

    Returns:
        Case -> hash of its file, where the folder held a finished store.

    Raises:
        StoreError: The folder holds other files, or a store of other settings.
    """
    note = folder / SETTINGS
    if note.is_file():
        try:
            noted: dict[str, Any] | None = read_json(note)
        except (ValueError, RecursionError):
            noted = None
        if noted is not None and noted != description:
            differing = _differences(noted, description)
            msg = (
                f"{folder}: expected an empty folder or a store with the same settings, got one made with other "
                f"settings ({differing}); choose another --out or remove it"
            )
            raise StoreError(msg)
    elif not is_empty(folder):
        msg = f"{folder}: expected an empty folder or a slice store, got other files; choose another --out"
        raise StoreError(msg)
    hashes = _listed_hashes(folder / MANIFEST)
    write_json(note, description)
    (folder / MANIFEST).unlink(missing_ok=True)
    return hashes


def claim_new_folder(folder: Path, description: dict[str, Any], cases: Collection[str]) -> None:
    """Claim a folder for a store that is made as a whole: an empty one, or one that a run of the same began or ended.

    Args:
        folder: Of the store.
        description: How it is made.
        cases: Names of those it shall hold.

    Raises:
        StoreError: It holds a finished store of other cases, one of other settings, or other files.
    """
    finished = (folder / MANIFEST).exists() and _listed_hashes(folder / MANIFEST).keys() != set(cases)
    if finished or not (is_empty(folder) or (folder / SETTINGS).is_file()):
        msg = f"{folder}: expected an empty folder, got one with files; choose another --out"
        raise StoreError(msg)
    claim_folder(folder, description)


def _listed_hashes(manifest: Path) -> dict[str, str]:
    try:
        return {name: str(case["sha256"]) for name, case in read_json(manifest)["cases"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _differences(noted: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Name the settings that differ: ``size 96, now 128``."""

    def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for key, value in content.items():
            flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        return flat

    old, new = flatten(noted), flatten(wanted)
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    return ", ".join(f"{key} {old.get(key)}, now {new.get(key)}" for key in keys)

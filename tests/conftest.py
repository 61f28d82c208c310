"""Tiny generated brains, stores and settings shared by the tests."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from semcycle.cohorts.base import Case, Listing
from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.volume import write_arrays

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # of a shell's background job: processes of tests inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real scans; tests that need it are skipped where it is not given."""
    folder = os.environ.get("SEMCYCLE_DATA")
    if not folder:
        pytest.skip("real scans are not here: set SEMCYCLE_DATA to their folder")
    return Path(folder)


def ball_brain(shape=(32, 36, 20), *, seed=0, lesion=True):
    """A ball with a WM core, GM shell and CSF rim, T2-like, and a bright lesion: arrays by name."""
    generator = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    radius = np.sqrt((grid**2).sum(0)) / (0.85 + 0.05 * generator.random())
    brain = radius < 1
    wm, csf = radius < 0.55, brain & (radius > 0.88)
    gm = brain & ~wm & ~csf
    t2 = 300 * wm + 400 * gm + 900 * csf + generator.normal(0, 15, shape)
    centre = np.array([0.35, 0.1, 0.0])[:, None, None, None]
    mask = (((grid - centre) ** 2).sum(0) < 0.05) & brain if lesion else np.zeros(shape, bool)
    t2 = np.where(mask, 800, t2) * brain
    return {"t2": t2.astype(np.float32).clip(0), "lesion": mask, "gm": gm, "wm": wm, "csf": csf}


def write_case(root: Path, case_id: str, *, seed=0, lesion=True, group="", spacing=6.0) -> Case:
    """Write a :func:`ball_brain` as NIfTI files and return its case."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -90
    arrays = ball_brain(seed=seed, lesion=lesion)
    paths = {name: root / case_id / f"{case_id}_{name}.nii.gz" for name in arrays}
    write_arrays({path: arrays[name].astype(np.float32) for name, path in paths.items()}, affine)
    tissue = {name: paths[name] for name in ("gm", "wm", "csf")}
    return Case(
        case_id, f"subject-{case_id}", {"t2": paths["t2"]}, paths["lesion"] if lesion else None, None, tissue, group
    )


SMALL = PreprocessSettings(size=32, pixel_mm=7.0)


@pytest.fixture(scope="session")
def ball_cases(tmp_path_factory) -> list[Case]:
    """Four healthy cases (h0 ...) and two with a lesion (l0, l1)."""
    root = tmp_path_factory.mktemp("cases")
    healthy = [write_case(root, f"h{n}", seed=n, lesion=False, group="healthy") for n in range(4)]
    return healthy + [write_case(root, f"l{n}", seed=10 + n, group="lesion") for n in range(2)]


@pytest.fixture(scope="session")
def ball_store(ball_cases, tmp_path_factory):
    """A finished store of :func:`ball_cases` with tissue maps, 32 x 32 pixels of 7 mm."""
    from semcycle.store.prepare import prepare_store
    from semcycle.store.slice_store import SliceStore
    from semcycle.tissue.maps import ImportedMaps

    folder = tmp_path_factory.mktemp("store") / "store"
    assert prepare_store(Listing(ball_cases), folder, SMALL, ImportedMaps(), cohort="manifest") == []
    return SliceStore(folder)


def tiny_recipe(**changes):
    """A cycle recipe that trains in a second; ``changes`` update its method section."""
    from semcycle.training.recipe import parse_recipe

    method = {
        "name": "cycle",
        "segmentation": {"epochs": 2, "base": 2, "norm": "group", "learning_rate": 0.005},
        "synthesis": {
            "epochs": 2,
            "base": 2,
            "norm": "group",
            "discriminator_base": 2,
            "discriminator_layers": 1,
            "learning_rate": 0.002,
        },
    }
    training = {"batch_size": 8, "validation_share": 0.25}
    return parse_recipe({"training": training, "method": method | changes}, "tiny", "tiny")


def make_scan(path: Path, data, affine=None) -> Path:
    """Write an array as NIfTI, by default at 6 mm."""
    from semcycle.volume import save_volume

    affine = np.diag([6.0, 6.0, 6.0, 1.0]) if affine is None else affine
    save_volume(path, np.asarray(data, np.float32), affine)
    return path


def semcycle(*words, expect=0):
    """Run the command in this process, as a shell would; returns what it printed to both streams."""
    from semcycle import cli

    def run():
        sys.argv = ["semcycle", *map(str, words)]
        try:
            cli.main()
        except SystemExit as stop:
            return stop.code or 0
        return 0

    code = run()
    assert code == expect, f"semcycle {' '.join(map(str, words))} exited with {code}"

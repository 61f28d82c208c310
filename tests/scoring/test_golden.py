"""Tables and curves as f4e7b19 made them, byte by byte: nothing in a score changes without somebody meaning it.

``golden/<verb>-<preset>.json`` holds a preset's lines of ``table.csv``, ``per_case.csv`` and ``comparisons.csv`` and a
digest of every array of its curves. Where a change of a preset's numbers is meant, renew its files and say so in the
commit::

    python -m tests.scoring.test_golden baur
"""

import csv
import hashlib
import json
import sys
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from semcycle.methods.base import Reconstructed
from semcycle.scoring.maps import score_maps
from semcycle.scoring.path_list import read_list
from semcycle.scoring.runs import Contestant, score_runs
from semcycle.scoring.thresholds import ThresholdData
from semcycle.store.slice_store import CaseRecord, CaseSlices, SliceStore, write_case, write_manifest
from semcycle.training.calibration import Threshold

GOLDEN = Path(__file__).with_name("golden")
STORE_PRESETS = ("literal", "baur", "literal,median_mm=9,min_component_mm3=900")
MAP_PRESETS = ("as_is", "as_is,median_size=3,erode_mm=3")
EXPECTED = {"score": STORE_PRESETS, "evaluate": MAP_PRESETS}
TABLES = ("table.csv", "per_case.csv", "comparisons.csv")


def head(shape, seed, lesions):
    """Brain, truth and an image in [0, 1] that is brighter in lesions: cubic lesions, one on the edge."""
    generator = np.random.default_rng(seed)
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    brain = sum(axis**2 for axis in grid) < 0.9
    truth = np.zeros(shape, bool)
    for number in range(lesions):
        side = 2 + (seed + number) % 3
        low = [int(n * share) for n, share in zip(shape, generator.uniform(0.25, 0.65, 3), strict=True)]
        truth[tuple(slice(start, start + side) for start in low)] = True
    if lesions:
        truth[shape[0] // 2, shape[1] // 2, : shape[2] // 8] = True
    image = brain * (0.25 + 0.2 * generator.random(shape) + 0.3 * truth * generator.random(shape))
    return brain, truth, image


def write_store(folder):
    """Seven test cases of six subjects, two of them healthy, and four cases for thresholds."""
    folder.mkdir()
    records = []
    affine = np.diag([5.0, 5.0, 6.0, 1.0]).tolist()
    for seed, (name, lesions) in enumerate(
        [*((f"t{n}", 3) for n in range(5)), ("t5", 0), ("t6", 0), ("v0", 2), ("v1", 2), ("g0", 0), ("g1", 1)]
    ):
        brain, truth, image = head((14, 40, 36), seed, lesions)
        slices = np.arange(len(brain), dtype=np.int32)
        ml = float(truth.sum() * 0.15)
        record = CaseRecord(
            case_id=name,
            subject="t0" if name == "t1" else name,
            group="",
            slices=len(brain),
            lesion_free_slices=int((~truth.any(axis=(1, 2))).sum()),
            brain_ml=float(brain.sum() * 0.15),
            lesion_ml=ml,
            preprocess={"grid": {"pixel_mm": 5.0, "affine": affine}},
        )
        masks = (brain.astype(np.uint8), truth.astype(np.uint8))
        counts = truth.sum(axis=(1, 2)).astype(np.int32)
        write_case(folder, CaseSlices(record, image.astype(np.float16), *masks, slices, counts))
        records.append(record)
    write_manifest(folder, {"cohort": "balls", "preprocess": {}, "tissue": {}}, records, "0")
    return SliceStore(folder)


def flat(x, brain):
    return Reconstructed(
        np.where(brain, np.float32(0.35), np.float32(0)), np.zeros((len(x), 3, *x.shape[1:]), np.float32)
    )


def own(x, brain):
    return Reconstructed(np.zeros_like(x), None, np.where(brain, x * x, np.float32(0)))


def score_store(folder):
    """What `semcycle score` does: a trained run, an untrained method, thresholds from everywhere."""
    store = write_store(folder / "store")
    contestants = [
        Contestant("ours", "toy", frozenset({"h"}), flat),
        Contestant("intensity", "intensity", frozenset(), own),
    ]
    sources = [
        ThresholdData("validation", store, {"ours": ["v0", "v1"], "intensity": ["v1"]}, "balls"),
        ThresholdData("healthy", store, {"ours": ["g0", "g1"], "intensity": ["g0"]}, "balls"),
    ]
    carried = {("ours", preset): [Threshold("model_1", 0.2, "healthy: carried")] for preset in STORE_PRESETS}
    cases = [f"t{n}" for n in range(7)]
    return score_runs(
        contestants, store, cases, presets=STORE_PRESETS, thresholds=sources, carried=carried, resamples=200
    )[0]


def score_files(folder):
    """What `semcycle evaluate` does: many scores, whole numbers, a case that fails."""
    affine = np.array([[-2.0, 0, 0, 5], [0, 0, 2.0, -7], [0, 3.0, 0, 1], [0, 0, 0, 1]])
    lines = ["case,method,prediction,truth,brain,subject,use"]
    uses = ["test"] * 6 + ["validation", "healthy", "test"]
    for seed, use in enumerate(uses):
        brain, truth, image = head((40, 24, 36), 50 + seed, 0 if seed == 5 else 2)
        maps = {
            "ours": np.where(brain, 100 * (image - 0.4) ** 3, np.nan).astype(np.float32),
            "theirs": np.rint(200 * image).astype(np.int16),
        }
        if seed == 8:
            maps["theirs"] = maps["theirs"][1:]
        for name, data in {**maps, "truth": 2 * truth.astype(np.uint8), "brain": brain.astype(np.uint8)}.items():
            nib.save(nib.Nifti1Image(data, affine), folder / f"{name}{seed}.nii.gz")
        subject = min(seed, 7) if seed != 1 else 0
        for name in maps:
            files = f"{name}{seed}.nii.gz,truth{seed}.nii.gz,brain{seed}.nii.gz"
            lines.append(f"c{seed},{name},{files},s{subject if seed != 8 else 8},{use}")
    (folder / "list.csv").write_text("\n".join(lines))
    table, failures = score_maps(
        read_list(folder / "list.csv"), presets=MAP_PRESETS, given={"theirs": 90.0}, resamples=200
    )
    assert [failure.case_id for failure in failures] == ["c8"]
    return table


def of_preset(folder, curves, preset):
    """What a preset has in a score folder."""
    content = {}
    for name in TABLES:
        lines = (folder / name).read_text().splitlines()
        column = lines[0].split(",").index("preset")
        content[name] = [lines[0], *(line for line in lines[1:] if next(csv.reader([line]))[column] == preset)]
    arrays = {name: np.load(folder / "curves.npz")[name] for name in curves if name.split("|")[1] == preset}
    content["curves.npz"] = {
        name: f"{array.dtype.str} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()[:32]}"
        for name, array in arrays.items()
    }
    return content


def file_of(verb, preset):
    return GOLDEN / f"{verb}-{preset.replace(',', '+').replace('=', '-')}.json"


def made(verb, folder):
    """Preset -> its content."""
    table = {"score": score_store, "evaluate": score_files}[verb](folder)
    table.save(folder / "out")
    return {preset: of_preset(folder / "out", table.curves, preset) for preset in EXPECTED[verb]}


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    return {verb: made(verb, tmp_path_factory.mktemp(verb)) for verb in EXPECTED}


@pytest.mark.parametrize(
    ("verb", "preset"), [(verb, preset) for verb, presets in EXPECTED.items() for preset in presets]
)
def test_scores_are_those_of_before(contents, verb, preset):
    golden = json.loads(file_of(verb, preset).read_text())
    found = contents[verb][preset]
    for name in TABLES:
        assert found[name] == golden[name], f"{name} of {preset}"
    assert found["curves.npz"] == golden["curves.npz"]


def test_the_golden_cases_are_hard_enough(contents):
    """Every rule, policy and kind of code occurs."""
    text = "\n".join(line for preset in contents["score"].values() for line in preset["table.csv"])
    for word in (
        "dice_at_validation",
        "at_healthy_1",
        "at_model_1",
        "at_oracle",
        "lesion_slices",
        "per_case_mean_small",
    ):
        assert word in text
    for verb, presets in contents.items():
        for one, other in pairwise(presets.values()):
            assert one["table.csv"] != other["table.csv"], verb
            assert one["curves.npz"] != other["curves.npz"], verb


if __name__ == "__main__":
    import tempfile

    for verb in EXPECTED:
        with tempfile.TemporaryDirectory() as scratch:
            for preset, content in made(verb, Path(scratch)).items():
                if preset in sys.argv[1:] or sys.argv[1:] == ["all"]:
                    GOLDEN.mkdir(exist_ok=True)
                    file_of(verb, preset).write_text(json.dumps(content, indent=0, ensure_ascii=False) + "\n")

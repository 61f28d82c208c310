import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from semcycle.errors import CheckpointError, StoreError
from semcycle.training import Observer, train
from semcycle.training.checkpoint import load_checkpoint
from semcycle.training.recipe import TrainingSettings, parse_recipe
from semcycle.training.slices import Batches, pack_slices
from tests.conftest import SMALL, tiny_recipe

pytestmark = pytest.mark.slow

HEALTHY = ["h0", "h1", "h2", "h3"]


class Killed(Exception):
    pass


class KillAt(Observer):
    """Stops a run in the middle of an epoch, as a power cut would."""

    def __init__(self, stage, epoch, step=1):
        self.at, self.where, self.steps = (stage, epoch), None, step

    def epoch_started(self, stage, epoch, epochs, steps):
        self.where, self.count = (stage, epoch), 0

    def step_done(self, losses):
        self.count += 1
        if self.where == self.at and self.count > self.steps:
            raise Killed


@pytest.fixture(scope="module")
def trained(ball_store, tmp_path_factory):
    torch.set_num_threads(1)
    return train(tiny_recipe(), ball_store, HEALTHY, tmp_path_factory.mktemp("run") / "whole")


def test_run_folder_holds_weights_record_and_curves(trained, ball_store):
    record = json.loads((trained / "run.json").read_text())
    assert record["store"]["hash"] == ball_store.hash
    assert len(record["train_cases"]) == 3
    assert len(record["validation_cases"]) == 1
    assert sorted(record["train_cases"] + record["validation_cases"]) == HEALTHY
    assert record["subjects"] == [f"subject-h{n}" for n in range(4)]
    assert [stage["name"] for stage in record["stages"]] == ["segmentation", "synthesis"]
    lines = (trained / "log.csv").read_text().splitlines()
    assert len(lines) == 5
    assert "validation_accuracy" in lines[0]
    assert "discriminator" in lines[0]
    assert list((trained / "tensorboard").rglob("events*"))
    assert not (trained / "resume.safetensors").exists()
    assert not (trained / "slices").exists()


def test_checkpoint_reproduces_the_method(trained):
    checkpoint = load_checkpoint(trained)
    x = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(
        checkpoint.method.reconstruct(x, torch.ones_like(x)).image,
        load_checkpoint(trained).method.reconstruct(x, torch.ones_like(x)).image,
    )
    assert checkpoint.preprocess == SMALL
    assert not checkpoint.method.training


def test_learning_lowers_the_losses(ball_store, tmp_path):
    recipe = tiny_recipe(
        segmentation={"epochs": 8, "base": 8, "norm": "group", "learning_rate": 0.005},
        synthesis={"epochs": 8, "base": 8, "norm": "group", "discriminator_base": 2, "learning_rate": 0.005},
    )
    seen = []

    class Watch(Observer):
        def epoch_done(self, epoch, batch, sample):
            seen.append(epoch)
            assert sample.image.shape == batch.x.shape

    train(recipe, ball_store, HEALTHY, tmp_path / "run", observer=Watch())
    first, last = seen[0], seen[7]
    assert last.losses["cross_entropy"] < 0.5 * first.losses["cross_entropy"]
    assert last.validation["accuracy"] > 0.8
    assert seen[-1].losses["l1"] < 0.7 * seen[8].losses["l1"]
    assert seen[-1].validation["l1_round_trip"] < seen[8].validation["l1_round_trip"]


@pytest.mark.parametrize(("stage", "epoch"), [("segmentation", 2), ("synthesis", 1), ("synthesis", 2)])
def test_killed_run_resumes_to_the_same_bytes(ball_store, trained, tmp_path, stage, epoch):
    out = tmp_path / "run"
    with pytest.raises(Killed):
        train(tiny_recipe(), ball_store, HEALTHY, out, observer=KillAt(stage, epoch))
    with pytest.raises(CheckpointError, match="--resume"):
        train(tiny_recipe(), ball_store, HEALTHY, out)
    train(tiny_recipe(), ball_store, HEALTHY, out, resume=True)
    assert (out / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()
    curves = [pd.read_csv(run / "log.csv").drop(columns="seconds") for run in (out, trained)]
    pd.testing.assert_frame_equal(*curves)


def test_the_image_pool_survives_a_kill_and_stays_out_of_the_weights(ball_store, trained, tmp_path):
    """A14: what D is shown again after the kill was generated before it."""
    synthesis = {**tiny_recipe().method.synthesis.model_dump(), "pool": 5, "conditional": True}
    recipe = tiny_recipe(synthesis=synthesis)
    whole = train(recipe, ball_store, HEALTHY, tmp_path / "whole")
    with pytest.raises(Killed):
        train(recipe, ball_store, HEALTHY, tmp_path / "run", observer=KillAt("synthesis", 2))
    held = load_file(tmp_path / "run" / "resume.safetensors")["buffer/pools.synthesis.images"]
    assert held.shape == (5, 4, 32, 32)  # image and the three tissues
    train(recipe, ball_store, HEALTHY, tmp_path / "run", resume=True)
    assert (tmp_path / "run/model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    without = tiny_recipe(synthesis={**synthesis, "pool": 0})
    other = load_file(train(without, ball_store, HEALTHY, tmp_path / "other") / "model.safetensors")
    weights = load_file(whole / "model.safetensors")
    assert weights.keys() == other.keys()
    assert any(not torch.equal(weights[name], other[name]) for name in weights if name.startswith("D."))


def select(**training):
    """A recipe whose step is so large that the held-out figure soon rises."""
    recipe = tiny_recipe(segmentation={"epochs": 6, "base": 2, "norm": "group", "learning_rate": 0.9})
    return recipe.model_copy(update={"training": TrainingSettings(batch_size=8, validation_share=0.25, **training)})


def held_out(run, stage="segmentation", name="validation_cross_entropy"):
    log = pd.read_csv(run / "log.csv")
    return log.loc[log["stage"] == stage, name].to_numpy()


def test_patience_ends_a_stage_and_the_next_one_follows(ball_store, tmp_path):
    whole = held_out(train(select(), ball_store, HEALTHY, tmp_path / "whole"))
    run = train(select(patience=1), ball_store, HEALTHY, tmp_path / "run")
    figures = held_out(run)
    rises = np.flatnonzero(np.diff(whole) >= 0)
    assert len(figures) == rises[0] + 2 < 6
    np.testing.assert_array_equal(figures, whole[: len(figures)])
    assert len(held_out(run, "synthesis", "validation_l1_from_maps")) >= 1


def test_best_weights_are_those_of_the_best_epoch(ball_store, tmp_path):
    recipe = select(weights="best")
    run = train(recipe, ball_store, HEALTHY, tmp_path / "run")
    figures = held_out(run)
    assert figures.argmin() < len(figures) - 1
    method = load_checkpoint(run).method
    record = json.loads((run / "run.json").read_text())
    data = pack_slices(ball_store, record["validation_cases"], recipe.slices, tmp_path / "slices")
    found = method.validate("segmentation", Batches(data, torch.device("cpu")).take(np.arange(len(data))))
    assert float(found["cross_entropy"]) == pytest.approx(figures.min(), rel=1e-2)
    assert not list(run.glob("best-*"))


@pytest.mark.parametrize(("stage", "epoch"), [("segmentation", 4), ("synthesis", 1)])
def test_selection_survives_a_kill(ball_store, tmp_path, stage, epoch):
    recipe = select(weights="best", patience=4)
    whole = train(recipe, ball_store, HEALTHY, tmp_path / "whole")
    with pytest.raises(Killed):
        train(recipe, ball_store, HEALTHY, tmp_path / "run", observer=KillAt(stage, epoch))
    train(recipe, ball_store, HEALTHY, tmp_path / "run", resume=True)
    assert (tmp_path / "run/model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_selection_needs_held_out_subjects():
    with pytest.raises(ValueError, match="validation_share above 0"):
        TrainingSettings(validation_share=0, patience=5)


def test_a_finished_run_stands_when_semcycle_learns_a_new_option(ball_store, trained, tmp_path):
    older = tmp_path / "run"
    shutil.copytree(trained, older)
    record = json.loads((older / "run.json").read_text())
    del record["recipe"]["training"]["patience"]
    del record["recipe"]["method"]["synthesis"]["pool"]
    del record["recipe"]["slices"]["slice_margin"]
    record["fingerprint"] = "of an older version"
    for stage in record["stages"]:
        stage["fingerprint"] = "of an older version"
    (older / "run.json").write_text(json.dumps(record))
    assert train(tiny_recipe(), ball_store, HEALTHY, older, resume=True) == older
    reused = train(tiny_recipe(semantics="discrete"), ball_store, HEALTHY, tmp_path / "reused", reuse=older)
    assert (reused / "model.safetensors").is_file()


def test_seed_decides(ball_store, trained, tmp_path):
    again = train(tiny_recipe(), ball_store, HEALTHY, tmp_path / "a")
    assert (again / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()
    other = train(tiny_recipe().model_copy(update={"seed": 1}), ball_store, HEALTHY, tmp_path / "b")
    assert (other / "model.safetensors").read_bytes() != (trained / "model.safetensors").read_bytes()


def test_reuse_spares_the_segmentor_and_changes_nothing(ball_store, trained, tmp_path):
    recipe = tiny_recipe(semantics="discrete")
    alone = train(recipe, ball_store, HEALTHY, tmp_path / "alone")
    seen = []

    class Watch(Observer):
        def epoch_started(self, stage, epoch, epochs, steps):
            seen.append(stage)

    reused = train(recipe, ball_store, HEALTHY, tmp_path / "reused", reuse=trained, observer=Watch())
    assert set(seen) == {"synthesis"}
    assert (reused / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match="same first stage"):
        train(recipe.model_copy(update={"seed": 9}), ball_store, HEALTHY, tmp_path / "no", reuse=trained)


def test_finished_and_foreign_runs_are_not_overwritten(ball_store, trained, tmp_path):
    before = (trained / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(CheckpointError, match="finished run"):
        train(tiny_recipe(), ball_store, HEALTHY, trained)
    assert train(tiny_recipe(), ball_store, HEALTHY, trained, resume=True) == trained
    with pytest.raises(CheckpointError, match="of others"):
        train(tiny_recipe(), ball_store, HEALTHY[:2], trained, resume=True)
    assert (trained / "model.safetensors").stat().st_mtime_ns == before


def test_store_without_tissue_maps_is_refused(ball_cases, tmp_path):
    from semcycle.cohorts.base import Listing
    from semcycle.store.prepare import prepare_store
    from semcycle.store.slice_store import SliceStore

    prepare_store(Listing(ball_cases[:2]), tmp_path / "s", SMALL, None, cohort="manifest")
    with pytest.raises(StoreError, match="tissue maps"):
        train(tiny_recipe(), SliceStore(tmp_path / "s"), ["h0", "h1"], tmp_path / "run")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: (run / "model.safetensors").write_bytes(b"junk"), "damaged"),
        (lambda run: (run / "model.safetensors").unlink(), "unfinished"),
        (lambda run: (run / "run.json").write_text("{}"), "damaged"),
        (lambda run: _rewrite(run, base=4), "S.*is .*not"),
    ],
)
def test_damaged_runs_are_refused(trained, tmp_path, damage, words):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(trained, run)
    damage(run)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(run)


def _rewrite(run, base):
    record = json.loads((run / "run.json").read_text())
    record["recipe"]["method"]["segmentation"]["base"] = base
    (run / "run.json").write_text(json.dumps(record))


def test_batches_cover_an_epoch_without_repeats(ball_store, tmp_path):
    from semcycle.training.slices import SliceSettings, pack_slices

    packed = pack_slices(ball_store, HEALTHY, SliceSettings(), tmp_path)
    batches = Batches(packed, torch.device("cpu"))
    seen = torch.cat([batch.x for batch in batches.epoch(8, seed=1)])
    assert len(seen) == len(packed) // 8 * 8
    assert len(torch.unique(seen.flatten(1), dim=0)) == len(seen)
    shares = [list(batches.epoch(8, seed=1, rank=rank, ranks=2)) for rank in range(2)]
    whole = next(batches.epoch(8, seed=1))
    both = torch.stack([shares[0][0].x, shares[1][0].x], dim=1).flatten(0, 1)
    torch.testing.assert_close(both, whole.x)
    again = next(batches.epoch(8, seed=1))
    torch.testing.assert_close(whole.y, again.y)
    one = batches.take(np.array([3]))
    torch.testing.assert_close(one.y[0] * 255, torch.from_numpy(packed.tissue[3].astype(np.float32)))


@pytest.mark.parametrize(("decay", "factors"), [("linear", [1, 1, 1, 0.5]), ("cosine", [1, 0.8536, 0.5, 0.1464])])
def test_the_learning_rate_falls_as_the_recipe_says(ball_store, tmp_path, decay, factors):
    method = {"name": "denoising", "epochs": 4, "base": 2, "learning_rate": 0.01}
    training = {"batch_size": 1000, "decay": decay, "validation_share": 0}  # one step an epoch
    train(parse_recipe({"training": training, "method": method}, "test", "test"), ball_store, ["h0"], tmp_path / "run")
    rates = pd.read_csv(tmp_path / "run/log.csv")["learning_rate"]
    assert list(rates) == pytest.approx([0.01 * factor for factor in factors], rel=1e-3)


def test_two_processes_learn_what_one_learns(ball_store, tmp_path):
    """Gradients averaged over two CPU processes equal those of one: same data, same order, same weights."""
    script = f"""
import sys
from pathlib import Path
import torch
from safetensors.torch import load_file
torch.set_num_threads(1)
from semcycle.store.slice_store import SliceStore
from semcycle.training import Hardware, train
from tests.conftest import tiny_recipe
hardware = Hardware("cpu", devices=int(sys.argv[1]))
train(tiny_recipe(), SliceStore(Path({str(ball_store.folder)!r})), {HEALTHY}, Path(sys.argv[2]), hardware=hardware)
"""
    file = tmp_path / "script.py"
    file.write_text(script)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    for count in ("1", "2"):
        done = subprocess.run(
            [sys.executable, str(file), count, str(tmp_path / count)],
            capture_output=True, text=True, timeout=300, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
    x = torch.from_numpy(ball_store.load("h0").image[8:10, None].astype(np.float32))
    one, two = (load_checkpoint(tmp_path / count).method.reconstruct(x, (x > 0).float()) for count in "12")
    # sums are rounded in another order, which Adam amplifies at single pixels
    torch.testing.assert_close(one.image, two.image, rtol=0, atol=0.03)
    torch.testing.assert_close(one.tissue, two.tissue, rtol=0, atol=0.01)

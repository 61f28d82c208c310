"""The refiner: what it sees, what its loss counts, and that a run of it loads and resumes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from semcycle.errors import CheckpointError, StoreError
from semcycle.methods.base import Batch, Reconstructed
from semcycle.methods.cycle import Cycle, CycleSettings, SegmentationSettings, SynthesisSettings
from semcycle.methods.refine import Refine, RefineSettings
from semcycle.prediction.prediction import reconstruct_slices
from semcycle.store.paste import PasteSettings, paste_stores
from semcycle.store.slice_store import CaseRecord, CaseSlices, SliceStore, write_case, write_manifest
from semcycle.training.checkpoint import load_checkpoint
from semcycle.training.loop import train
from semcycle.training.recipe import Recipe, TrainingSettings
from semcycle.training.slices import SliceSettings

SMALL = CycleSettings(
    segmentation=SegmentationSettings(base=2, epochs=1),
    synthesis=SynthesisSettings(base=2, discriminator_base=2, discriminator_layers=1, epochs=1, norm="group"),
)


def settings(**changes: object) -> RefineSettings:
    return RefineSettings.model_validate({"cycle": SMALL, "base": 4, "epochs": 2, **changes})


def batch(count: int = 4, size: int = 48) -> Batch:
    """Brains with a bright square that is the anomaly."""
    torch.manual_seed(0)
    brain = torch.zeros(count, 1, size, size)
    brain[..., 8:40, 8:40] = 1
    x = (0.25 + 0.02 * torch.randn(count, 1, size, size)) * brain
    anomaly = torch.zeros_like(brain)
    anomaly[..., 14:24, 16:26] = 1
    x = x + 0.3 * (anomaly == 1)
    frozen = torch.cat([0.25 * brain, brain, torch.zeros(count, 2, size, size)], dim=1)
    height = torch.linspace(0, 1, count).view(-1, 1, 1, 1)
    return Batch(x, brain, None, torch.ones_like(x), torch.cat([x, x], 1), height, anomaly, frozen)


def test_loss_of_a_blind_network_in_closed_form() -> None:
    method = Refine(settings())
    for parameter in method.net.head.parameters():
        torch.nn.init.zeros_(parameter)
    figures = method.validate("refinement", batch())
    assert float(figures["cross_entropy"]) == pytest.approx(np.log(2), abs=1e-5)
    target, counts = 4 * 100, 4 * 32 * 32
    assert float(figures["dice_loss"]) == pytest.approx(1 - (target + 1) / (0.5 * counts + target + 1), abs=1e-5)


def test_doubtful_pixels_lesions_and_background_do_not_count() -> None:
    method = Refine(settings()).eval()
    logits, given = torch.randn(4, 1, 48, 48), batch()
    before = method._errors(logits, given)
    doubtful = given.anomaly.clone()
    doubtful[..., 30:35, 30:35] = 2
    valid = given.valid.clone()
    valid[..., 10:13, 10:13] = 0
    given = given._replace(anomaly=doubtful, valid=valid)
    other = logits.clone()
    other[..., 30:35, 30:35] += 5
    other[..., 10:13, 10:13] -= 5
    other[..., :8, :] += 9
    torch.testing.assert_close(method._errors(other, given), method._errors(logits, given))
    assert before[0] != method._errors(logits, given)[0]


def test_a_few_steps_find_the_square() -> None:
    method = Refine(settings())
    optimizer = torch.optim.Adam(method.net.parameters(), 1e-2)
    given, losses = batch(), []
    for _ in range(40):
        method.net.train()
        (step,) = method.losses("refinement", given)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        losses.append(float(step.loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    score = method.sample("refinement", given).score
    assert score is not None
    inside = given.anomaly == 1
    assert score[inside].mean() > 2 * score[~inside & (given.brain > 0)].mean()
    assert all(parameter.grad is None for parameter in method.cycle.parameters())


def test_the_score_of_a_scan_is_that_of_its_slices() -> None:
    """``finish`` agrees with a batch that holds the same neighbours and heights; it fills the brain only."""
    torch.manual_seed(1)
    method = Refine(settings()).eval()
    brain = np.zeros((6, 48, 48), bool)
    brain[1:5, 8:40, 8:40] = True
    x = np.where(brain, np.random.default_rng(0).random(brain.shape), 0).astype(np.float32)
    made = reconstruct_slices(method, x, brain)
    assert made.score is not None
    assert made.score.min() >= 0
    assert made.score.max() <= 1
    assert (made.score[~brain] == 0).all()

    def tensor(data: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.asarray(data, np.float32))

    masks, images = tensor(brain[3:4, None]), tensor(x[3:4, None])
    frozen = method.freeze(images, masks)
    given = Batch(images, masks, None, masks, tensor(x[None, [2, 4]]), torch.full((1, 1, 1, 1), 0.5), None, frozen)
    expected = (method._logits(given).sigmoid() * masks)[0, 0].detach().numpy()
    # zero padding meets the brain's edge in the crop and the empty background in the slice
    np.testing.assert_allclose(made.score[3, 20:28, 20:28], expected[20:28, 20:28], atol=0.05)


def test_neighbours_and_heights_reach_the_network() -> None:
    method = Refine(settings()).eval()
    brain = np.ones((3, 16, 16), bool)
    x = np.stack([np.full((16, 16), value, np.float32) for value in (0.1, 0.2, 0.4)])
    made = Reconstructed(np.zeros_like(x), np.zeros((3, 3, 16, 16), np.float32))
    given = method._scan_batch(x, brain, made, np.array([0, 1, 2]))
    assert given.context is not None
    np.testing.assert_allclose(given.context[:, :, 0, 0], [[0.1, 0.2], [0.1, 0.4], [0.2, 0.4]], atol=1e-6)
    np.testing.assert_allclose(given.height.flatten(), [0, 1 / 3, 2 / 3], atol=1e-6)
    assert method._inputs(given).shape == (3, 10, 16, 16)
    blind = Refine(settings(inputs=("x",)))
    assert blind._inputs(given).shape == (3, 1, 16, 16)
    assert blind.freeze(given.x, given.brain) is None


def test_missing_neighbours_are_named() -> None:
    with pytest.raises(ValueError, match="neighbours.*slices.context"):
        Refine(settings())._inputs(batch()._replace(context=None))


@pytest.fixture
def store(tmp_path: Path) -> SliceStore:
    """Three small prepared heads."""
    rng = np.random.default_rng(0)
    brain = np.zeros((12, 32, 32), bool)
    brain[1:11, 4:28, 6:26] = True
    grid = {"affine": np.diag([1.0, 1, 4, 1]).tolist(), "pixel_mm": 1.875}
    records = []
    for name in ("a", "b", "c"):
        image = np.where(brain, 0.25 + 0.03 * rng.standard_normal(brain.shape), 0)
        record = CaseRecord(name, name, "all", 12, 12, 100.0, 0.0, preprocess={"grid": grid})
        none = np.zeros_like(brain, dtype=np.uint8)
        case = CaseSlices(
            record,
            image.astype(np.float16),
            brain.astype(np.uint8),
            none,
            np.arange(12, dtype=np.int32),
            np.zeros(12, np.int32),
        )
        write_case(tmp_path / "store", case)
        records.append(record)
    described = {"cohort": "made", "preprocess": {"size": 32, "pixel_mm": 1.875, "slices": None}, "tissue": {}}
    write_manifest(tmp_path / "store", described, records, "0")
    return SliceStore(tmp_path / "store")


@pytest.fixture
def pasted(store: SliceStore, tmp_path: Path) -> SliceStore:
    return paste_stores([store], tmp_path / "pasted", PasteSettings(copies=2))


def recipe(start: str, **changes: object) -> Recipe:
    return Recipe(
        name="test",
        start=start,
        slices=SliceSettings(lesions="mask", context=1, min_brain=0.0),
        training=TrainingSettings(batch_size=4, validation_share=0.34),
        method_name="refine",
        method=settings(**changes),
    )


@pytest.fixture
def cycle_run(store: SliceStore, tmp_path: Path) -> Path:
    """A finished run of the cycle whose weights nobody trained."""
    from semcycle.training.checkpoint import save_checkpoint

    torch.manual_seed(3)
    made = Recipe(name="cycle", method_name="cycle", method=SMALL)
    record = {
        "fingerprint": "of a test",
        "recipe": made.to_dict(),
        "store": {"hash": store.hash, "settings": {"preprocess": {"size": 32, "pixel_mm": 1.875, "slices": None}}},
    }
    save_checkpoint(tmp_path / "cycle", made.build(), record)
    return tmp_path / "cycle"


@pytest.mark.slow
def test_train_save_load_and_resume_to_the_same_bytes(
    pasted: SliceStore, cycle_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(recipe(str(cycle_run)), pasted, pasted.case_ids, tmp_path / "whole")
    loaded = load_checkpoint(run).method
    cycle = load_checkpoint(cycle_run).method
    assert isinstance(loaded, Refine)
    assert isinstance(cycle, Cycle)
    for name, tensor in cycle.S.state_dict().items():
        assert torch.equal(tensor, loaded.cycle.S.state_dict()[name]), f"S changed: {name}"

    import semcycle.training.loop as loop

    save: Callable[..., None] = loop.save_progress

    def killed(*arguments: object) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_progress", killed)
    with pytest.raises(KeyboardInterrupt):
        train(recipe(str(cycle_run)), pasted, pasted.case_ids, tmp_path / "resumed")
    monkeypatch.undo()
    train(recipe(str(cycle_run)), pasted, pasted.case_ids, tmp_path / "resumed", resume=True)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "resumed")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_second_network_learns_beside_the_first_and_the_score_is_of_their_mean_log_odds(
    pasted: SliceStore, cycle_run: Path, tmp_path: Path
) -> None:
    first = train(recipe(str(cycle_run), epochs=1), pasted, pasted.case_ids, tmp_path / "first")
    other = recipe(str(first), epochs=1, kept=1, kept_share=0.7).model_copy(update={"seed": 1})
    second = train(other, pasted, pasted.case_ids, tmp_path / "second")
    one, both = (load_checkpoint(run).method for run in (first, second))
    assert isinstance(one, Refine)
    assert isinstance(both, Refine)
    for name, tensor in one.net.state_dict().items():
        assert torch.equal(tensor, both.kept[0].state_dict()[name]), f"the first changed: {name}"
    case = pasted.load(pasted.case_ids[0])
    x, brain = np.asarray(case.image, np.float32), np.asarray(case.brain) > 0
    alone, mean = (reconstruct_slices(method, x, brain).score for method in (one, both))
    both.kept[0] = both.net  # now the new one, twice
    new = reconstruct_slices(both, x, brain).score
    assert alone is not None
    assert mean is not None
    assert new is not None
    assert not np.allclose(alone, new)
    inside = brain & (mean > 0)
    odds = [np.log(score[inside] / (1 - score[inside])) for score in (alone, new, mean)]
    np.testing.assert_allclose(odds[2], 0.7 * odds[0] + 0.3 * odds[1], atol=1e-4)
    assert both.networks == ("cycle.S", "cycle.G", "net", "kept.0")
    for start, kept in ((cycle_run, 1), (first, 2), (second, 0)):
        with pytest.raises(CheckpointError, match="kept"):
            train(recipe(str(start), kept=kept), pasted, pasted.case_ids, tmp_path / f"wrong{kept}")


def test_the_cycle_it_stands_on_must_have_the_recipes_settings(
    pasted: SliceStore, cycle_run: Path, tmp_path: Path
) -> None:
    other = SMALL.model_copy(update={"temperature": 2.0})
    with pytest.raises(CheckpointError, match=r"cycle.*settings in the recipe"):
        train(recipe(str(cycle_run), cycle=other), pasted, pasted.case_ids, tmp_path / "run")


def test_a_store_without_drawn_anomalies_is_refused(store: SliceStore, cycle_run: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="drawn anomalies.*semcycle paste"):
        train(recipe(str(cycle_run)), store, store.case_ids, tmp_path / "run")

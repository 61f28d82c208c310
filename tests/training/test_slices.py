import numpy as np
import pytest
import torch

from semcycle.errors import StoreError
from semcycle.training.slices import (
    Batches,
    SliceSettings,
    freeze_slices,
    neighbour_indices,
    pack_slices,
    used_cases,
)


def test_paper_rule_keeps_lesion_free_slices_with_brain(ball_store, tmp_path):
    settings = SliceSettings()
    packed = pack_slices(ball_store, ["h0", "l0"], settings, tmp_path)
    expected = 0
    for case in ("h0", "l0"):
        slices = ball_store.load(case)
        expected += ((slices.lesion_voxels == 0) & (slices.brain.mean(axis=(1, 2)) >= 0.01)).sum()
    assert len(packed) == expected
    assert packed.valid.min() == 1
    assert isinstance(packed.image, np.memmap)
    assert packed.tissue.shape == (expected, 3, 32, 32)


def test_mask_keeps_lesion_slices_and_hides_the_lesion(ball_store, tmp_path):
    packed = pack_slices(ball_store, ["l0"], SliceSettings(lesions="mask", lesion_margin=1), tmp_path)
    slices = ball_store.load("l0")
    kept = slices.brain.mean(axis=(1, 2)) >= 0.01
    lesion = slices.lesion[kept] > 0
    assert len(packed) == kept.sum()
    assert lesion.any()
    assert (packed.valid[:, 0][lesion] == 0).all()
    hidden = (packed.valid[:, 0] == 0).sum()
    assert lesion.sum() < hidden < 3 * lesion.sum()
    z = lesion.sum(axis=(1, 2)).argmax()
    rows = np.flatnonzero(lesion[z].any(axis=1))
    assert (packed.valid[z, 0, rows[0] - 1] == 0).any()
    assert (packed.valid[z, 0, rows[0] - 2] == 1).all()


def test_every_second_slice_of_those_that_are_left(ball_store, tmp_path):
    whole = {case: pack_slices(ball_store, [case], SliceSettings(), tmp_path / case).image for case in ("h0", "l0")}
    half = pack_slices(ball_store, ["h0", "l0"], SliceSettings(every=2), tmp_path / "half")
    np.testing.assert_array_equal(half.image, np.concatenate([image[::2] for image in whole.values()]))
    assert "every" not in SliceSettings().model_dump()
    assert SliceSettings(every=2).model_dump()["every"] == 2


def test_flagged_cases_can_be_left_out(ball_store, monkeypatch):
    summary = ball_store.summary
    monkeypatch.setattr(ball_store, "summary", lambda case: summary(case) | {"flags": ["bad"] if case == "h1" else []})
    assert used_cases(ball_store, ["h1", "h0"], SliceSettings(leave_out_flagged=True)) == ["h0"]
    assert used_cases(ball_store, ["h1", "h0"], SliceSettings()) == ["h0", "h1"]


def test_no_slice_left_is_an_error(ball_store, tmp_path):
    with pytest.raises(StoreError, match="relax `slices`"):
        pack_slices(ball_store, ["h0"], SliceSettings(min_brain=0.99), tmp_path)


def test_neighbours_stay_within_their_case(ball_store, tmp_path):
    assert neighbour_indices(3, 2).tolist() == [[0, 0, 1, 2], [0, 0, 2, 2], [0, 1, 2, 2]]
    packed = pack_slices(ball_store, ["h0", "h1"], SliceSettings(context=1), tmp_path)
    first = len(pack_slices(ball_store, ["h0"], SliceSettings(), tmp_path / "h0"))
    batch = Batches(packed, torch.device("cpu")).take(np.array([first - 1, first, first + 1]))
    shown = torch.from_numpy(packed.image[:, 0].astype(np.float32))
    assert torch.equal(batch.context[0], shown[[first - 2, first - 1]])
    assert torch.equal(batch.context[1], shown[[first, first + 1]])
    assert torch.equal(batch.context[2], shown[[first, first + 2]])


def test_frozen_networks_look_once_at_every_slice(ball_store, tmp_path):
    class Doubler:
        looks = 0

        def freeze(self, x, brain):
            self.looks += len(x)
            return torch.cat([2 * x, brain], dim=1)

    method = Doubler()
    packed = pack_slices(ball_store, ["h0"], SliceSettings(), tmp_path)
    path = freeze_slices(packed, method, tmp_path, torch.device("cpu"), "one")
    assert method.looks == len(packed)
    batch = Batches(packed, torch.device("cpu"), path).take(np.array([3, 1]))
    torch.testing.assert_close(batch.frozen[:, :1], 2 * batch.x, atol=1e-3, rtol=0)
    assert torch.equal(batch.frozen[:, 1:], batch.brain)
    freeze_slices(packed, method, tmp_path, torch.device("cpu"), "one")
    assert method.looks == len(packed)
    freeze_slices(packed, method, tmp_path, torch.device("cpu"), "another")
    assert method.looks == 2 * len(packed)

"""Tissue maps of a model's S: they are tissue, the same with any number of threads, and refused where there is no S."""

import numpy as np
import pytest
import torch

from semcycle.cohorts.base import Case
from semcycle.errors import CheckpointError, TissueError
from semcycle.files import file_hash, read_json
from semcycle.methods import method_class
from semcycle.tissue import tissue_provider
from semcycle.training.checkpoint import save_checkpoint
from semcycle.training.recipe import parse_recipe
from semcycle.training.shipped import model_folder
from semcycle.training.tissue_model import SegmenterTissue
from semcycle.volume import make_volume, save_volume
from semcycle.volume.template import T2_LEVELS, tissue_template
from tests.conftest import SMALL, semcycle


@pytest.fixture(scope="module")
def head():
    """The template brain as a T2 scan at 2 mm: scan, brain, true tissue."""
    tissue, affine = tissue_template(2)
    brain = tissue.sum(axis=0) > 0.5
    data = 500 * np.einsum("a,aijk->ijk", T2_LEVELS, tissue) * brain
    return make_volume(data, affine), brain, tissue


def maps_of(head, provider):
    volume, brain, _ = head
    return provider.maps(Case("a", "a", {}), volume, brain, np.zeros_like(brain))


def test_it_finds_the_tissue_of_the_template(head):
    _, brain, tissue = head
    maps = maps_of(head, tissue_provider("model"))
    called, true = maps.data.argmax(axis=0)[brain], tissue.argmax(axis=0)[brain]
    dice = [2 * ((called == k) & (true == k)).sum() / ((called == k).sum() + (true == k).sum()) for k in range(3)]
    assert min(dice) > 0.7
    assert maps.data[:, ~brain].max() == 0
    assert "model t2-brain" in maps.source


def test_threads_change_no_digit(head):
    threads = torch.get_num_threads()
    made = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            made.append(maps_of(head, tissue_provider("model")).data)
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(*made)


def test_prepare_takes_it_and_names_the_model_with_its_weights(head, tmp_path):
    volume, _, _ = head
    save_volume(tmp_path / "scans/a_t2.nii.gz", volume.data, volume.affine)
    (tmp_path / "scans/manifest.csv").write_text("case,t2\na,a_t2.nii.gz\n")
    semcycle("prepare", "manifest", tmp_path / "scans", "--tissue", "model", "--out", tmp_path / "store")
    weights = file_hash(model_folder() / "t2-brain/model.safetensors")
    described = read_json(tmp_path / "store/manifest.json")["settings"]["tissue"]
    assert described == {"provider": "model", "model": "t2-brain", "weights": weights}
    other = tissue_provider("model", model_folder() / "t2-brain-1").describe()
    assert other["weights"] != weights


def test_a_folder_without_an_s_is_refused_before_any_scan(tmp_path):
    with pytest.raises(CheckpointError, match="finished run"):
        SegmenterTissue(tmp_path).describe()
    settings = method_class("denoising").Settings(base=2).model_dump(mode="json")
    recipe = parse_recipe({"method": {"name": "denoising", **settings}}, "plain", "plain")
    store = {"settings": {"preprocess": SMALL.model_dump(mode="json")}}
    save_checkpoint(tmp_path, recipe.build(), {"fingerprint": "x", "recipe": recipe.to_dict(), "store": store})
    with pytest.raises(TissueError, match="method cycle or refine, whose S maps tissue, got one of denoising"):
        SegmenterTissue(tmp_path).describe()

"""What every provider of tissue maps promises, whichever it is."""

import json
import pickle

import numpy as np
import pytest

from semcycle.errors import TissueError
from semcycle.tissue import TISSUE, tissue_provider
from semcycle.volume import load_volume
from tests.conftest import write_case

NEEDS_A_HEAD = ("atlas", "atlas-fast", "model")
"""A ball is no brain; what these make of one is tested in tests/tissue and tests/training."""


@pytest.fixture(params=sorted(TISSUE))
def provider(request, monkeypatch):
    """Name and provider; SPM is not installed here and says so."""
    monkeypatch.setenv("PATH", "")
    if request.param == "spm":
        with pytest.raises(TissueError, match="expected"):
            tissue_provider("spm")
        pytest.skip("SPM is not on the PATH: its maps are tested in tests/tissue with a stand-in")
    return request.param, tissue_provider(request.param)


def test_it_can_be_described_and_sent_to_another_process(provider, tmp_path):
    name, made = provider
    if made is None:
        assert name == "none"
        return
    assert json.loads(json.dumps(made.describe())) == made.describe()
    assert pickle.loads(pickle.dumps(made)).describe() == made.describe()
    case = write_case(tmp_path, "a")
    assert all(path.is_file() for path in made.files(case))


def test_its_maps_are_probabilities_on_the_scans_grid(provider, tmp_path):
    name, made = provider
    if made is None or name in NEEDS_A_HEAD:
        return
    case = write_case(tmp_path, "a")
    volume = load_volume(case.images["t2"])
    brain = volume.data > 0
    maps = made.maps(case, volume, brain, np.zeros_like(brain))
    assert maps.data.shape == (3, *volume.shape)
    assert maps.data.min() >= 0
    assert maps.data.sum(axis=0).max() <= 1 + 1e-5
    assert maps.data.max(axis=(1, 2, 3)).min() > 0.5
    assert maps.source


def test_descriptions_tell_providers_apart():
    described = [json.dumps(tissue_provider(name).describe()) for name in ("atlas", "atlas-fast", "model", "maps")]
    assert len(set(described)) == 4


def test_unknown_providers_are_refused():
    with pytest.raises(TissueError, match="expected a tissue provider of"):
        tissue_provider("nothing")

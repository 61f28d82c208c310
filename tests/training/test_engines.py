"""Engines give what torch gives, to 1e-4, for every method whose networks can be written; a missing one is named.

bfloat16 has other bounds: three digits of its numbers are those of float32.
"""

import copy
import pickle
from importlib.util import find_spec

import nibabel as nib
import numpy as np
import pytest
import torch

from semcycle.errors import CheckpointError
from semcycle.files import read_json
from semcycle.methods import METHODS, method_class
from semcycle.prediction.reconstruct import reconstruct_slices
from semcycle.training import bfloat16, engines
from semcycle.training.bfloat16 import Bfloat16Network, Bfloat16ReLU, fuse_norms
from semcycle.training.engines import ENGINES, EngineNetwork, use_engine
from semcycle.training.models import open_model
from semcycle.training.onnx_export import channels_in, exportable_networks
from tests.conftest import ball_brain, make_scan, semcycle
from tests.test_contract_methods import SIDE, small_recipe

AGREEMENT = 1e-4


def needs(engine):
    missing = [package for package in ENGINES[engine][0] if find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"engine {engine} is not installed: no {', '.join(missing)}")


INSTALLED = [pytest.param(engine, marks=needs(engine)) for engine in ENGINES]
NETWORKS = [name for name in METHODS if method_class(name).networks]


def difference(network, engine, shape):
    """The largest between torch and an engine."""
    x = torch.from_numpy(np.random.default_rng(0).random(shape, np.float32))
    with torch.no_grad():
        return float((network(x) - EngineNetwork(network, engine, shape[-1])(x)).abs().max())


@pytest.mark.parametrize("engine", INSTALLED)
@pytest.mark.parametrize("model", ["t2-brain", "t2-brain-1"])
def test_networks_of_the_bundled_models_agree_with_torch(model, engine):
    method = open_model(model).method
    for path in exportable_networks(method):
        network = method.get_submodule(path)
        for batch, height, width in ((1, 128, 128), (3, 128, 128), (2, 96, 112)):
            assert difference(network, engine, (batch, channels_in(network), height, width)) < AGREEMENT, path


@pytest.mark.parametrize("engine", INSTALLED)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_every_method_agree_with_torch(name, engine):
    torch.manual_seed(0)
    method = small_recipe(name).build().eval()
    for path in exportable_networks(method):
        network = method.get_submodule(path)
        for batch in (1, 5):
            assert difference(network, engine, (batch, channels_in(network), SIDE, SIDE)) < AGREEMENT, path


@pytest.mark.parametrize("engine", INSTALLED)
@pytest.mark.parametrize("semantics", ["discrete", "continuous"])
@pytest.mark.parametrize("generator", ["johnson", "cyclegan6"])
def test_readings_of_the_paper_agree_with_torch(generator, semantics, engine):
    torch.manual_seed(0)
    recipe = small_recipe("cycle")
    synthesis = recipe.method.synthesis.model_copy(update={"generator": generator, "norm": "instance"})
    method = type(recipe.build())(recipe.method.model_copy(update={"synthesis": synthesis, "semantics": semantics}))
    for path in exportable_networks(method.eval()):
        network = method.get_submodule(path)
        assert difference(network, engine, (2, channels_in(network), SIDE, SIDE)) < AGREEMENT, path


@pytest.mark.parametrize("engine", INSTALLED)
def test_a_scan_gets_the_same_reconstruction_and_score(engine):
    plain = open_model("t2-brain")
    other = use_engine(plain, engine)
    arrays = ball_brain((128, 128, 6), seed=1)
    x, brain = np.moveaxis(arrays["t2"], 2, 0) / 1000, np.moveaxis(arrays["t2"] > 0, 2, 0)
    ours, theirs = (reconstruct_slices(one.method, x, brain) for one in (plain, other))
    for mine, its in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, its, atol=10 * AGREEMENT)  # three networks and a fit of contrast in a row
    assert type(plain.method.cycle.S) is not EngineNetwork
    assert type(other.method.cycle.S) is EngineNetwork


@pytest.mark.parametrize("engine", INSTALLED)
def test_a_model_on_an_engine_can_be_sent_to_another_process(engine):
    network = EngineNetwork(open_model("t2-brain").method.cycle.S, engine, 128)
    x = torch.rand(2, 1, 32, 32)
    np.testing.assert_array_equal(network(x), pickle.loads(pickle.dumps(network))(x))


@pytest.mark.parametrize("engine", INSTALLED)
def test_predict_records_the_engine_and_does_scans_of_another_one_again(engine, tmp_path):
    scan = make_scan(tmp_path / "scan.nii.gz", ball_brain(seed=3)["t2"])
    words = ("predict", scan, "--fast", "--out", tmp_path / "out")
    semcycle(*words, "--engine", "torch")
    plain = read_json(tmp_path / "out/scan_record.json")
    scores = np.asanyarray(nib.load(tmp_path / "out/scan_anomaly.nii.gz").dataobj)
    assert "engine" not in plain["run"]
    semcycle(*words, "--engine", engine)
    record = read_json(tmp_path / "out/scan_record.json")
    assert record["run"]["engine"] == engine
    assert record["scan"]["how"] != plain["scan"]["how"]
    np.testing.assert_allclose(np.asanyarray(nib.load(tmp_path / "out/scan_anomaly.nii.gz").dataobj), scores, atol=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_that_is_not_installed_is_named_with_its_extra(engine, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    scan = make_scan(tmp_path / "scan.nii.gz", ball_brain(seed=3)["t2"])
    semcycle("predict", scan, "--engine", engine, "--out", tmp_path / "out", expect=2)
    said = " ".join(capsys.readouterr().err.split())
    assert f"pip install 'semcycle[{engine}]'" in said
    assert not (tmp_path / "out").exists()


def test_an_unknown_engine_and_a_model_without_networks_are_refused(monkeypatch):
    with pytest.raises(CheckpointError, match="expected an engine of auto, torch, bfloat16, onnx, openvino, got 'tpu'"):
        use_engine(open_model("t2-brain-1"), "tpu")
    monkeypatch.setattr(engines, "find_spec", lambda name: name)
    with pytest.raises(CheckpointError, match="networks alone"):
        use_engine(open_model("intensity"), "onnx")


@pytest.mark.parametrize("model", ["t2-brain", "t2-brain-1"])
def test_norms_taken_into_convolutions_change_the_last_digits_only(model):
    method = open_model(model).method
    for path in exportable_networks(method):
        network = method.get_submodule(path)
        x = torch.from_numpy(np.random.default_rng(0).random((2, channels_in(network), 64, 96), np.float32))
        fused = fuse_norms(copy.deepcopy(network))
        with torch.no_grad():
            np.testing.assert_allclose(fused(x), network(x), atol=1e-4)
        count = sum(isinstance(part, torch.nn.BatchNorm2d) for part in fused.modules())
        assert count == 0
        assert sum(isinstance(part, torch.nn.GroupNorm) for part in fused.modules()) == sum(
            isinstance(part, torch.nn.GroupNorm) for part in network.modules()
        )


def test_a_transposed_convolution_takes_its_norm_too():
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.ConvTranspose2d(3, 5, 2, stride=2), torch.nn.BatchNorm2d(5))
    layers[1].running_mean.normal_()
    layers[1].running_var.uniform_(0.5, 2)
    layers.eval()
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        np.testing.assert_allclose(fuse_norms(copy.deepcopy(layers))(x), layers(x), atol=1e-5)


def test_bfloat16_gives_a_scan_the_same_scores_to_about_two_digits():
    plain = open_model("t2-brain")
    other = use_engine(plain, "bfloat16")
    arrays = ball_brain((128, 128, 6), seed=1)
    x, brain = np.moveaxis(arrays["t2"], 2, 0) / 1000, np.moveaxis(arrays["t2"] > 0, 2, 0)
    ours, theirs = (reconstruct_slices(one.method, x, brain) for one in (plain, other))
    for mine, its in zip(ours, theirs, strict=True):
        difference = np.abs(mine - its)
        assert 0 < difference.max() < 0.15
        assert difference.mean() < 0.02  # noise in a ball; brains agree to 5e-4
    assert other.engine == "bfloat16"
    assert isinstance(other.method.cycle.S, Bfloat16Network)
    assert {p.dtype for p in plain.method.parameters()} == {torch.float32}  # left as it was


def test_the_relu_of_bfloat16_is_that_of_torch():
    x = torch.cat([torch.randn(1000), torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 1e-40, -1e-40])]).bfloat16()
    expected = torch.relu(x)
    made = Bfloat16ReLU()(x)
    assert made is x  # in place
    assert torch.equal(made, expected)


@pytest.mark.parametrize(("units", "engine"), [(True, "bfloat16"), (False, "torch")])
def test_auto_takes_bfloat16_where_the_processor_has_units_for_it(units, engine, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": units}, raising=False)
    assert use_engine(open_model("t2-brain-1"), "auto").engine == engine
    assert use_engine(open_model("intensity"), "auto").engine == "torch"  # it has no networks


def test_a_torch_that_cannot_tell_has_no_units(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not bfloat16.has_bfloat16_units()

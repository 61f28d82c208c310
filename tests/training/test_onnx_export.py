"""ONNX files of a model: what they hold, that they are checked models, and what cannot be written."""

import json

import pytest

from semcycle.errors import CheckpointError
from semcycle.methods import METHODS, method_class
from semcycle.training import onnx_export
from semcycle.training.models import open_model
from semcycle.training.onnx_export import OPSET, export_onnx
from semcycle.training.shipped import model_folder
from tests.conftest import semcycle

onnx = pytest.importorskip("onnx", reason="writing ONNX needs the extra onnx")


def test_the_bundled_model_becomes_a_file_a_network_with_all_that_belongs_to_it(tmp_path):
    semcycle("export", "t2-brain", "--format", "onnx", "--out", tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    beside = {"onnx.json", "run.json", "calibration.json", "prior.safetensors", "MODEL_CARD.md"}
    assert names == {"S.onnx", "G.onnx", "net.onnx", "kept-0.onnx"} | beside
    described = json.loads((tmp_path / "onnx.json").read_text())
    assert described["opset"] == OPSET
    assert {name: entry["input"] for name, entry in described["networks"].items()} == {
        "S.onnx": "x: float32 (batch, 1, height, width)",
        "G.onnx": "x: float32 (batch, 3, height, width)",
        "net.onnx": "x: float32 (batch, 10, height, width)",
        "kept-0.onnx": "x: float32 (batch, 10, height, width)",
    }
    for name in described["networks"]:
        model = onnx.load(tmp_path / name)
        onnx.checker.check_model(model, full_check=True)
        assert [entry.version for entry in model.opset_import if not entry.domain] == [OPSET]
        (x,), (y,) = model.graph.input, model.graph.output
        sides = [[side.dim_param for side in entry.type.tensor_type.shape.dim] for entry in (x, y)]
        assert [side[0] for side in sides] == ["batch", "batch"]
        assert sides[0][2:] == ["height", "width"]
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert card == (model_folder() / "t2-brain/MODEL_CARD.md").read_text()


def test_both_forms_keep_the_card(tmp_path):
    semcycle("export", "t2-brain-1", "--out", tmp_path)
    assert (tmp_path / "MODEL_CARD.md").is_file()
    assert open_model(tmp_path).calibration is not None


def test_methods_that_need_more_than_networks_are_named_with_the_way_out(tmp_path):
    unable = [name for name in METHODS if not method_class(name).networks]
    assert unable == ["context", "fanogan", "gmvae", "intensity", "vae"]
    with pytest.raises(CheckpointError, match=r"networks alone \(autoencoder, cycle, denoising, refine\), got Intens"):
        onnx_export.exportable_networks(open_model("intensity").method)


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"pip install 'semcycle\[onnx\]'"):
        export_onnx(model_folder() / "t2-brain-1", tmp_path)
    assert list(tmp_path.iterdir()) == []

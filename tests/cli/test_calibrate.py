import pytest

from semcycle.cli.calibrate import _check_copy, _copy_model
from semcycle.errors import CheckpointError


def test_a_calibration_is_not_put_beside_another_model(tmp_path):
    for name, content in (("a", b"one"), ("b", b"two")):
        for file in ("model.safetensors", "run.json"):
            path = tmp_path / name / file
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
    _check_copy(tmp_path / "a", tmp_path / "new")
    _copy_model(tmp_path / "a", tmp_path / "new")
    _check_copy(tmp_path / "a", tmp_path / "new")
    with pytest.raises(CheckpointError, match="copy of .*a, got another model; choose another --out"):
        _check_copy(tmp_path / "a", tmp_path / "b")

"""Wheel and source distribution: both build, and what they hold predicts without the source tree."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ball_brain, make_scan

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with a source distribution, and the wheel that is built from it."""
    pytest.importorskip("hatchling", reason="no hatchling: pip install hatchling")
    out = tmp_path_factory.mktemp("dist")
    call = "from hatchling.build import build_{0}; build_{0}({1!r})"
    run = [sys.executable, "-c", call.format("sdist", str(out))]
    subprocess.run(run, cwd=ROOT, check=True, capture_output=True)
    (archive,) = out.glob("*.tar.gz")
    subprocess.run(["tar", "xzf", archive, "-C", out], check=True)
    (source,) = (path for path in out.iterdir() if path.is_dir())
    subprocess.run([sys.executable, "-c", call.format("wheel", str(out))], cwd=source, check=True, capture_output=True)
    return out


def test_the_wheel_holds_models_recipes_and_templates(built):
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        *("semcycle/models/t2-brain/model.safetensors", "semcycle/models/t2-brain/calibration.json"),
        *("semcycle/recipes/smoke/cycle-continuous.yaml", "semcycle/report/templates/viewer.js"),
    ):
        assert name in names
    assert not [name for name in names if name.startswith("tests") or "__pycache__" in name]
    scripts = next(name for name in names if name.endswith("entry_points.txt"))
    content = zipfile.ZipFile(wheel).read(scripts).decode()
    assert "semcycle = semcycle.cli:main" in content
    assert "semcycle-bids = semcycle.cli.bids_app:main" in content


def test_what_was_built_predicts_without_the_source_tree(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    place = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(place)
    scan = make_scan(tmp_path / "a.nii.gz", ball_brain((32, 36, 20))["t2"])

    def call(code):
        run = [sys.executable, "-c", code]
        environment = {"PYTHONPATH": str(place), "PATH": "", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
        return subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    assert str(place) in call("import semcycle; print(semcycle.__file__)")
    verb = f"sys.argv = ['semcycle', 'predict', {str(scan)!r}, '--out', 'out']"
    call(f"import sys; {verb}; from semcycle.cli import main; main()")
    assert (tmp_path / "out/a_anomaly.nii.gz").is_file()
    assert (tmp_path / "out/a_report.html").is_file()
    told = call("import sys; sys.argv = ['semcycle', 'info']; from semcycle.cli import main; main()")
    assert "smoke/cycle-continuous" in told

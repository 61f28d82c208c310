import re

import numpy as np
import pytest

from semcycle.errors import TissueError
from semcycle.tissue.spm_batch import (
    BRAIN_CLASSES,
    check_folder,
    command_line,
    foreground_box,
    sampling_mm,
    write_batch,
    write_query,
)
from semcycle.volume import make_volume


def test_command_line_of_every_kind(tmp_path):
    script = tmp_path / "it's.m"
    assert command_line(["octave"], "octave", script) == ["octave", str(script)]
    assert command_line(["spm12"], "standalone", script) == ["spm12", "script", str(script)]
    assert command_line(["run_spm12.sh", "mcr", "script"], "standalone", script)[2:] == ["script", str(script)]
    *start, statement = command_line(["matlab", "-nodisplay"], "matlab", script)
    assert start == ["matlab", "-nodisplay", "-batch"]
    assert "it''s.m'" in statement
    assert command_line(["matlab", "-r"], "matlab", script)[:-1] == ["matlab", "-r"]


def test_batch_carries_spms_defaults(tmp_path):
    scan = tmp_path / "scan.nii"
    octave = write_batch(scan, "octave", tmp_path / "spm", 3.5)
    for line in (
        f"addpath('{tmp_path / 'spm'}');",
        f"job.channel.vols = {{'{scan},1'}};",
        "job.channel.biasreg = 0.001;",
        "job.channel.biasfwhm = 60;",
        "ngaus = [1 1 2 3 4 2];",
        "job.warp.affreg = 'mni';",
        "job.warp.samp = 3.5;",
        "spm_preproc_run(job);",
    ):
        assert line in octave.splitlines()
    assert "matlabbatch" not in octave
    stripped = write_batch(scan, "octave", None, 3, BRAIN_CLASSES).splitlines()
    assert "ngaus = [1 1 2];" in stripped
    assert "for k = 1:3" in stripped
    matlab = write_batch(scan, "matlab", None, 3)
    assert "addpath" not in matlab
    assert "spm_preproc_run" not in matlab
    order = ["spm('defaults', 'fmri');", "spm_jobman('initcfg');", "matlabbatch{1}", "spm_jobman('run', matlabbatch);"]
    assert [matlab.index(part) for part in order] == sorted(matlab.index(part) for part in order)
    standalone = write_batch(scan, "standalone", tmp_path, 3)
    assert standalone == matlab
    assert not re.search(r"^\s*function", standalone, re.MULTILINE)


def test_crop_and_sampling():
    data = np.zeros((20, 20, 20), np.float32)
    data[5:10, 0:7, 12:20] = 1
    assert foreground_box(make_volume(data, np.eye(4))) == (slice(3, 12), slice(0, 9), slice(10, 20))
    data[:] = 2
    data[10, 10, 10] = 1
    assert foreground_box(make_volume(data, np.eye(4))) == (slice(0, 20),) * 3

    def sampled(shape, spacing):
        return sampling_mm(make_volume(np.zeros(shape), np.diag([*spacing, 1])))

    assert sampled((150, 192, 140), (1, 1, 1)) == 3
    assert sampled((150, 193, 140), (1, 1, 1)) == 3.5
    assert sampled((2, 380, 2), (0.5, 0.5, 0.5)) == 3
    assert sampled((2, 142, 2), (1.3, 1.3, 1.3)) == 3.5  # 3 mm are 2 voxels there


def test_folders_that_the_script_cannot_name_are_refused(tmp_path):
    for name in ("a:b", "a\nb"):
        with pytest.raises(TissueError, match="link SPM's folder.*correct --tissue-dir"):
            check_folder(tmp_path / name, "--tissue-dir")
    assert "semcycle: spm %s" in write_query()

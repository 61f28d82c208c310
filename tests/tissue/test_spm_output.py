import pytest

from semcycle.errors import TissueError
from semcycle.tissue.spm_output import error_of, parse_output


def test_output_is_read():
    assert parse_output("noise\nsemcycle: ll -2.5e+06 finite 1\nBye\n", 0, "x") == -2.5e6
    # only a failing run can lack a licence
    assert parse_output("License error handling on\nsemcycle: ll -1 finite 1\n", 0, "x") == -1
    for text in ("MATLAB has experienced a licensing error.", "No valid license found", "Licence checkout failed"):
        with pytest.raises(TissueError, match="expected a MATLAB licence"):
            parse_output(text, 1, "x")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "error: spm_slice_vol.c not compiled - see Makefile\nerror: called from\n    spm_slice_vol at line 27\n"
            "    spm_preproc8 at line 1\n    a\n    b\n    spm_vol at line 61 column 11\n",
            "error: spm_slice_vol.c not compiled - see Makefile",
        ),
        (
            "Error using spm_vol (line 61)\nFile is empty.\n\nError in spm (line 3)\n",
            "Error using spm_vol (line 61) File",
        ),
        ("Warning\nerror: a\n", "error: a"),
        ("one\ntwo", "one | two"),
        ("semcycle: no", "it printed nothing"),
    ],
)
def test_spms_own_error_is_shown(text, error):
    assert error_of(text).startswith(error)
    assert "called from" not in error_of(text)


def test_spm_that_was_not_compiled_is_told_how():
    with pytest.raises(TissueError, match="not compiled - see Makefile.*make PLATFORM=octave install in its src/"):
        parse_output("error: spm_slice_vol.c not compiled - see Makefile\n", 1, "x")

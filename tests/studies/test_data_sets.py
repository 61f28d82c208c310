import pytest

from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.studies.data_sets import DataSet, describe_scale, set_title


class FakeStore:
    def __init__(self, cohort, tissue=None):
        self.settings = {"cohort": cohort, "tissue": tissue or {"provider": "none"}}


@pytest.mark.parametrize(
    ("cohort", "cases", "title"),
    [
        ("brats", ["Brats18_2013_11_1", "Brats18_TCIA01_201_1"], "BraTS 2018"),
        ("brats", ["BraTS19_CBICA_AAB_1"], "BraTS 2019"),
        ("brats", ["BraTS20_Training_001"], "BraTS 2020"),
        ("brats", ["BraTS2021_00003"], "BraTS 2021"),
        ("brats", ["Brats18_2013_11_1", "BraTS2021_00003"], "BraTS"),
        ("brats", ["patient1"], "BraTS"),
        ("isles2015", ["siss01"], "ISLES 2015"),
        ("mslub", ["patient07"], "mslub"),
    ],
)
def test_a_set_is_called_by_what_its_cases_are(cohort, cases, title):
    assert set_title(FakeStore(cohort), cases) == title


def test_tissue_providers_in_words():
    atlas = {"provider": "atlas", "mode": "full"}
    assert DataSet("x", "X", FakeStore("brats", atlas), []).describe_tissue() == "atlas, mode full"
    both = {"brats": atlas, "brainweb": {"provider": "maps"}}
    assert DataSet("x", "X", FakeStore("brats+brainweb", both), []).describe_tissue() == (
        "brats atlas, mode full, brainweb maps"
    )


def test_sizes_count_subjects_once(ball_store):
    assert DataSet("x", "X", ball_store, ["h0", "l1"]).describe().startswith("2 cases of 2 subjects, ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "percentile: the brain's 99.8th percentile becomes 1"),
        (
            {"intensity_scope": "volume"},
            "percentile: the whole scan's, background included, 99.8th percentile becomes 1",
        ),
        ({"intensity": "median"}, "median: the brain's median becomes 0.35"),
    ],
)
def test_intensity_scales_in_words(changes, words):
    assert describe_scale(PreprocessSettings(**changes)) == words

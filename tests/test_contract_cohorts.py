"""What every cohort promises, whichever it is."""

import gzip
import shutil

import pytest

from semcycle.cohorts import COHORTS, get_cohort
from semcycle.errors import LayoutError
from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.store.prepare import prepare_store
from semcycle.store.slice_store import SliceStore
from semcycle.volume import load_mask, load_volume

COARSE = PreprocessSettings(size=32, pixel_mm=7.0)
HEALTHY_ONLY = {"brainweb", "ixi"}


@pytest.fixture(scope="module", params=sorted(COHORTS))
def example(request, tmp_path_factory):
    """A cohort and its own example on disk."""
    root = tmp_path_factory.mktemp(request.param) / "root"
    COHORTS[request.param].write_example(root, cases=3, seed=5)
    return COHORTS[request.param], root


def test_the_example_is_found_whole(example):
    cohort, root = example
    listing = cohort.find_cases(root)
    assert listing.failures == []
    assert len(listing.cases) == 3
    ids = [case.case_id for case in listing.cases]
    assert ids == sorted(set(ids))
    assert all(case.subject for case in listing.cases)
    healthy_only = any(cohort is COHORTS[name] for name in HEALTHY_ONLY)
    assert any(case.lesion for case in listing.cases) is not healthy_only


def test_every_file_of_the_example_loads_on_one_grid(example):
    cohort, root = example
    for case in cohort.find_cases(root).cases:
        volume = load_volume(case.images["t2"])
        assert volume.data.max() > 0
        if case.lesion:
            lesion = load_mask(case.lesion, volume, "lesion mask")
            assert 0 < lesion.sum() < lesion.size / 2


def test_the_example_becomes_a_store(example, tmp_path):
    cohort, root = example
    listing = cohort.find_cases(root)
    assert prepare_store(listing, tmp_path / "store", COARSE, None, cohort="example") == []
    store = SliceStore(tmp_path / "store")
    assert store.case_ids == [case.case_id for case in listing.cases]
    assert sum(store.summary(case)["lesion_ml"] > 0 for case in store.case_ids) == sum(
        case.lesion is not None for case in listing.cases
    )


def test_the_same_seed_writes_the_same_bytes(example, tmp_path):
    cohort, root = example
    cohort.write_example(tmp_path / "again", cases=3, seed=5)
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    assert all((root / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in files)


@pytest.mark.parametrize("name", sorted(COHORTS))
def test_no_folder_or_an_empty_one_is_a_layout_error(name, tmp_path):
    for root in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(LayoutError, match="expected") as caught:
            COHORTS[name].find_cases(root)
        assert str(root) in str(caught.value)


@pytest.mark.parametrize("name", sorted(COHORTS))
def test_documentation_names_licence_and_reference(name):
    import sys

    text = sys.modules[type(COHORTS[name]).__module__].__doc__
    assert "**Licence**" in text
    assert "**Reference**" in text or "**reference**" in text
    assert COHORTS[name].title


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(LayoutError, match="did you mean 'brats'"):
        get_cohort("bratz")


def test_a_file_that_was_not_fetched_is_not_left_out(example, tmp_path):
    cohort, made = example
    root = shutil.copytree(made, tmp_path / "root")
    case = cohort.find_cases(root).cases[-1]
    for file in (case.images["t2"], case.lesion):
        if file is None:
            continue
        content = file.read_bytes()
        file.unlink()
        file.symlink_to(tmp_path / "nothing")
        listing = cohort.find_cases(root)
        again = [other for other in listing.cases if other.case_id == case.case_id]
        assert again == [case] or case.case_id in [failure.case_id for failure in listing.failures]
        file.unlink()
        file.write_bytes(content)


def test_two_images_of_one_name_are_a_failure_unless_they_are_equal(example, tmp_path):
    cohort, made = example
    root = shutil.copytree(made, tmp_path / "root")
    cases = cohort.find_cases(root).cases
    file = cases[0].images["t2"]
    if cohort in [COHORTS[name] for name in ("manifest", "phantom", "brainweb")]:
        pytest.skip("names its files, or writes them itself")
    packed = file.name.endswith(".gz")
    twin = file.with_suffix("") if packed else file.with_name(f"{file.name}.gz")
    content = gzip.decompress(file.read_bytes()) if packed else file.read_bytes()
    twin.write_bytes(content if packed else gzip.compress(content))
    assert [case.case_id for case in cohort.find_cases(root).cases] == [case.case_id for case in cases]
    twin.write_bytes(content[:-1] + b"x" if packed else gzip.compress(content[:-1] + b"x"))
    listing = cohort.find_cases(root)
    assert [case.case_id for case in listing.cases] == [case.case_id for case in cases[1:]]
    assert file.with_suffix("").name in listing.failures[0].reason or file.name in listing.failures[0].reason

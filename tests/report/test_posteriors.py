import numpy as np

from semcycle.cohorts.base import Listing
from semcycle.methods.base import Reconstructed
from semcycle.report.posteriors import mean_posteriors, posterior_figure
from semcycle.store.prepare import prepare_store
from semcycle.store.slice_store import SliceStore
from tests.conftest import SMALL


def test_posteriors_are_means_over_the_voxels_of_each_class(ball_store):
    def perfect(x, brain):
        case = next(
            c for c in map(ball_store.load, ball_store.case_ids) if np.array_equal(c.image.astype(np.float32), x)
        )
        return Reconstructed(x, np.asarray(case.tissue, np.float32) / 255)

    frame = mean_posteriors(perfect, ball_store, ["l0", "h0"])
    assert list(frame.index) == ["GM", "WM", "CSF", "lesion"]
    tissues = frame.loc[["GM", "WM", "CSF"], ["GM", "WM", "CSF"]].to_numpy()
    assert (tissues.argmax(axis=1) == [0, 1, 2]).all()
    assert (np.diag(tissues) > 0.5).all()  # where background is more probable than a tissue, a voxel is of none
    assert (frame["voxels"] > 0).all()
    assert len(posterior_figure({"a": frame, "b": frame}).axes) == 2


def test_a_store_without_tissue_maps_counts_by_its_lesions(ball_cases, tmp_path):
    assert prepare_store(Listing([ball_cases[4]]), tmp_path / "bare", SMALL, None, cohort="manifest") == []
    even = np.full(3, 1 / 3, np.float32)[:, None, None]
    frame = mean_posteriors(
        lambda x, brain: Reconstructed(x, np.broadcast_to(even, (len(x), 3, *x.shape[1:]))),
        SliceStore(tmp_path / "bare"),
        ["l0"],
    )
    np.testing.assert_allclose(frame.loc["lesion", ["GM", "WM", "CSF"]].to_numpy(float), 1 / 3, rtol=1e-5)
    assert frame.loc[["GM", "WM", "CSF"], ["GM", "WM", "CSF"]].isna().all(axis=None)
    assert list(frame["voxels"][:3]) == [0, 0, 0]
    assert posterior_figure({"bare": frame}).axes

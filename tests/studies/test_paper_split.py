from semcycle.store.split import Split
from semcycle.studies.paper_split import describe_split, paper_split


class FakeStore:
    """Grades and subjects of a store, without files."""

    hash = "0"

    def __init__(self, groups):
        self.groups = groups
        self.case_ids = list(groups)

    def summary(self, case):
        return {"group": self.groups[case]}

    def subject(self, case):
        return case.split("_")[0]


BRATS_2019 = FakeStore({f"h{n:03d}": "HGG" for n in range(259)} | {f"l{n:03d}": "LGG" for n in range(76)})


def test_the_papers_split():
    split = paper_split(BRATS_2019)
    assert (len(split.train), len(split.test)) == (234, 101)
    assert all(case.startswith("h") for case in split.train)
    assert split.train == paper_split(BRATS_2019).train
    assert split.train != paper_split(BRATS_2019, seed=1).train


def test_sessions_of_a_subject_stay_on_one_side():
    groups = {f"s{n}_{k}": "HGG" for n in range(20) for k in (1, 2)}
    split = paper_split(FakeStore(groups))
    assert not {case.split("_")[0] for case in split.train} & {case.split("_")[0] for case in split.test}
    assert len(split.test) == 4


def test_a_split_is_called_the_papers_only_with_its_numbers():
    assert describe_split(BRATS_2019, paper_split(BRATS_2019)).startswith("the paper's: 234 HGG cases train")
    half = Split(["h000"], ["h001", "l000"], "by hand")
    assert describe_split(BRATS_2019, half).startswith("1 cases train, 2 test; the paper has 335 cases of BraTS 2019")

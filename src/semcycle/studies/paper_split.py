"""The paper's split of BraTS (A24), and how another one compares with it."""

from __future__ import annotations

import random

from semcycle.store.slice_store import SliceStore
from semcycle.store.split import Split

TRAIN_SHARE = 234 / 259
"""Of the high-grade cases."""


def paper_split(store: SliceStore, seed: int = 0) -> Split:
    """The paper's split: 234/259 of the high-grade cases train, the others and all low-grade ones test (A24).

    A store without grades counts as high-grade. Subjects stay whole.
    """
    groups = {case: str(store.summary(case)["group"]) for case in store.case_ids}
    graded = [case for case, group in groups.items() if group == "HGG"] or list(store.case_ids)
    subjects = sorted({store.subject(case) for case in graded})
    random.Random(seed).shuffle(subjects)
    chosen = set(subjects[: round(len(subjects) * TRAIN_SHARE)])
    train = [case for case in graded if store.subject(case) in chosen]
    test = [case for case in store.case_ids if store.subject(case) not in chosen]
    origin = {"rule": "234/259 of the HGG subjects train, the rest and LGG test", "seed": seed, "store": store.hash}
    return Split(sorted(train), sorted(test), origin)


def describe_split(store: SliceStore, split: Split) -> str:
    """How a split compares with the paper's, in words."""
    groups = [str(store.summary(case)["group"]) for case in store.case_ids]
    train, test = len(split.train), len(split.test)
    if (groups.count("HGG"), len(groups), train, test) == (259, 335, 234, 101):
        return "the paper's: 234 HGG cases train, 25 HGG and 76 LGG cases test"
    return (
        f"{train} cases train, {test} test; the paper has 335 cases of BraTS 2019, of which 234 (HGG) train and 101 "
        "(25 HGG, 76 LGG) test. A smaller collection is split in the same proportions, or by the split file"
    )

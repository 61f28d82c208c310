"""The histogram of a store's brains, for other scans to be matched to (A18)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semcycle.errors import StoreError
from semcycle.preprocess.intensity import QUANTILES, quantiles
from semcycle.store.slice_store import SliceStore


def store_histogram(store: SliceStore, cases: Sequence[str] | None = None) -> tuple[float, ...]:
    """Mean quantiles of the brains of a store, lesions left out: the setting ``histogram``.

    Args:
        store: Where the scans lie.
        cases: Which; all by default.

    Returns:
        Rising levels in [0, 1] at equal steps from 0 to 100 %.

    Raises:
        StoreError: The quantiles do not rise, as in brains of a few grey values.
    """
    rows = []
    for name in store.case_ids if cases is None else cases:
        case = store.load(name)
        rows.append(quantiles(np.asarray(case.image)[(np.asarray(case.brain) > 0) & ~case.abnormal]))
    levels = np.mean(rows, axis=0).round(5)
    if len(levels) != QUANTILES or (np.diff(levels) <= 0).any():
        msg = (
            f"{store.folder}: expected brains of many grey values, got quantiles {levels.tolist()}; match to another "
            "store"
        )
        raise StoreError(msg)
    return tuple(levels.tolist())

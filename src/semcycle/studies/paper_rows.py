"""Rows of the paper's Tables 1 and 2, with the numbers it reports, and the rows that we add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from semcycle.errors import SemcycleError

BRATS, ISLES = "BraTS 2019", "ISLES 2015"
"""The paper's test sets."""


@dataclass(frozen=True)
class PaperRow:
    """A method of the paper's tables, or one that we add.

    Attributes:
        name: In the tables.
        recipe: File name in ``recipes/paper`` and ``recipes/paper-small``.
        published: The paper's test set -> its AUPRC and best Dice.
        reuse: Row whose equal leading stages are taken over.
        baseline: Whether it is one of the methods of [baur2021] that the paper compares with.
    """

    name: str
    recipe: str
    published: dict[str, tuple[float, float]] = field(default_factory=dict)
    reuse: str = ""
    baseline: bool = False


ROWS = (
    PaperRow("AE", "autoencoder", {BRATS: (0.229, 0.378), ISLES: (0.043, 0.112)}, baseline=True),
    PaperRow("VAE", "vae", {BRATS: (0.331, 0.440), ISLES: (0.050, 0.117)}, baseline=True),
    PaperRow("GMVAE", "gmvae", {BRATS: (0.253, 0.408), ISLES: (0.057, 0.116)}, baseline=True),
    PaperRow("f-AnoGAN", "fanogan", {BRATS: (0.373, 0.453), ISLES: (0.076, 0.164)}, baseline=True),
    PaperRow("cycle continuous", "cycle-continuous", {BRATS: (0.511, 0.544), ISLES: (0.110, 0.178)}),
    PaperRow("cycle discrete", "cycle-discrete", {BRATS: (0.371, 0.482)}, reuse="cycle continuous"),
    PaperRow("cycle robust", "cycle-robust"),
    PaperRow("context VAE", "context"),
    PaperRow("denoising AE", "denoising"),
)
"""The paper's methods first [li2021], then ours to compare."""
PUBLISHED = {row.name: row.published for row in ROWS}


def choose_rows(names: Sequence[str]) -> list[PaperRow]:
    """Rows of these names; all without any.

    Raises:
        SemcycleError: There is no such row.
    """
    known = {row.name: row for row in ROWS}
    unknown = [name for name in names if name not in known]
    if unknown:
        msg = f"expected rows of {', '.join(known)}, got {unknown[0]!r}; correct --row"
        raise SemcycleError(msg)
    return [known[name] for name in names] or list(ROWS)

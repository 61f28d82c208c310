"""Where tissue maps come from. To add a provider: a file in this folder and a line in ``TISSUE``."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from semcycle.errors import TissueError

if TYPE_CHECKING:
    from semcycle.tissue.base import TissueProvider

TISSUE: dict[str, str | None] = {
    "atlas": "semcycle.tissue.atlas:full",
    "atlas-fast": "semcycle.tissue.atlas:fast",
    "model": "semcycle.training.tissue_model:bundled_segmenter",
    "priors": "semcycle.tissue.atlas:priors",
    "spm": "semcycle.tissue.spm:find_spm",
    "maps": "semcycle.tissue.maps:ImportedMaps",
    "none": None,
}
"""Name -> what makes the provider from the folder of ``--tissue-dir``; imported when it is used."""


def tissue_provider(name: str, folder: Path | None = None) -> TissueProvider | None:
    """Make the provider of this name.

    Raises:
        TissueError: No provider has this name, or its folder is missing.
    """
    if name not in TISSUE:
        msg = f"expected a tissue provider of {', '.join(TISSUE)}, got {name!r}; correct --tissue"
        raise TissueError(msg)
    place = TISSUE[name]
    if place is None:
        return None
    module, _, maker = place.partition(":")
    provider: TissueProvider = getattr(import_module(module), maker)(folder)
    return provider

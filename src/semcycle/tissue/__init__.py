"""Where tissue maps come from. To add a provider: a file in this folder and a line in ``TISSUE``."""

from collections.abc import Callable
from pathlib import Path

from semcycle.errors import TissueError
from semcycle.tissue.base import TissueProvider
from semcycle.tissue.maps import ImportedMaps

TISSUE: dict[str, Callable[[Path | None], TissueProvider | None]] = {
    "maps": ImportedMaps,
    "none": lambda folder: None,
}
"""Name -> provider, made from the folder of ``--tissue-dir``."""


def tissue_provider(name: str, folder: Path | None = None) -> TissueProvider | None:
    """Make the provider of this name.

    Raises:
        TissueError: No provider has this name, or its folder is missing.
    """
    if name not in TISSUE:
        msg = f"expected a tissue provider of {', '.join(TISSUE)}, got {name!r}; correct --tissue"
        raise TissueError(msg)
    return TISSUE[name](folder)

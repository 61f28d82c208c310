"""Methods by name. To add one: a file in this folder and a line in ``METHODS``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from semcycle.errors import RecipeError

if TYPE_CHECKING:
    from semcycle.methods.base import Method

METHODS = {
    "cycle": "semcycle.methods.cycle:Cycle",
    "intensity": "semcycle.methods.intensity:Intensity",
}
"""Name -> ``module:class``; text, so that listing them imports no torch."""


def method_class(name: str) -> "type[Method[Any]]":
    """Import a method.

    Raises:
        RecipeError: No method has this name.
    """
    if name not in METHODS:
        msg = f"expected a method of {', '.join(METHODS)}, got {name!r}; correct `method.name`"
        raise RecipeError(msg)
    module, _, attribute = METHODS[name].partition(":")
    loaded: type[Method[Any]] = getattr(import_module(module), attribute)
    return loaded

"""Methods by name. To add one: a file in this folder and a line in ``METHODS``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from semcycle.errors import RecipeError

if TYPE_CHECKING:
    from semcycle.methods.base import Method

METHODS = {
    "autoencoder": "semcycle.methods.autoencoder:Autoencoder",
    "context": "semcycle.methods.context:ContextVAE",
    "cycle": "semcycle.methods.cycle:Cycle",
    "denoising": "semcycle.methods.denoising:Denoising",
    "fanogan": "semcycle.methods.fanogan:FAnoGAN",
    "gmvae": "semcycle.methods.gmvae:GMVAE",
    "intensity": "semcycle.methods.intensity:Intensity",
    "refine": "semcycle.methods.refine:Refine",
    "vae": "semcycle.methods.vae:VAE",
}
"""Name -> ``module:class``; text, so that listing them imports no torch."""


def method_class(name: str) -> type[Method[Any]]:
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

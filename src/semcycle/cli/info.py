"""The verb info: what is there, without importing torch."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from semcycle.cohorts import COHORTS
from semcycle.console import out
from semcycle.files import VERSION
from semcycle.methods import METHODS
from semcycle.tissue import TISSUE
from semcycle.training.shipped import bundled_models, shipped_recipes


def info(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """List versions, cohorts, tissue providers, methods, bundled models and recipes; imports no torch."""
    import json
    import platform
    from importlib.metadata import version

    content: dict[str, Any] = {
        "semcycle": VERSION,
        "python": platform.python_version(),
        "torch": version("torch"),
        "cohorts": {name: cohort.title for name, cohort in COHORTS.items()},
        "tissue": list(TISSUE),
        "methods": list(METHODS),
        "models": bundled_models(),
        "recipes": shipped_recipes(),
    }
    if as_json:
        out.print_json(json.dumps(content))
        return
    for name, value in content.items():
        if isinstance(value, dict):
            out.print(name)
            for key, title in value.items():
                out.print(f"  {key}: {title}")
        else:
            out.print(f"{name}: {', '.join(value) if isinstance(value, list) else value}")

"""Where the shipped recipes and the bundled models lie and what they are called; imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
DEFAULT = "t2-brain"
CARD = "MODEL_CARD.md"
WEIGHTS = "model.safetensors"


def model_folder() -> Path:
    """Folder of the bundled models."""
    return PACKAGE / "models"


def bundled_models() -> list[str]:
    """Names of the bundled models."""
    return sorted(path.parent.name for path in model_folder().glob(f"*/{WEIGHTS}"))


def find_model(name: str | Path) -> Path:
    """Folder of a bundled model by name, or the given run folder."""
    bundled = model_folder() / str(name)
    return bundled if str(name) in bundled_models() else Path(name)


def recipe_folder() -> Path:
    """Folder of the shipped recipes: in the installed package, or in the checkout."""
    packaged = PACKAGE / "recipes"
    return packaged if packaged.is_dir() else PACKAGE.parents[1] / "recipes"


def shipped_recipes() -> list[str]:
    """Names of the shipped recipes, such as ``smoke/cycle-continuous``."""
    folder = recipe_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))

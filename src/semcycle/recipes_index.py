"""Where the shipped recipes lie and what they are called; imports nothing heavy."""

from pathlib import Path


def recipe_folder() -> Path:
    """Folder of the shipped recipes: in the installed package, or in the checkout."""
    packaged = Path(__file__).parent / "recipes"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "recipes"


def shipped_recipes() -> list[str]:
    """Names of the shipped recipes, such as ``smoke/cycle-continuous``."""
    folder = recipe_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))

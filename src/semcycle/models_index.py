"""Where the bundled models lie and what they are called; imports nothing heavy."""

from pathlib import Path

DEFAULT = "t2-brain"
CARD = "MODEL_CARD.md"
WEIGHTS = "model.safetensors"


def model_folder() -> Path:
    """Folder of the bundled models."""
    return Path(__file__).parent / "models"


def bundled_models() -> list[str]:
    """Names of the bundled models."""
    return sorted(path.parent.name for path in model_folder().glob(f"*/{WEIGHTS}"))


def find_model(name: str | Path) -> Path:
    """Folder of a bundled model by name, or the given run folder."""
    bundled = model_folder() / str(name)
    return bundled if str(name) in bundled_models() else Path(name)

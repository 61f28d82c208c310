"""Recipe: everything that fixes a training run, as strict settings read from YAML."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from semcycle.config import MAX_SEED, Config
from semcycle.errors import RecipeError, error_line, shorten
from semcycle.methods import METHODS, method_class
from semcycle.methods.base import Method
from semcycle.training.shipped import recipe_folder, shipped_recipes
from semcycle.training.slices import SliceSettings

MAX_BYTES = 1 << 15
"""Of a recipe; the longest shipped one has 1142."""
MAX_WEIGHTS = 500_000_000
"""Of a method's networks: 2 GB. The largest shipped recipe has 35.5 million."""


class TrainingSettings(Config):
    """What the training loop needs to know."""

    batch_size: int = Field(128, ge=1, le=65_536)
    """Slices a step, over all devices."""
    decay: Literal["none", "linear", "cosine"] = "none"
    """Learning rate over a stage: constant as in the paper; constant for the first half and then straight to 0;
    or along a cosine to 0."""
    validation_share: float = Field(0.1, ge=0, lt=1)
    """Share of the training subjects held out to watch the losses (A23); ``weights``, ``patience`` select on them."""
    weights: Literal["last", "best"] = "last"
    """Of every stage keep the networks of its last epoch, or of the one with the lowest held-out figure
    (see ``Stage.monitor``)."""
    patience: int = Field(0, ge=0, le=100_000)
    """End a stage when its held-out figure has not fallen for so many epochs (5 in the reference code); 0 never."""
    parts: int = Field(1, ge=1, le=65_536)
    """Parts that a batch is computed in, one after the other: gradients are gathered over them, so that a large batch
    fits a small card. Batch norm sees a part at a time."""
    clip: float = Field(0.0, ge=0)
    """Largest norm of a player's gradient in a step; longer ones are shortened to it. 0 leaves them."""

    @model_serializer(mode="wrap")
    def _leave_out_unused(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Options newer than the first runs are recorded where they are set, so that those keep their fingerprints."""
        unused = {name for name in ("parts", "clip") if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in dump(self).items() if name not in unused}

    @model_validator(mode="after")
    def _selection_needs_subjects(self) -> TrainingSettings:
        if (self.patience or self.weights == "best") and not self.validation_share:
            msg = "expected a validation_share above 0 with patience or weights: best, got 0"
            raise ValueError(msg)
        return self


class Recipe(Config):
    """A training run.

    Attributes:
        method: The method's settings; their class depends on ``method.name`` in the YAML.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str
    start: str = ""
    """A bundled model or a run whose trained networks a method that stands on another one takes over."""
    seed: int = Field(0, ge=0, le=MAX_SEED)
    slices: SliceSettings = SliceSettings()
    training: TrainingSettings = TrainingSettings()
    method_name: str
    method: Config

    @model_validator(mode="after")
    def _parts_fit_the_method(self) -> Recipe:
        if self.training.parts > 1 and _has_pool(self.method.model_dump()):
            msg = (
                "expected pool 0 with training.parts above 1 (a part would be remembered once for every step), got both"
            )
            raise ValueError(msg)
        return self

    def build(self) -> Method[Any]:
        """Make the method with freshly initialised networks (from torch's random state).

        Raises:
            RecipeError: Networks cannot be made of these settings, or would not fit into a machine's memory.
        """
        try:
            with _limit_weights():
                return method_class(self.method_name)(self.method)
        except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError) as error:
            reason = error_line(error)[:200]
            msg = f"{self.name}: expected settings of which {self.method_name} can be made, got others ({reason})"
            raise RecipeError(msg) from error

    def to_dict(self) -> dict[str, Any]:
        """As in the YAML, with every default written out."""
        method = {"name": self.method_name, **self.method.model_dump(mode="json")}
        content = self.model_dump(mode="json", exclude={"method", "method_name"})
        return content | {"method": method}


def _has_pool(settings: Any) -> bool:
    """Whether a method keeps images of earlier batches for its critic."""
    if not isinstance(settings, dict):
        return False
    return bool(settings.get("pool")) or any(_has_pool(value) for value in settings.values())


@contextmanager
def _limit_weights() -> Iterator[None]:
    """Stop making networks that would not fit into memory: weights are counted before they are filled."""
    count, thread = 0, threading.get_ident()

    def add(module: nn.Module, name: str, weights: nn.Parameter | None) -> None:
        nonlocal count
        if weights is not None and threading.get_ident() == thread:
            count += weights.numel()
            if count > MAX_WEIGHTS:
                msg = f"networks of more than {MAX_WEIGHTS:,} weights; lower their widths"
                raise ValueError(msg)

    hook = register_module_parameter_registration_hook(add)
    try:
        yield
    finally:
        hook.remove()


class _PlainLoader(yaml.SafeLoader):
    """YAML without references from one place to another, which can blow a short file up to any size."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            msg = f"a reference in line {mark.line + 1}; write the value out"
            raise yaml.YAMLError(msg)
        return super().compose_node(parent, index)


def parse_recipe(content: Any, where: str, name: str = "") -> Recipe:
    """Check the content of a recipe.

    Args:
        content: What the YAML holds.
        where: For messages.
        name: Recipe name where the content gives none.

    Raises:
        RecipeError: Unknown key (the nearest right one is named), wrong type or value, unknown method.
    """
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("method"), dict)
        or not all(isinstance(key, str) for key in (*content, *content["method"]))
    ):
        msg = f"{where}: expected a recipe with a `method:` section, got something else; see recipes/ for examples"
        raise RecipeError(msg)
    method = dict(content["method"])
    method_name = method.pop("name", None)
    if not isinstance(method_name, str) or method_name not in METHODS:
        hint = _nearest(str(method_name)[:80], list(METHODS))
        msg = f"{where}: expected method.name to be one of {', '.join(METHODS)}, got {shorten(method_name)}{hint}"
        raise RecipeError(msg)
    settings = method_class(method_name).Settings
    rest = {"name": name, **{key: value for key, value in content.items() if key != "method"}}
    try:
        checked = settings.model_validate(method)
    except ValidationError as error:
        raise RecipeError(_explain(error, settings, where, "method")) from error
    if hidden := {"method_name"} & rest.keys():
        msg = f"{where}: expected known keys, got {', '.join(hidden)}; write the method's name as method.name"
        raise RecipeError(msg)
    try:
        return Recipe(method_name=method_name, method=checked, **rest)
    except ValidationError as error:
        raise RecipeError(_explain(error, Recipe, where, "")) from error


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a file, or a shipped one by name (``smoke``, ``paper/cycle-continuous``).

    Raises:
        RecipeError: No such file or recipe, no YAML, or wrong content.
    """
    file = Path(path)
    if not file.is_file():
        shipped = recipe_folder() / f"{path}.yaml"
        if not shipped.is_file():
            hint = _nearest(str(path), shipped_recipes())
            msg = f"{path}: expected a recipe file or one of {', '.join(shipped_recipes())}, found neither{hint}"
            raise RecipeError(msg)
        file = shipped
    try:
        if file.stat().st_size > MAX_BYTES:
            msg = f"{file}: expected a recipe of at most {MAX_BYTES:,} bytes, got {file.stat().st_size:,}"
            raise RecipeError(msg)
        content = yaml.load(file.read_text(encoding="utf-8"), _PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = "too many levels" if isinstance(error, RecursionError) else " ".join(str(error).split())[:160]
        msg = f"{file}: expected YAML, got something else ({reason})"
        raise RecipeError(msg) from error
    return parse_recipe(content, str(file), file.stem)


def _explain(error: ValidationError, model: type[BaseModel], where: str, prefix: str) -> str:
    """The first problem in one line, with the nearest right key where one is unknown."""
    problem = error.errors()[0]
    location = [str(part) for part in problem["loc"]]
    key = ".".join([prefix, *location] if prefix else location)
    if problem["type"] == "extra_forbidden":
        known = list(_fields_at(model, location[:-1]))
        if model is Recipe:
            known = [name for name in known if name != "method_name"] if len(location) == 1 else known
        return f"{where}: unknown key {key!r}{_nearest(location[-1], known)}; known here: {', '.join(known)}"
    return f"{where}: {key}: {problem['msg']}, got {shorten(problem.get('input'))}"


def _fields_at(model: type[BaseModel], location: list[str]) -> list[str]:
    for part in location:
        annotation = model.model_fields[part].annotation
        options = [annotation, *get_args(annotation)]
        model = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return list(model.model_fields)


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""

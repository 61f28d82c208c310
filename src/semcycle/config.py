"""Settings changed one by one in text, as command lines and tables write them: ``step=value``."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from semcycle.errors import SettingsError

MAX_SEED = 2**32 - 1
"""What torch, numpy and Lightning Fabric all take."""
MAX_COUNT = 100_000
"""Of scans, copies, repetitions and slices."""
MAX_NUMBER = 1e15
"""Of any setting."""
Beta = Annotated[float, Field(ge=0, lt=1)]
"""Decay of a running mean, of Adam."""
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]


class Config(BaseModel):
    """Base of all settings: strict, frozen, unknown keys are errors; a docstring below a field is its description.

    A subclass that gives a field another default alone keeps the description.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=False, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _bounded(cls, content: Any) -> Any:
        """No setting needs a number that libraries cannot hold or calculate with."""
        for name, value in content.items() if isinstance(content, dict) else ():
            if isinstance(value, int | float) and abs(value) > MAX_NUMBER:
                msg = f"expected numbers up to {MAX_NUMBER:g}, got a larger one for {str(name)[:40]}"
                raise ValueError(msg)
        return content

    @classmethod
    def __pydantic_init_subclass__(cls, **keywords: Any) -> None:
        super().__pydantic_init_subclass__(**keywords)
        for base in cls.__mro__[1:]:
            for name, field in getattr(base, "__pydantic_fields__", {}).items():
                cls.model_fields[name].description = cls.model_fields[name].description or field.description


Settings = TypeVar("Settings", bound=BaseModel)


def change_settings(settings: Settings, words: Sequence[str], where: str) -> Settings:
    """Settings with some of them set anew.

    Args:
        settings: As they were.
        words: ``name=value``; ``none`` stands for no value where a setting may have none, blank words for nothing.
        where: For messages.

    Raises:
        SettingsError: There is no such setting, or a value is out of range.
    """
    known = list(type(settings).model_fields)
    changes: dict[str, str | None] = {}
    for word in words:
        name, equals, value = (part.strip() for part in word.partition("="))
        if not word.strip():
            continue
        if not equals or name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            nearest = f"; did you mean {close[0]!r}?" if close else ""
            msg = f"{where}: expected NAME=VALUE with a name of {', '.join(known)}, got {word!r}{nearest}"
            raise SettingsError(msg)
        optional = type(None) in get_args(type(settings).model_fields[name].annotation)
        changes[name] = None if value == "none" and optional else value
    try:
        return type(settings).model_validate(settings.model_dump() | changes)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(map(str, problem["loc"])) or "settings"
        msg = f"{where}: {name}: {problem['msg']}, got {changes.get(name, '')!r}"
        raise SettingsError(msg) from error

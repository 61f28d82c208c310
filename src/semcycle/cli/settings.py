"""Settings on the command line: ``--set name=value`` reaches every field, and the fields' docstrings are its help."""

from __future__ import annotations

import re
import types
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from rich.markup import escape
from typer.core import TyperCommand

from semcycle.config import Config, Settings, change_settings

Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any of the settings listed below; repeatable."),
]


class SettingsCommand(TyperCommand):
    """A verb whose ``--set``, and options without a help text, are explained by the docstrings of a settings class.

    The class is imported for ``--help`` alone, for what it imports takes a second.
    """

    place = ""
    """``module:class`` of the settings."""
    presets = ""
    """``module:registry`` of named settings."""
    title = "Settings (--set NAME=VALUE):"

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Fill in what the settings say of themselves."""
        self.explain()
        super().format_help(ctx, formatter)

    def explain(self) -> None:
        """Give options named after a field the field's help, and list all fields below them."""
        settings: type[Config] = _import(self.place)
        for parameter in self.params:
            field = settings.model_fields.get(str(parameter.name))
            if field and not getattr(parameter, "help", None):
                parameter.help = describe_field(settings, str(parameter.name))  # type: ignore[attr-defined]
        lines = [f"{name}: {describe_field(settings, name)}" for name in settings.model_fields]
        presets = [f"Presets: {', '.join(_import(self.presets))}."] if self.presets else []
        self.epilog = "\n\n".join(escape(line) for line in [*presets, self.title, *lines])


class PreprocessCommand(SettingsCommand):
    """A verb that prepares scans."""

    place = "semcycle.preprocess.pipeline:PreprocessSettings"


class AugmentationCommand(SettingsCommand):
    """A verb that varies a store's cases."""

    place = "semcycle.store.augment:AugmentationSettings"


class DrawingCommand(SettingsCommand):
    """A verb that draws anomalies."""

    place = "semcycle.store.anomalies.drawing:DrawingSettings"


class PostProcessingCommand(SettingsCommand):
    """A verb that makes anomaly maps."""

    place = "semcycle.prediction.postprocess:PostProcessing"
    presets = "semcycle.prediction.postprocess:PRESETS"
    title = "Post-processing (--set NAME=VALUE, or behind a preset's name: literal,median_mm=5):"


def describe_field(settings: type[Config], name: str) -> str:
    """What a setting means, which words it takes, and its default, in one line."""
    field = settings.model_fields[name]
    meaning = re.sub(r":\w+:`~?\.?([\w.]+)`", r"\1", " ".join((field.description or "").split())).replace("``", "")
    choices = _choices(field.annotation)
    one_of = f" One of {', '.join(choices)}." if choices else ""
    default = "none" if field.default is None else field.default
    return f"{meaning}{one_of} Default: {default}."


def _import(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    if get_origin(annotation) in (Union, types.UnionType):
        return [word for part in get_args(annotation) for word in _choices(part)]
    return []


def read_settings(settings: Settings, changes: Sequence[str] | None, **options: Any) -> Settings:
    """Settings changed by a verb's own options, as far as they were given, and then by ``--set``.

    Raises:
        SettingsError: There is no such setting, or a value is out of range.
    """
    words = [f"{name}={value}" for name, value in options.items() if value is not None]
    return change_settings(settings, [*words, *(changes or ())], "settings")


def read_presets(presets: Sequence[str], changes: Sequence[str] | None) -> list[str]:
    """Presets, each once, with the changes of ``--set`` behind their names: tables then say what was done."""
    return list(dict.fromkeys(",".join([preset, *(changes or ())]) for preset in presets))

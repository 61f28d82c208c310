"""Write the generated pages of the docs: the command line, every setting and every metric, from the code itself.

python tools/reference_pages.py          write docs/reference/command-line.md, settings.md, metrics.md
"""

from __future__ import annotations

import re
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from semcycle.cli import app
from semcycle.cli.settings import SettingsCommand
from semcycle.files import write_bytes
from semcycle.methods import METHODS, method_class
from semcycle.prediction.postprocess import PRESETS, PostProcessing
from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.scoring.metrics.metrics import METRICS, Metric
from semcycle.scoring.metrics.policies import PER_CASE, POLICIES, POOLED
from semcycle.scoring.thresholds import RULES
from semcycle.store.augment import AugmentationSettings
from semcycle.training.recipe import TrainingSettings
from semcycle.training.shipped import recipe_folder, shipped_recipes
from semcycle.training.slices import SliceSettings

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
WIDTH = 120
NOTE = "<!-- Written by tools/reference_pages.py; `make reference` writes it again. -->\n\n"


def main() -> None:
    """Write all pages."""
    for name, text in pages().items():
        write_bytes(FOLDER / name, text.encode())


def pages() -> dict[str, str]:
    """File name -> content."""
    return {
        "command-line.md": NOTE + _wrapped(_command_line()),
        "settings.md": NOTE + _wrapped(_settings()),
        "metrics.md": NOTE + _wrapped(_metrics()),
    }


def _wrapped(text: str) -> str:
    """Prose at 120 characters; tables and code as they are."""
    lines, code = [], False
    for line in text.split("\n"):
        code ^= line.startswith("```")
        whole = code or len(line) <= WIDTH or line.startswith(("|", "    ", "#"))
        lines += [line] if whole else textwrap.wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


# --- the command line ---


def verbs() -> dict[str, Any]:
    """Every command by what is typed: ``predict``, ``simulate phantom``."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= {f"{name} {sub}": one for sub, one in inner.items()} if inner else {name: command}
    return found


def _command_line() -> str:
    parts = [
        "# Command line\n",
        "Every command prints what it left where. `--help` after any of them shows the same as here; `--debug` "
        "anywhere shows the "
        "traceback of an error.\n",
        "| exit code | meaning |\n|---|---|\n| 0 | all done |\n| 1 | some cases failed; the others are written, the "
        "reasons are in "
        "`failures.csv` |\n| 2 | wrong input, nothing written |\n| 130 | interrupted; what was finished is kept |\n",
    ]
    for name, command in verbs().items():
        if isinstance(command, SettingsCommand):
            command.explain()
        arguments = [one for one in command.params if not one.opts[0].startswith("-")]
        options = [one for one in command.params if one.opts[0].startswith("-") and "--help" not in one.opts]
        words = [_place(one) for one in arguments] + [f"{one.opts[0]} ..." for one in options if one.required]
        parts += [f"## semcycle {name}\n", f"{_clean(command.help)}\n", f"    semcycle {' '.join([name, *words])}\n"]
        rows = [(f"`{_place(one)}`".replace("|", "\\|"), "", _help(one)) for one in arguments]
        rows += [(", ".join(f"`{word}`" for word in one.opts), _default(one), _help(one)) for one in options]
        if rows:
            parts.append(
                "| | default | meaning |\n|---|---|---|\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)
            )
    return "\n".join(parts)


def _place(argument: Any) -> str:
    if argument.metavar:
        return str(argument.metavar)
    word = argument.name.upper() + ("..." if argument.nargs == -1 or argument.multiple else "")
    return word if argument.required else f"[{word}]"


def _help(parameter: Any) -> str:
    text = _clean(parameter.help or "")
    text = text.replace("listed below", "of [its page](settings.md)").replace("presets below", "[presets](settings.md)")
    return text + (" Repeatable." if parameter.multiple and "repeatable" not in text.lower() else "")


def _default(option: Any) -> str:
    if option.required:
        return "required"
    if option.is_flag:
        other = option.secondary_opts
        return f"on; `{other[0]}` turns it off" if option.default and other else "off"
    return "" if option.default in (None, "", [], ()) else f"`{option.default}`"


def _clean(text: str) -> str:
    return " ".join((text or "").split()).replace("|", "\\|").replace("*", "\\*")


# --- metrics ---


def _metrics() -> str:
    head = "| name | label | what it is | undefined (empty cell) with | poolings |\n|---|---|---|---|---|\n"
    kinds = {False: [], True: []}
    for name, metric in METRICS.items():
        direction = "" if metric.higher_is_better else " Lower is better."
        choice = " It chooses its threshold itself, with the truth." if metric.finds else ""
        cells = (
            f"`{name}`",
            metric.label,
            _clean(metric.meaning) + direction + choice,
            metric.empty,
            _poolings(metric),
        )
        kinds[metric.cut].append(f"| {' | '.join(cells)} |\n")
    return "\n".join(
        [
            "# Metrics\n",
            "What `semcycle score` and `semcycle evaluate` write into `table.csv`, one row a run, preset, metric and\n"
            "pooling. [Scoring](../scoring.md) says how intervals, thresholds and comparisons are made.\n",
            "## Without a threshold, or with one of their own\n",
            head + "".join(kinds[False]),
            "## At a threshold\n",
            "In tables with the rule of the threshold: `dice_at_validation`. Lesions and surfaces are measured at\n"
            "those rules that say so.\n",
            head + "".join(kinds[True]),
            "| rule | the threshold | lesions too |\n|---|---|---|\n"
            + "".join(
                f"| `_at_{name}` | {rule.meaning} | {'yes' if rule.main else ''} |\n" for name, rule in RULES.items()
            ),
            "## Poolings\n",
            "| pooling | label | how |\n|---|---|---|\n"
            + "".join(
                f"| `{name}` | {policy.label.format('...')} | {policy.meaning} |\n" for name, policy in POLICIES.items()
            ),
        ]
    )


def _poolings(metric: Metric) -> str:
    names = {tuple(POLICIES): "all", (POOLED,): f"`{POOLED}`", PER_CASE: "those of cases"}
    return names[metric.policies]


# --- settings ---


def _settings() -> str:
    parts = [
        "# Recipes and other settings\n",
        "A recipe is a YAML file that fixes a training. Unknown keys are errors; keys that are left out take the "
        "default below. "
        "*A1* to *A28* number the points that the paper leaves open; [the method](../explanation/method.md) lists all "
        "of them with the default, the other readings and the reason.\n",
        "```yaml\nseed: 0                 # of everything random\nslices: {lesions: drop}\ntraining: "
        "{batch_size: 16, decay: cosine}\n"
        "method:\n  name: cycle\n  segmentation: {epochs: 10, base: 8}\n```\n",
        "## Shipped recipes\n",
        "By name (`semcycle train smoke/cycle-continuous`). `paper/` holds the published sizes, `baur-run/` the "
        "baselines with the defaults of run.py in the code of Baur, `paper-small/` and `small/` sizes for two CPU "
        "cores, `smoke/` the demo's.\n",
        "| recipe | says of itself |\n|---|---|\n"
        + "".join(f"| `{name}` | {_clean(_opening(name))} |\n" for name in shipped_recipes()),
        "## slices\n",
        *_model(SliceSettings),
        "## training\n",
        *_model(TrainingSettings),
    ]
    for name in METHODS:
        method = method_class(name)
        parts += [
            f"## method: {name}\n",
            f"After [{method.paper}](../references.md#{method.paper}).\n",
            *_model(method.Settings),
        ]
    parts += [
        "## Preprocessing\n",
        "Set by `semcycle prepare --set key=value`, kept in the store and in every run that was trained on it.\n",
        *_model(PreprocessSettings),
        "## Augmented stores\n",
        "Set by `semcycle augment --set key=value`.\n",
        *_model(AugmentationSettings),
        "## Post-processing\n",
        "The steps from a reconstruction to an anomaly map, in this order. A preset is a name, or a name with changes: "
        "`literal,median_mm=5`, or `--set median_mm=5` of `semcycle predict`, `score`, `evaluate` and `calibrate`.\n",
        "| preset | steps |\n|---|---|\n" + "".join(f"| `{name}` | {_steps(one)} |\n" for name, one in PRESETS.items()),
        *_model(PostProcessing),
    ]
    return "\n".join(parts)


def _opening(name: str) -> str:
    """The first sentence of a recipe's comment."""
    lines = (recipe_folder() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    return re.split(r"(?<=[a-z0-9)])\.\s+(?=[A-Z])", " ".join(comment))[0].rstrip(".") + "."


def _steps(preset: PostProcessing) -> str:
    changed = preset.model_dump(exclude_defaults=True)
    return ", ".join(f"`{name}={value}`" for name, value in changed.items()) or "the absolute residual in the brain"


def _model(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """A table of a model's fields, and further tables of the models in it."""
    inner: list[tuple[str, type[BaseModel]]] = []
    rows = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            inner.append((name, field.annotation))
            continue
        limits = _limits(field.metadata)
        kind = _kind(field.annotation) + (f", {limits}" if limits else "")
        text = _clean(field.description or "").replace("``", "`")
        text = re.sub(r"\s*\(?:mod:`[^`]*`\)?", "", re.sub(r":\w+:`~?\.?([\w.]+)`", r"`\1`", text))
        rows.append(f"| `{prefix}{name}` | {kind} | {_value(field.default)} | {text} |\n")
    if rows:
        yield "| key | values | default | meaning |\n|---|---|---|---|\n" + "".join(rows)
    elif not inner:
        yield "It has no settings.\n"
    for name, part in inner:
        yield from _model(part, f"{prefix}{name}.")


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{one}`" for one in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join("none" if one is type(None) else _kind(one) for one in get_args(annotation))
    if get_origin(annotation) is tuple:
        inside = get_args(annotation)
        if get_origin(inside[0]) is Literal:
            return f"list of {_kind(inside[0])}"
        return "numbers" if Ellipsis in inside else f"{len(inside)} numbers"
    names = {float: "number", int: "whole number", bool: "true, false", str: "text"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _limits(metadata: list[Any]) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "multiple_of": "a multiple of"}
    found = [f"{text} {getattr(one, key):g}" for one in metadata for key, text in words.items() if hasattr(one, key)]
    return ", ".join(found)


def _value(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return f"`[{', '.join(one if isinstance(one, str) else f'{one:g}' for one in default)}]`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


if __name__ == "__main__":
    main()

"""Every option value that can be wrong ends with exit code 2 and one line, and none is accepted silently."""

import importlib
import pkgutil

import pytest
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

import semcycle
from semcycle.cli import app
from semcycle.config import Config
from semcycle.errors import SemcycleError
from tests.conftest import make_scan

BY_SETTINGS = {"size", "pixel_mm", "copies", "every", "seed"}
"""Options without limits of their own whose values become settings, which have them."""


def list_verbs(command, words=()):
    if hasattr(command, "commands"):
        return [verb for name, inner in command.commands.items() for verb in list_verbs(inner, (*words, name))]
    return [(words, command)]


VERBS = dict(list_verbs(typer.main.get_command(app)))
NUMBERS = [
    (words, option)
    for words, verb in VERBS.items()
    for option in verb.params
    if option.type_descriptor.annotation in (int, float, int | None, float | None)
]
IDS = [f"{' '.join(words)} {option.opts[0]}" for words, option in NUMBERS]


def run(words, command, **given):
    """Run a verb with stand-ins for what it requires, and an option on top."""
    line = [*words]
    for parameter in command.params:
        if parameter.required:
            line += [parameter.opts[0], "x"] if parameter.opts[0].startswith("-") else ["x"]
    for name, value in given.items():
        line += [name, str(value)]
    return CliRunner().invoke(app, line)


def test_numbers_were_found():
    assert len(NUMBERS) >= 25


@pytest.mark.parametrize(("words", "option"), NUMBERS, ids=IDS)
def test_every_number_has_limits(words, option):
    if option.default is None and option.name in BY_SETTINGS:
        return
    assert option.min is not None
    assert option.max is not None


@pytest.mark.parametrize("value", ["nan", "inf", "-1e9", "9" * 30, "", "²"])
@pytest.mark.parametrize(("words", "option"), NUMBERS, ids=IDS)
def test_numbers_out_of_range_exit_with_two(words, option, value):
    result = run(words, VERBS[words], **{option.opts[0]: value})
    refused = isinstance(result.exception, SemcycleError) and "\n" not in str(result.exception)
    assert result.exit_code == 2 or refused, (result.exception, result.output)
    assert not (refused and "x: expected" in str(result.exception)), "the value was accepted"


def all_settings():
    for module in pkgutil.walk_packages(semcycle.__path__, "semcycle."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    def below(kind):
        return {kind}.union(*(below(inner) for inner in kind.__subclasses__()))

    return sorted((kind for kind in below(Config) if kind.__module__.startswith("semcycle.")), key=str)


@pytest.mark.parametrize("kind", all_settings(), ids=lambda kind: kind.__name__)
def test_every_whole_number_of_the_settings_has_an_upper_limit(kind: type[BaseModel]):
    for name, field in kind.model_fields.items():
        if field.annotation in (int, int | None):
            limits = [limit for limit in field.metadata if hasattr(limit, "le") or hasattr(limit, "lt")]
            assert limits, f"{kind.__name__}.{name}"


@pytest.fixture
def scan(tmp_path):
    return make_scan(tmp_path / "scans" / "a_t2.nii.gz")


@pytest.mark.parametrize("device", ["cuda:99", "xx", "", "meta", "cpu:x", "cuda:-1"])
def test_devices_that_are_not_here_are_refused(device):
    from semcycle.training.hardware import find_device

    with pytest.raises(SemcycleError, match="expected a device") as caught:
        find_device(device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pattern", ["", ".", "/", "**", "**/*", "./*", "..", "*/"])
def test_patterns_that_name_no_files_are_refused(tmp_path, pattern):
    from semcycle.prediction.scans import find_scans

    with pytest.raises(SemcycleError, match="a pattern of file names.*--pattern"):
        find_scans(tmp_path, pattern)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accelerator": "xx"}, "accelerator"),
        ({"accelerator": "tpu"}, "accelerator"),
        ({"precision": "xx"}, "precision"),
        ({"accelerator": "cpu", "devices": 999}, "at most .* processes"),
        ({"accelerator": "cpu", "devices": 0}, "devices"),
        ({"accelerator": "cpu", "nodes": 999}, "999 machines started by Slurm or torchrun"),
    ],
)
def test_hardware_that_is_not_here_is_refused(change, message):
    from semcycle.training.hardware import Hardware, start_fabric

    with pytest.raises(SemcycleError, match=message) as caught:
        start_fabric(Hardware(**change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tag", ["../p", "P", "", "p q", "*"])
def test_tags_of_copies_cannot_leave_the_folder(tag):
    result = run(("paste",), VERBS[("paste",)], **{"--tag": tag})
    assert isinstance(result.exception, SemcycleError)
    assert "tag" in str(result.exception)


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "xx", "a=nan", "=", "a=", "-inf"])
def test_evaluate_takes_finite_thresholds(value):
    from semcycle.cli.evaluate import _given

    with pytest.raises(typer.BadParameter, match="finite number"):
        _given([value], ["a"])

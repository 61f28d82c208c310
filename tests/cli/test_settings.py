"""``--set`` reaches every setting, and the settings' docstrings are its help."""

import json

import pytest

from semcycle.cli.settings import describe_field, read_presets, read_settings
from semcycle.errors import SettingsError
from semcycle.files import VERSION
from semcycle.prediction.postprocess import PostProcessing, find_preset
from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.store.augment import AugmentationSettings
from tests.conftest import semcycle, write_case


@pytest.mark.parametrize("settings", [PreprocessSettings, AugmentationSettings, PostProcessing])
def test_every_field_can_be_set_by_name_and_says_what_it_means(settings):
    other = {"modality": "flair", "slices": "3:9", "sign": "positive", "prior_quantile": "0.5", "prior_scope": "brain"}
    other |= {"lesion_labels": "1,4", "histogram": "0.1,0.9", "residual_mm": "2.5"}
    for name, field in settings.model_fields.items():
        text = describe_field(settings, name)
        assert len(text) > 20
        assert "`" not in text
        word = other.get(name, field.default)
        changed = read_settings(settings(), [f"{name}={word}"])
        assert str(getattr(changed, name)) in (str(word), "(3, 9)", "(1, 4)", "(0.1, 0.9)")


def test_set_comes_after_the_options_and_none_is_a_word_where_it_is_a_value():
    settings = read_settings(PreprocessSettings(), ["size=64", "bias=none", "slices=none"], size=32, bias=None)
    assert settings == PreprocessSettings(size=64)
    for window in ("9:3", "3", "a:b", "1:2:3"):
        with pytest.raises(SettingsError, match="FIRST:LAST"):
            read_settings(PreprocessSettings(), None, slices=window)
    with pytest.raises(SettingsError, match="did you mean 'pixel_mm'"):
        read_settings(PreprocessSettings(), ["pixelmm=2"])


def test_presets_carry_the_changes_in_their_names():
    texts = read_presets(["literal", "baur", "literal"], ["gaussian_mm=2", "erode_mm=1"])
    assert texts == ["literal,gaussian_mm=2,erode_mm=1", "baur,gaussian_mm=2,erode_mm=1"]
    assert find_preset(texts[1]).gaussian_mm == 2


def test_prepare_takes_settings_that_have_no_option(tmp_path, capsys):
    from semcycle.cohorts.manifest import write_manifest

    write_manifest(tmp_path / "cohort", [write_case(tmp_path / "cohort", "a")])
    words = ["prepare", "manifest", tmp_path / "cohort", "--out", tmp_path / "store", "--tissue", "none"]
    semcycle(*words, "--size", 32, "--set", "pixel_mm=7", "--set", "intensity_scope=volume")
    made = json.loads((tmp_path / "store/settings.json").read_text())["preprocess"]
    assert (made["size"], made["pixel_mm"], made["intensity_scope"]) == (32, 7, "volume")
    capsys.readouterr()
    semcycle(*words, "--size", 30, expect=2)
    assert "size: Input should be a multiple of 16, got '30'" in capsys.readouterr().err


def test_prepare_matches_the_histogram_of_a_store(ball_store, tmp_path):
    from semcycle.cohorts.manifest import write_manifest
    from semcycle.store.histogram import store_histogram

    write_manifest(tmp_path / "cohort", [write_case(tmp_path / "cohort", "a")])
    words = ["prepare", "manifest", tmp_path / "cohort", "--out", tmp_path / "store", "--tissue", "none"]
    semcycle(*words, "--size", 32, "--set", "pixel_mm=7", "--match", ball_store.folder, "--set", "lesion_labels=1,4")
    made = json.loads((tmp_path / "store/settings.json").read_text())["preprocess"]
    assert made["histogram"] == list(store_histogram(ball_store))
    assert made["lesion_labels"] == [1, 4]


@pytest.mark.parametrize("verb", ["prepare", "augment", "predict", "score", "evaluate", "calibrate"])
def test_help_lists_all_settings(verb, capsys):
    fields = {"prepare": PreprocessSettings, "augment": AugmentationSettings}.get(verb, PostProcessing).model_fields
    semcycle(verb, "--help")
    printed = capsys.readouterr().out
    assert all(f"{name}:" in printed for name in fields)


def test_version(capsys):
    semcycle("--version")
    assert capsys.readouterr().out == f"{VERSION}\n"

"""The table of A1 to A28 in docs/explanation/method.md: complete, and every setting, option and recipe in it exists."""

import re
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import typer

from semcycle.cli import app
from semcycle.cohorts.base import Case
from semcycle.methods.autoencoder import AutoencoderSettings
from semcycle.methods.cycle import CycleSettings, SegmentationSettings, SynthesisSettings
from semcycle.methods.gmvae import GMVAESettings
from semcycle.prediction.postprocess import PRESETS, PostProcessing
from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.tissue import TISSUE
from semcycle.training.recipe import TrainingSettings
from semcycle.training.shipped import shipped_recipes
from semcycle.training.slices import SliceSettings

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "method.md"
SETTINGS = {
    "": (CycleSettings, PreprocessSettings, PostProcessing, AutoencoderSettings, GMVAESettings),
    "synthesis.": (SynthesisSettings,),
    "segmentation.": (SegmentationSettings,),
    "slices.": (SliceSettings,),
    "training.": (TrainingSettings,),
}


def table():
    """Number -> the cells paper, default, other readings, why."""
    rows = [line.strip("|\n ").split("|") for line in PAGE.read_text().splitlines() if re.match(r"\| A\d+ \|", line)]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def fields():
    return {
        prefix + name: field
        for prefix, some in SETTINGS.items()
        for one in some
        for name, field in one.model_fields.items()
    }


def words():
    """Everything that may stand in code marks in the column of other readings."""
    known = set(fields()) | set(TISSUE) | set(PRESETS) | set(Case.__dataclass_fields__) | {"true", "false"}
    for prefix, some in SETTINGS.items():
        del prefix
        for field in (field for one in some for field in one.model_fields.values()):
            if get_origin(field.annotation) is Literal:
                known |= set(get_args(field.annotation))
    known |= set(shipped_recipes()) | {f"{name.partition('/')[0]}/" for name in shipped_recipes()}
    commands = typer.main.get_command(app).commands
    known |= {f"semcycle {name}" for name in commands}
    known |= {option for command in commands.values() for one in command.params for option in one.opts}
    return known


def test_all_28_are_there_with_a_default_and_a_reason():
    assert list(table()) == [f"A{number}" for number in range(1, 29)]
    for number, cells in table().items():
        assert len(cells) == 4, number
        assert all(cells), number


@pytest.mark.parametrize("number", [f"A{number}" for number in range(1, 29)])
def test_every_name_of_a_reading_exists(number):
    """A setting, one of its values, a tissue provider, preset, recipe, command, option, or column of a manifest."""
    named = re.findall(r"`([^`]+)`", table()[number][2])
    assert named or table()[number][2].startswith("none")
    for text in named:
        if re.fullmatch(r"\d+(,\d+)*", text):  # labels
            continue
        name = text if text.startswith("semcycle ") else text.split()[0]
        assert name in words(), f"{number}: {text}"


def test_an_option_alone_is_no_reading():
    """A number without a setting of its own says why in the table; these are all of them."""
    bare = [number for number, cells in table().items() if not re.search(r"`", cells[2])]
    assert bare == ["A26"]


def test_the_readings_that_the_defaults_name_are_the_defaults():
    defaults = {name: field.default for name, field in fields().items()}
    assert defaults["synthesis.loss"] == "nonsaturating"
    assert (defaults["synthesis.discriminator_weight"], defaults["synthesis.conditional"]) == (0.5, False)
    assert (defaults["synthesis.output"], defaults["segmentation.target"]) == ("sigmoid", "hard")
    assert (defaults["segmentation.classes"], defaults["synthesis.channels"]) == (4, 3)
    assert (defaults["synthesis.source"], defaults["joint_epochs"]) == ("maps", 0)
    assert (defaults["segmentation.base"], defaults["synthesis.base"]) == (64, 32)
    assert (defaults["synthesis.l1_reduction"], defaults["synthesis.pool"]) == ("mean", 0)
    assert (defaults["synthesis.first"], defaults["synthesis.init_std"]) == ("discriminator", 0.02)
    assert (defaults["slices.lesions"], defaults["slices.slice_margin"], defaults["slices.min_brain"]) == (
        "drop",
        0,
        0.01,
    )
    assert (defaults["lesion_labels"], defaults["pixel_mm"], defaults["window"]) == (None, 1.875, "mm")
    assert (defaults["resampling"], defaults["labels"], defaults["percentile"]) == ("area", "area", 99.8)
    assert (defaults["intensity"], defaults["intensity_scope"]) == ("percentile", "brain")
    assert (defaults["histogram"], defaults["denoise"], defaults["sign"]) == (None, "none", "absolute")
    assert (defaults["training.weights"], defaults["training.patience"]) == ("last", 0)
    assert (defaults["discrete_training"], defaults["leaky_slope"], defaults["norm"]) == (True, 0.3, "affine")

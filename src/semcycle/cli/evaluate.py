"""The verb evaluate: scores of anomaly maps from any tool."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semcycle.cli.options import Crew, Dask, Out, choose_workers, finish, show_scores
from semcycle.cli.settings import Changes, read_presets
from semcycle.console import progress_over
from semcycle.errors import ScoringError

if TYPE_CHECKING:
    from semcycle.scoring.pairing import Pairing


def evaluate(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PREDICTIONS... TRUTH | LIST.csv",
            help="Folders of anomaly maps (or NAME=FOLDER), one a method, and last the folder of lesion labels; files "
            "are matched by case name. Patterns such as 'maps/*_score.nii.gz' work too. Or a CSV with the columns "
            "case, prediction, truth, brain, and if wanted method, subject, image, use.",
        ),
    ],
    folder: Out,
    brain: Annotated[
        str, typer.Option(help="Folder of brain masks: any value but 0 is inside. 'none' scores the whole grid.")
    ] = "",
    image: Annotated[str, typer.Option(help="Folder of the scans, for the pictures only.")] = "",
    presets: Annotated[
        list[str] | None,
        typer.Option(
            "--preset", help="as_is (without this option), or as_is,median_mm=5,min_component_mm3=30; repeatable."
        ),
    ] = None,
    changes: Changes = None,
    lesion_rule: Annotated[
        str,
        typer.Option(
            help="What counts lesion by lesion, such as overlap=iou,min_iou=0.5,min_lesion_mm3=30,min_call_mm3=30; "
            "without it a lesion of 14 mm3 and more is found when a call of that size touches it."
        ),
    ] = "",
    thresholds: Annotated[
        list[str] | None,
        typer.Option("--threshold", help="A score of your own, or NAME=SCORE for one method; repeatable."),
    ] = None,
    workers: Crew = None,
    dask: Dask = "",
) -> None:
    """Score anomaly maps of any tool, in NIfTI files of any value range, as `semcycle score` scores its own."""
    from semcycle.config import change_settings
    from semcycle.scoring.maps import AS_IS
    from semcycle.scoring.metrics.lesions import ComponentRule
    from semcycle.studies.evaluating import run_evaluation

    rule = change_settings(ComponentRule(), lesion_rule.split(","), "--lesion-rule")
    chosen = read_presets(presets or [AS_IS], changes)
    pairing = _pair(paths, brain, image)
    given = _given(thresholds or [], pairing.methods)
    crew = choose_workers(workers, dask) or 1
    with progress_over("evaluate", 2 * len(pairing.cases)) as done:
        scores, failures = run_evaluation(
            pairing, folder, presets=chosen, given=given, rule=rule, workers=crew, progress=done
        )
    show_scores(scores.table, folder)
    finish(failures, folder)


def _pair(paths: list[str], brain: str, image: str) -> Pairing:
    from semcycle.scoring.pairing import pair_folders
    from semcycle.scoring.path_list import read_list

    if len(paths) == 1:
        if Path(paths[0]).suffix.lower() != ".csv":
            msg = f"expected PREDICTIONS and TRUTH, or a CSV of paths, got {paths[0]} alone"
            raise typer.BadParameter(msg)
        if brain not in ("", "none") or image:
            msg = (
                "expected masks and images in the CSV's columns, got --brain or --image; only --brain none goes with a "
                "CSV"
            )
            raise typer.BadParameter(msg)
        return read_list(Path(paths[0]), whole_grid=brain == "none")
    if not brain:
        msg = "expected --brain MASKS, got none; without masks say --brain none: the background then counts as healthy"
        raise typer.BadParameter(msg)
    masks = None if brain == "none" else Path(brain)
    return pair_folders(_name(paths[:-1]), Path(paths[-1]), masks, Path(image) if image else None)


def _name(words: list[str]) -> dict[str, Path]:
    """Method -> folder: as named, or by the folder's own name, made unique by its parent's."""
    places = [
        (name if equals else "", Path(rest if equals else word))
        for word in words
        for name, equals, rest in [word.partition("=")]
    ]
    own = [name or _stem(place) for name, place in places]
    if len(set(own)) < len(own):
        own = [name or f"{place.resolve().parent.name}/{_stem(place)}" for name, place in places]
    if len(set(own)) < len(own):
        msg = f"expected folders of different names, got {', '.join(own)}; name them: ours=FOLDER theirs=FOLDER"
        raise typer.BadParameter(msg)
    return dict(zip(own, (place for _, place in places), strict=True))


def _stem(place: Path) -> str:
    text = str(place)
    if "*" in text or "?" in text:
        return _stem(place.parent)
    return place.resolve().name.removesuffix(".gz").removesuffix(".nii")


def _given(words: list[str], methods: list[str]) -> dict[str, float]:
    thresholds: dict[str, float] = {}
    for word in words:
        name, equals, number = word.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            msg = f"expected --threshold SCORE or NAME=SCORE, a finite number, got {word!r}"
            raise typer.BadParameter(msg)
        if equals and name not in methods:
            msg = f"expected --threshold for one of {', '.join(methods)}, got {name!r}"
            raise ScoringError(msg)
        thresholds |= {name: value} if equals else dict.fromkeys(methods, value)
    return thresholds

"""Scores of anomaly maps that lie in files, whatever made them: the work of `semcycle evaluate`.

The definitions are those of `semcycle score`. A case that fails for one method is left out for all, so that methods are
compared on the same cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from semcycle.config import change_settings
from semcycle.errors import Failure, ScoringError
from semcycle.prediction.postprocess import PostProcessing, process_map
from semcycle.processes import Workers
from semcycle.scoring.cases import CaseSource, ScoredCase, ScoreJob
from semcycle.scoring.map_files import AS_IS, read_case
from semcycle.scoring.metrics.lesions import ComponentRule
from semcycle.scoring.pairing import MapCase, Pairing
from semcycle.scoring.score import score_cases
from semcycle.scoring.table import ScoreTable
from semcycle.scoring.thresholds import SOURCES, check_apart
from semcycle.training.calibration import Threshold

PICTURES = 12
"""Cases that get a picture."""


def score_maps(
    pairing: Pairing,
    *,
    presets: Sequence[str] = (AS_IS,),
    given: Mapping[str, float] | None = None,
    scratch: Path | None = None,
    progress: Callable[[str], None] = lambda case: None,
    rule: ComponentRule | None = None,
    resamples: int = 2000,
    workers: Workers = 1,
) -> tuple[ScoreTable, list[Failure]]:
    """Score maps against truth.

    Args:
        pairing: Which files belong together.
        presets: ``as_is``, or ``as_is,median_mm=5`` with steps of :class:`PostProcessing`: each gets rows of its own.
        given: Method -> a threshold of the user's.
        scratch: Where temporary files are made; the system's place without.
        progress: Called twice with every test case: read, and looked at lesion by lesion.
        rule: What counts as a lesion, a call and a hit.
        resamples: Of the bootstrap.
        workers: Processes, or a Dask cluster.

    Returns:
        The table, and the cases that are not in it, with reasons.

    Raises:
        ScoringError: No case can be scored, none has a lesion, or a preset is none.
        SplitError: Thresholds would be set on test subjects.
    """
    steps = {preset: map_steps(preset) for preset in presets}
    tested = {case.subject for case in pairing.cases if case.use == "test"}
    for use in SOURCES:
        check_apart(use, "list", tested, {case.subject for case in pairing.cases if case.use == use})
    brought = {
        (method, preset): [Threshold("given", value, f"given: {value:g} by the user")]
        for method, value in (given or {}).items()
        for preset in presets
    }
    table, failures = score_cases(
        CaseSource(_read, steps, list(_jobs(pairing))),
        {method: method for method in pairing.methods},
        presets,
        brought=brought,
        rule=rule,
        resamples=resamples,
        pictures=PICTURES,
        folder=scratch,
        workers=workers,
        read=progress,
        looked=progress,
    )
    return table, sorted([*pairing.failures, *failures], key=lambda failure: failure.case_id)


def map_steps(preset: str) -> PostProcessing:
    """Post-processing of finished maps: ``as_is``, with ``step=value`` after commas.

    Raises:
        ScoringError: Another name, an unknown step, or one that needs the image or the reconstruction.
    """
    name, *words = [word.strip() for word in preset.split(",")]
    if name != AS_IS:
        msg = f"expected the preset {AS_IS}, or {AS_IS},STEP=VALUE for maps that were not made here, got {preset!r}"
        raise ScoringError(msg)
    steps = change_settings(PostProcessing(), words, preset)
    if steps.sign != "absolute" or steps.prior_quantile is not None:
        msg = f"{preset}: expected steps that need only the map, got sign or prior_quantile; leave them out"
        raise ScoringError(msg)
    return steps


def _read(steps: Mapping[str, PostProcessing], files: MapCase) -> ScoredCase:
    """A case with every method's map under every preset; filters take its lowest score, or 0, for what they blank."""
    case = read_case(files)
    maps = {}
    for (method, _), scores in case.maps.items():
        floor = min(scores[case.brain].min(), np.float32(0))
        for preset, step in steps.items():
            if step == PostProcessing():
                maps[method, preset] = scores
                continue
            shifted = np.where(case.brain, scores - floor, np.float32(0))
            level = {"component_level": step.component_level - float(floor)}
            done = process_map(shifted, case.brain, step.model_copy(update=level), case.spacing)
            maps[method, preset] = np.where(case.brain, done + floor, np.float32(0))
    return replace(case, maps=maps)


def _jobs(pairing: Pairing) -> Iterator[ScoreJob]:
    """The test cases, then those that thresholds are set on."""
    for use in ("test", *SOURCES):
        for case in pairing.cases:
            if case.use == use:
                files = (case.truth, *case.predictions.values(), case.brain, case.image)
                yield ScoreJob(case.case, case.use, case, files)

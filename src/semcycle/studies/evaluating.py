"""The scoring of anomaly maps in files, with what its page says of it; it needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from semcycle.errors import Failure, SemcycleError
from semcycle.files import write_failures, write_json
from semcycle.processes import Workers
from semcycle.scoring.maps import map_steps, score_maps
from semcycle.scoring.metrics.lesions import ComponentRule
from semcycle.scoring.pairing import Pairing
from semcycle.scoring.table import ScoreTable


def run_evaluation(
    pairing: Pairing,
    out: Path,
    *,
    presets: Sequence[str],
    given: Mapping[str, float],
    rule: ComponentRule,
    workers: Workers = 1,
    progress: Callable[[str], None] = lambda name: None,
) -> tuple[ScoreTable, list[Failure]]:
    """Score anomaly maps that lie in files, and write the table.

    Args:
        pairing: Which files belong together.
        out: For the files of :class:`ScoreTable`, ``facts.json`` and, where cases failed, ``failures.csv``.
        presets: As for :func:`.score_maps`, like the others.
        given: Method -> a threshold of the user's.
        rule: What counts as a lesion, a call and a hit.
        workers: Processes, or a Dask cluster.
        progress: Called twice with every case.

    Returns:
        The table, and the cases that are not in it, with reasons.

    Raises:
        SemcycleError: Nothing can be scored as asked; a folder that was not there before is not left behind.
    """
    for preset in presets:
        map_steps(preset)
    fresh = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        table, failures = score_maps(
            pairing, presets=presets, given=given, scratch=out, progress=progress, rule=rule, workers=workers
        )
    except SemcycleError:
        if fresh:
            out.rmdir()
        raise
    failed = {failure.case_id for failure in failures}
    table.save(out)
    write_failures(out / "failures.csv", failures)
    facts = {
        "title": "Scores of anomaly maps",
        "methods": pairing.methods,
        "brain": "masks" if any(case.brain for case in pairing.cases) else "whole grid",
        "test cases": [case.case for case in pairing.cases if case.use == "test" and case.case not in failed],
        "lesion rule": rule.model_dump(),
        "failed cases": sorted(failed),
        "pictures": "0 is the median score outside lesions, 1 what one such voxel in a thousand passes",
    }
    write_json(out / "facts.json", facts)
    return table, failures

"""The verb simulate: scans of BrainWeb's models, or phantoms, as cohorts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcycle.cli.options import Out, Processes
from semcycle.config import MAX_COUNT, MAX_SEED
from semcycle.console import out, progress_over

app = typer.Typer(no_args_is_help=True, help="Make scans: of BrainWeb's models, or phantoms.")


@app.command("brainweb")
def simulate_brainweb(
    models: Annotated[Path, typer.Argument(help="Folder of BrainWeb's label volumes, subject04_crisp_v.mnc.gz ...")],
    folder: Out,
    tr: Annotated[float, typer.Option(min=1, max=1e6, help="Repetition time in ms.")] = 3300,
    te: Annotated[float, typer.Option(min=0.1, max=1e6, help="Echo time in ms.")] = 120,
    noise: Annotated[float, typer.Option(min=0, max=0.5, help="Rician noise over the brightest tissue.")] = 0.03,
    bias: Annotated[float, typer.Option(min=0, max=1, help="Bias field, peak to peak.")] = 0.2,
    factor: Annotated[int, typer.Option(min=1, max=12, help="Model voxels of 0.5 mm that a scan voxel averages.")] = 2,
    skull: Annotated[bool, typer.Option(help="Keep the head.")] = False,
    vary: Annotated[
        bool, typer.Option("--vary", help="Every scan of another scanner: TR, TE, noise and bias drawn anew.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Same seed, same scans.")] = 0,
) -> None:
    """Simulate T2 scans of BrainWeb's anatomical models, with their exact tissue maps, as a cohort."""
    from semcycle.cohorts.simulated.brainweb import Acquisition, find_models, simulate

    acquisition = Acquisition(tr=tr, te=te, noise=noise, bias=bias, factor=factor, skull=skull, vary=vary)
    with progress_over("simulate", len(find_models(models))) as done:
        cases = simulate(models, folder, acquisition, seed=seed, progress=done)
    _show_cohort("brainweb", folder, len(cases))


@app.command("phantom")
def simulate_phantom(
    folder: Out,
    healthy: Annotated[int, typer.Option(min=0, max=MAX_COUNT, help="Phantoms without a lesion.")] = 12,
    lesions: Annotated[
        int, typer.Option(min=0, max=MAX_COUNT, help="Phantoms with one: tumour, stroke, MS in turn.")
    ] = 6,
    spacing: Annotated[int, typer.Option(min=1, max=8, help="Voxel size in mm.")] = 2,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Same seed, same scans.")] = 0,
    workers: Processes = 1,
) -> None:
    """Make the demo's phantoms, healthy and with lesions, as a cohort."""
    from semcycle.cohorts.simulated.phantom import write_cohort

    with progress_over("simulate", healthy + lesions) as done:
        cases = write_cohort(
            folder, healthy=healthy, lesions=lesions, spacing=spacing, seed=seed, workers=workers, progress=done
        )
    _show_cohort("phantom", folder, len(cases))


def _show_cohort(name: str, folder: Path, scans: int) -> None:
    out.print(f"cohort: {folder} ({scans} scans); next: semcycle prepare {name} {folder} --tissue maps --out STORE")

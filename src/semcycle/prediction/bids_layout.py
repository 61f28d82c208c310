"""Predictions of a BIDS dataset as a BIDS derivative dataset [gorgolewski2016], specification 1.11.

Images stand under ``sub-*/[ses-*/]anat/``, named after their T2w by the entity ``desc``; beside each a JSON says what
it is and what made it. Tables, records and pages, for which BIDS has no place, stay at the top and are listed in
``.bidsignore``::

    <out>/dataset_description.json
    <out>/sub-01/ses-a/anat/sub-01_ses-a_desc-anomaly_probseg.nii.gz       scores in [0, 1]
    <out>/sub-01/ses-a/anat/sub-01_ses-a_desc-anomaly_mask.nii.gz          lesion mask
    <out>/sub-01/ses-a/anat/sub-01_ses-a_desc-healthy_T2w.nii.gz           healthy reconstruction
    <out>/sub-01/ses-a/anat/sub-01_ses-a_desc-tissue_probseg.nii.gz        GM, WM, CSF along the fourth axis
    <out>/sub-01_ses-a_T2w_{record.json,findings.csv,report.html,...}, index.html, summary.csv, run.json
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semcycle.errors import LayoutError, error_line
from semcycle.files import VERSION, read_json, write_bytes, write_json
from semcycle.prediction.records import RUN, read_summary
from semcycle.prediction.scans import BIDS, find_bids_root
from semcycle.volume import scan_name

_VERSION_OF_BIDS = "1.11.1"
DERIVATIVES = "derivatives/semcycle"
"""Where the derivatives of a dataset stand when no folder is named."""
_IGNORED = ("*_record.json", "*_findings.csv", "*.html", "*.png", "summary.csv", "failures.csv", "run.json")
"""What stands at the top of the derivatives without a place in BIDS."""
_ENDINGS = {
    "anomaly": "desc-anomaly_probseg",
    "mask": "desc-anomaly_mask",
    "reconstruction": "desc-healthy_T2w",
    "tissue": "desc-tissue_probseg",
}
"""What an image is -> the end of its name. ``label-lesion`` is left to experts' outlines."""
_NAME = re.compile(r"(sub-[a-zA-Z0-9]+)(?:_(ses-[a-zA-Z0-9]+))?((?:_[a-z]+-[a-zA-Z0-9]+)*)_[a-zA-Z0-9]+")
_WORDS = {
    "anomaly": "Anomaly score in [0, 1]: how far a voxel is from its healthy reconstruction; 0 outside the brain",
    "mask": "What of the anomaly scores is called lesion",
    "reconstruction": "The scan as the model would have it healthy, in its own intensity units",
    "tissue": "Probabilities of grey matter, white matter and cerebrospinal fluid, in this order along the fourth axis",
}

_README = """# semcycle on {title}

Derivatives of the T2w images by semcycle {version}: anomaly score (`desc-anomaly_probseg`), lesion mask
(`desc-anomaly_mask`), healthy reconstruction (`desc-healthy_T2w`), tissue (`desc-tissue_probseg`). The JSON beside an
image says what it is and what made it; `index.html` and `summary.csv` list all scans. For research only.
"""


@dataclass(frozen=True)
class BidsPlaces:
    """Where the images of a dataset's scans stand in its derivatives; called as ``place`` of ``predict_files``.

    Attributes:
        root: The raw dataset.
        scans: Name -> file.
        title: Name of the dataset.
    """

    root: Path
    scans: Mapping[str, Path]
    title: str

    def __call__(self, name: str, what: str) -> str:
        """File of an image, relative to the derivatives.

        Raises:
            LayoutError: The scan's name is none of BIDS.
        """
        match = _NAME.fullmatch(scan_name(self.scans[name]))
        if match is None:
            msg = f"{self.scans[name]}: expected a BIDS name such as sub-01_T2w.nii.gz, got another; use --layout flat"
            raise LayoutError(msg)
        subject, session, entities = match.groups()
        folder = f"{subject}/{session}/anat" if session else f"{subject}/anat"
        stem = f"{subject}_{session}" if session else subject
        return f"{folder}/{stem}{entities}_{_ENDINGS[what]}.nii.gz"


def find_places(path: Path, scans: Mapping[str, Path], layout: str) -> BidsPlaces | None:
    """Where images stand by a layout; ``None`` for a flat folder.

    Args:
        path: What is predicted.
        scans: Name -> file.
        layout: ``bids``, ``flat``, or ``auto``: ``bids`` for BIDS datasets whose scans have BIDS names.

    Raises:
        LayoutError: ``bids`` is wanted of what is none, or the dataset's description is damaged.
    """
    root = find_bids_root(path) if path.is_dir() else None
    if layout == "flat" or (layout == "auto" and root is None):
        return None
    if root is None:
        msg = f"{path}: expected a BIDS dataset for --layout bids, got no {BIDS} in it or above; use --layout flat"
        raise LayoutError(msg)
    places = BidsPlaces(root, scans, _read_title(root / BIDS))
    if layout == "auto" and not all(_NAME.fullmatch(scan_name(file)) for file in scans.values()):
        return None
    files = [places(name, "anomaly") for name in scans]
    if len(set(files)) < len(files):
        double = next(file for file in files if files.count(file) > 1)
        msg = f"{path}: expected scans whose derivatives can be told apart, got two that make {double}; rename one"
        raise LayoutError(msg)
    return places


def keep_participants(scans: Mapping[str, Path], labels: Collection[str], path: Path) -> dict[str, Path]:
    """The scans of some subjects of a BIDS dataset; all where no label is given.

    Args:
        scans: Name -> file.
        labels: With or without ``sub-``.
        path: The dataset, for the message.

    Raises:
        LayoutError: A label has no scan.
    """
    subjects = {name: scan_name(file).split("_")[0].removeprefix("sub-") for name, file in scans.items()}
    wanted = {label.removeprefix("sub-") for label in labels}
    if unknown := sorted(wanted - set(subjects.values())):
        known = ", ".join(sorted(set(subjects.values())))
        msg = f"{path}: expected subjects of the dataset with --participant-label, got {', '.join(unknown)}; of {known}"
        raise LayoutError(msg)
    return {name: file for name, file in scans.items() if not wanted or subjects[name] in wanted}


def describe_derivatives(out: Path, places: BidsPlaces) -> None:
    """Write ``dataset_description.json``, ``.bidsignore``, a README, and a JSON beside every finished image.

    A README that is there is left as it is.

    Args:
        out: Folder of the predictions, with its ``run.json``.
        places: Where images stand.
    """
    run = read_json(out / RUN)
    inside = out.resolve().is_relative_to(places.root.resolve())
    write_json(out / BIDS, _describe_dataset(out, places, inside))
    write_bytes(out / ".bidsignore", ("\n".join(_IGNORED) + "\n").encode())
    if not any(out.glob("README*")):
        write_bytes(out / "README.md", _README.format(title=places.title, version=VERSION).encode())
    finished = set(read_summary(out)["scan"])
    for record in run["scans"]:
        name = record["name"]
        if name in places.scans and name in finished:
            for what in _ENDINGS:
                file = places(name, what)
                if file in record["files"]:
                    sidecar = _describe_image(what, record, places, name, linked=inside)
                    write_json(out / file.replace(".nii.gz", ".json"), sidecar)


def _read_title(path: Path) -> str:
    """Name of a dataset, from its description; read before anything is predicted."""
    try:
        return str(read_json(path).get("Name", "a BIDS dataset"))
    except (OSError, ValueError) as error:
        reason = error_line(error)[:160]
        msg = f"{path}: expected a JSON object, got a damaged file ({reason}); mend it, or use --layout flat"
        raise LayoutError(msg) from error


def _describe_dataset(out: Path, places: BidsPlaces, inside: bool) -> dict[str, Any]:
    up = "/".join([".."] * len(out.resolve().relative_to(places.root.resolve()).parts)) if inside else ""
    return {
        "Name": f"semcycle on {places.title}",
        "BIDSVersion": _VERSION_OF_BIDS,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "semcycle",
                "Version": VERSION,
                "Description": "Unsupervised anomaly segmentation of T2w images; for research only",
            }
        ],
        **({"DatasetLinks": {"raw": up}} if inside else {}),
    }


def _describe_image(
    what: str, record: Mapping[str, Any], places: BidsPlaces, name: str, *, linked: bool
) -> dict[str, Any]:
    """The sidecar of an image: BIDS's own fields, and what made it."""
    content: dict[str, Any] = {"Description": _WORDS[what]}
    if linked:
        content["Sources"] = [f"bids:raw:{places.scans[name].resolve().relative_to(places.root.resolve()).as_posix()}"]
    if what == "mask":
        content |= {"Type": "Lesion", "Threshold": record["threshold"], "ThresholdSource": record["threshold_source"]}
        content |= {"GrowthThreshold": record["grow"], "LeastVolumeMl": record["min_ml"]}
    if what == "reconstruction":
        content["SkullStripped"] = True
    else:
        content |= {"SpatialReference": "orig", "Manual": False}
    if what == "tissue":
        content["LabelMap"] = ["GM", "WM", "CSF"]
    content |= {"Model": record["model"], "PostProcessing": record["preset"], "SourceSHA256": record["content"]}
    return content | {"Versions": record["versions"]}

"""Regions in words: the points of :mod:`semcycle.volume.regions` against atlases, and through a scan's outline.

    python benchmarks/regions.py ATLAS AAL --fit
    python benchmarks/regions.py ATLAS AAL --brains DATA/brainweb/*_crisp_v.mnc.gz

ATLAS is the folder ``mni_icbm152_t1_tal_nlin_sym_09a_atlas`` of the ICBM 152 templates [fonov2009] with ``AtlasGrey``,
``AtlasWhite`` and ``atlas_level0.5_BG`` (MINC 2 needs h5py; NIfTI does not); AAL the volume of [tzouriomazoyer2002] in
MNI space at 1 mm. ``--fit`` moves the points on the atlas and prints them. Otherwise they are
compared with it, voxel by voxel and in balls. For each brain, an anatomical model of BrainWeb, the atlas is warped to
it by SyN, which stands for the truth, and balls in it are named as findings are: by the outline's affine map.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ants
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree

from semcycle.types import Affine
from semcycle.volume import load_map
from semcycle.volume.placement import place_brain
from semcycle.volume.regions import REGIONS, name_places, name_region
from semcycle.volume.template import T2_LEVELS, tissue_template

CODES = {
    "frontal": (30, 210, 17, 211),
    "parietal": (57, 6, 105, 2),
    "temporal": (83, 218, 59, 219),
    "occipital": (73, 8, 45, 4),
    "cerebellum": (67, 76),
    "brain stem": (20,),
    "deep grey matter or insula": (11, 12, 14, 16, 23, 33, 39, 53, 102, 203),
}
"""Of the lobe atlas: white and grey matter of either side; striatum, pallidum, caudate, thalamus and their kin."""
SOURCES = ("AtlasGrey", "AtlasWhite", "atlas_level0.5_BG")
"""Files of the lobe atlas, later ones over earlier."""
INSULA = (29, 30)
"""Of AAL."""
COUNTS = {"frontal": 11, "parietal": 7, "temporal": 8, "occipital": 4, "cerebellum": 4, "brain stem": 2}
"""Points of a region; seven of the deep one."""
RADII_MM = (13.0, 5.0)
"""Of the balls: 9 and .5 ml."""


def read_truth(folder: Path, aal: Path) -> tuple[NDArray[np.int8], Affine]:
    """Index into ``REGIONS`` of every brain voxel of the template, -1 outside, axes RAS+, and the affine."""
    maps = {}
    for name in SOURCES:
        volume = load_map(next(folder.glob(f"{name}.*")))
        axes = np.argmax(np.abs(volume.affine[:3, :3]), axis=0)  # MINC's order is z, y, x
        maps[name] = np.rint(volume.data.transpose(np.argsort(axes))).astype(int)
    tissue, affine = tissue_template(1)
    brain = ndimage.binary_fill_holes(tissue.sum(axis=0) > 0.5)
    names = list(REGIONS)
    truth = np.full(brain.shape, -1, np.int8)
    for source in SOURCES:
        for name, codes in CODES.items():
            truth[np.isin(maps[source], codes)] = names.index(name)
    other = load_map(aal)
    index = np.argwhere(np.isin(np.rint(other.data).astype(int), INSULA))
    place = np.rint(index @ other.affine[:3, :3].T + other.affine[:3, 3] - affine[:3, 3]).astype(int)
    truth[tuple(place.T)] = names.index("deep grey matter or insula")
    nearest = ndimage.distance_transform_edt(truth < 0, return_distances=False, return_indices=True)
    truth = truth[tuple(nearest)]
    truth[~brain] = -1
    return truth, affine


def fit_points(truth: NDArray[np.int8], affine: Affine, rounds: int = 12) -> dict[str, NDArray[np.int64]]:
    """Points whose nearest one names a place, by generalised learning vector quantisation: pulled by their region."""
    index = np.argwhere(truth >= 0)
    kinds = truth[truth >= 0]
    places = index + affine[:3, 3]
    places[:, 0] = np.abs(places[:, 0])
    chosen = np.random.default_rng(0).permutation(len(kinds))[:120_000]
    places, kinds = places[chosen], kinds[chosen]
    points, owners = [], []
    for kind, name in enumerate(REGIONS):
        centres, _ = kmeans2(places[kinds == kind], COUNTS.get(name, 7), minit="++", rng=0)
        points.append(centres)
        owners += [kind] * len(centres)
    moved, owner = np.vstack(points), np.array(owners)
    best, kept = 0.0, moved
    for round_ in range(rounds):
        squares = ((places[:, None] - moved) ** 2).sum(axis=-1)
        own = owner == kinds[:, None]
        right, wrong = np.where(own, squares, np.inf), np.where(own, np.inf, squares)
        r, w = right.argmin(axis=1), wrong.argmin(axis=1)
        near, far = right.min(axis=1), wrong.min(axis=1)
        slope = 1 / (1 + np.exp(np.clip(8 * (near - far) / (near + far), -30, 30)))
        weight = slope * (1 - slope) / (near + far) ** 2
        step, total = np.zeros_like(moved), np.zeros(len(moved))
        for which, amount, sign in ((r, weight * far, 1), (w, weight * near, -1)):
            np.add.at(step, which, sign * amount[:, None] * (places - moved[which]))
            total += np.bincount(which, amount, len(moved))
        moved = moved + 0.9 * (1 - round_ / rounds) * step / (total[:, None] + 1e-9)
        share = float((owner[cKDTree(moved).query(places)[1]] == kinds).mean())
        if share > best:
            best, kept = share, moved
    whole = np.maximum(np.rint(kept), [0, -999, -999]).astype(int)
    return {name: whole[owner == kind] for kind, name in enumerate(REGIONS)}


def compare_voxels(truth: NDArray[np.int8], affine: Affine) -> None:
    """Print how many voxels of the template have the atlas's region."""
    index = np.argwhere(truth >= 0)
    kinds = truth[truth >= 0]
    names = name_places((index + affine[:3, 3]).T)
    print(f"template voxels: {(names == kinds).mean():.3f} of {len(kinds)} right")
    for kind, name in enumerate(REGIONS):
        print(f"  {name}: {(names[kinds == kind] == kind).mean():.2f} of {np.mean(kinds == kind):.3f} of the brain")


def warp_labels(labels: NDArray[np.int8], data: NDArray[np.float32], spacing: tuple[float, ...]) -> NDArray[np.int8]:
    """Bring labels on the template's grid to a T2-like brain, axes RAS+, by SyN of the template's tissue."""
    tissue, _ = tissue_template(1)
    moving = ants.smooth_image(ants.from_numpy(np.einsum("a,aijk->ijk", T2_LEVELS, tissue)), 0.5)
    full = ants.from_numpy(data, spacing=spacing)
    fixed = ants.resample_image(full, (2.0,) * 3, use_voxels=False, interp_type=0)
    made = ants.registration(fixed, moving, type_of_transform="SyN", reg_iterations=(40, 20, 0))
    image = ants.from_numpy(labels.astype(np.float32))
    warped = ants.apply_transforms(full, image, made["fwdtransforms"], interpolator="nearestNeighbor").numpy()
    for path in {*made["fwdtransforms"], *made["invtransforms"]}:
        Path(path).unlink(missing_ok=True)
    return warped.astype(np.int8)


def compare_balls(what: str, labels: NDArray[np.int8], affine: Affine, to: Affine, balls: int = 300) -> list[str]:
    """Print how often balls in a brain are called by the region that most of them lies in.

    Args:
        what: For the line.
        labels: ``(I, J, K)`` truth, -1 outside the brain.
        affine: ``(4, 4)``, axes RAS+.
        to: ``(4, 4)`` mm of the brain -> mm of the template.
        balls: How many of each size.

    Returns:
        A word a ball of the largest size: the truth and what it was called.
    """
    rng, inside, names = np.random.default_rng(0), np.argwhere(labels >= 0), list(REGIONS)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    pairs: list[str] = []
    for radius in RADII_MM:
        reach = np.ceil(radius / sizes).astype(int)
        offsets = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), axis=-1).reshape(-1, 3)
        offsets = offsets[np.linalg.norm(offsets * sizes, axis=1) <= radius]
        offsets = offsets[:: 1 + len(offsets) // 1000]
        right, listed, sides, sided, pairs = 0, 0, 0, 0, []
        for centre in inside[rng.choice(len(inside), balls, replace=False)]:
            ball = centre + offsets
            ball = ball[((ball >= 0) & (ball < labels.shape)).all(axis=1)]
            kinds = labels[tuple(ball.T)]
            ball, kinds = ball[kinds >= 0], kinds[kinds >= 0]
            spots = (to @ affine @ np.c_[ball, np.ones(len(ball))].T)[:3]
            called = name_region(spots)
            true = names[np.bincount(kinds).argmax()]
            right += called.split(", ")[0] == true
            listed += true in called.split(", ")
            pairs.append(f"{true} -> {called.split(', ')[0]}")
            x = (affine @ np.r_[centre, 1])[0] - (affine @ np.r_[inside.mean(axis=0), 1])[0]
            if abs(x) > 5:
                sided += 1
                sides += (x < 0) == (spots[0].mean() < 0)
        print(
            f"{what}, balls of {radius:g} mm: first word {right / balls:.3f}, among the words {listed / balls:.3f}, "
            f"side {sides / max(sided, 1):.3f}"
        )
    return pairs


def main() -> None:
    """Fit, or compare on the template and on brains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("atlas", type=Path)
    parser.add_argument("aal", type=Path)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--brains", type=Path, nargs="*", default=[])
    words = parser.parse_args()
    truth, affine = read_truth(words.atlas, words.aal)
    if words.fit:
        for name, points in fit_points(truth, affine).items():
            rows = ", ".join(f"({x}, {y}, {z})" for x, y, z in points[np.lexsort(points.T)])
            print(f'    "{name}": ({rows}),')
        return
    compare_voxels(truth, affine)
    compare_balls("template", truth, affine, np.eye(4))
    wrong: list[str] = []
    for path in words.brains:
        volume = load_map(path)
        axes = np.argsort(np.argmax(np.abs(volume.affine[:3, :3]), axis=0))
        kinds = np.rint(volume.data.transpose(axes)).astype(int)[::2, ::2, ::2]
        step = volume.affine[:, [*axes, 3]] @ np.diag([2, 2, 2, 1.0])
        image = np.choose(np.where(kinds < 4, kinds, 0), [0, T2_LEVELS[2], T2_LEVELS[0], T2_LEVELS[1]])
        a, b, c = np.linalg.norm(step[:3, :3], axis=0)
        labels = warp_labels(truth + 1, image.astype(np.float32), (a, b, c)) - 1
        labels[image == 0] = -1
        to = place_brain(image > 0, step)
        if to is None:
            print(f"{path.name}: no place")
            continue
        wrong += compare_balls(path.name, labels, step, to)
    pairs, counts = np.unique([pair for pair in wrong if len(set(pair.split(" -> "))) > 1], return_counts=True)
    for place in np.argsort(-counts)[:8]:
        print(f"  most often wrong: {pairs[place]}, {counts[place]} of {len(wrong)}")


if __name__ == "__main__":
    main()

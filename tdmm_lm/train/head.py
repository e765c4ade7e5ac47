"""Fit the bundled head's numbers to the scanned head: ``tdmm train recipes/head.yaml``.

Control points carry smooth fields over a sphere; each field is one regularised least-squares problem against the scan
spread over the same sphere: the neutral face, the ARKit shapes (one side, then mirrored), some identities.
"""

import json
import time
from pathlib import Path

import numpy as np

from tdmm_lm import bundle, files
from tdmm_lm.anatomy import assemble, fields, fit, places, scan, sphere, targets
from tdmm_lm.config import Settings as Base
from tdmm_lm.report import figure, report
from tdmm_lm.rigs import head as rig_head
from tdmm_lm.rigs import ict

SOURCE = "ICT-FaceKit light, MIT, USC ICT 2020"


class Settings(Base):
    """How the head is fitted. Lengths in metres."""

    identities: int = 10
    points_a_shape: tuple[int, ...] = (50, 80, 120)  # control points that one shape may use; more only while needed
    good: float = 0.00025  # mean error below which a shape gets no more points
    least_motion: float = 0.0002  # control points whose surroundings move less are left out
    ridge_neutral: float = 2e-3
    ridge_shape: float = 5e-3
    ridge_identity: float = 5e-2
    lip_weight: float = 3.0
    lid_weight: float = 4.0
    gap_weight: float = 20.0  # of the distance between the lips, and between the lids
    lid_overlap: float = 0.0003  # how far the upper lid goes past the lower one in a blink
    lip_seal: float = 0.0007  # how far each lip is pressed beyond where the scan's lips meet


def main(settings: Settings, out: Path) -> None:
    """Fit and write the head's folder, report included.

    Raises:
        FileNotFoundError: ``$TDMM_DATA`` is unset or holds no scanned head.
    """
    start = time.perf_counter()
    data = bundle.data()
    if data is None:
        raise FileNotFoundError("head: expected the scanned head under $TDMM_DATA, which is unset.")
    head = scan.read(data)
    fitter = fit.Fitter(
        head, lip_weight=settings.lip_weight, lid_weight=settings.lid_weight, gap_weight=settings.gap_weight
    )
    everything = np.arange(fitter.control.half)
    ground = fitter.places * assemble.RADII + assemble.CENTRE
    surface = targets.neutral(head, lip_seal=settings.lip_seal)
    neutral = fitter.symmetric(surface - ground, everything, settings.ridge_neutral)

    shapes, errors = {}, {}
    for name in assemble.fitted():
        target = targets.shape(head, name, lid_overlap=settings.lid_overlap)
        one_sided = assemble.opposite(name) is not None
        shapes[name] = fitter.shape(
            target, one_sided=one_sided, ridge=settings.ridge_shape, counts=settings.points_a_shape,
            good=settings.good, least=settings.least_motion,
        )
        errors[name] = fitter.error(target, *shapes[name], one_sided=one_sided) * 1000

    wide = np.flatnonzero(fitter.control.layer[: fitter.control.half] < assemble.IDENTITY_LAYERS)
    identities = []
    for mode in head.identities[: settings.identities]:
        field = mode[: scan.SKIN] / 100
        field = (field + sphere.mirrored(field[fitter.twin]))[: scan.OUTSIDE] / 2
        identities.append(fitter.symmetric(field, wide, settings.ridge_identity))
    jaw = {name: targets.jaw(head, name) for name in ("jawOpen", "jawForward", "jawLeft")}
    marks = ict.load().landmarks
    carried = places.carried(head.sphere, marks.vertices, marks.weights)
    numbers = assemble.Numbers(neutral, shapes, np.array(identities), jaw, carried)
    built = assemble.build(numbers)

    placed = ground + fitter.basis @ fields.symmetric(fitter.control, neutral)
    off = np.linalg.norm(placed - surface, axis=1) * 1000
    count = sum(array.size for array in (neutral, numbers.identities, numbers.landmarks)) + 12 * len(jaw)
    count += sum(values.size for _, values in shapes.values())
    figures = {
        "numbers": figure(count, "numbers"), "vertices": figure(len(built.arrays.v_template), "vertices"),
        "triangles": figure(len(built.arrays.faces), "triangles"),
        "control_points": figure(len(fitter.control.places), "points"),
        "seconds": figure(round(time.perf_counter() - start, 1), "s"),
    }
    face = (np.arange(scan.OUTSIDE) < scan.FACE) & (fitter.weight > 0)
    regions = {"face": np.flatnonzero(face), "lips": np.concatenate(head.lips), "lids": np.concatenate(head.lids)}
    for region, chosen in regions.items():
        figures[f"neutral_{region}_mm"] = figure(round(off[chosen].mean(), 3), "mm", n=len(chosen))
    for name, error in errors.items():
        figures[f"{name}_mm"] = figure(round(error.mean(), 3), "mm", n=len(error))
    made = report("head", settings={**settings.model_dump(), "fitted_to": SOURCE}, figures=figures)
    with files.replacing(out) as folder:
        rig_head.write(numbers, folder)
        (folder / "report.json").write_text(json.dumps(made, indent=2) + "\n")

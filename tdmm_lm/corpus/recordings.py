"""Real faces as rows: the talker of the GRID corpus, tracked from video, and FACEGOOD's studio animation.

Each is read from the folder of real data (`$TDMM_DATA`) clip by clip. Their labels are what `observe` finds; they are
filled in when a corpus is built.
"""

import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from tdmm_lm import rotations
from tdmm_lm.corpus.sources import SHARED
from tdmm_lm.motion import face
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.sample import Sample

GRID_LICENCE = "CC BY 4.0, the GRID audiovisual sentence corpus (Cooke et al. 2006), talker 1"
FACEGOOD_LICENCE = "MIT, FACEGOOD Audio2Face training data"
FACEGOOD_FPS, FACEGOOD_HELD_OUT = 30.0, "1114_3_15"
WINDOW = (3.0, 6.0)  # seconds of a piece cut from a long recording
_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def grid(folder: Path) -> Iterator[Sample]:
    """800 sentences of one talker at 25 fps, as MediaPipe tracked them; every fifth by name is held out (split test),
    so that the talker is in both splits.

    Weights by name (the tracker has no tongueOut: 0), the head's rotation from its matrix; translation is left out.
    Frames without a face are bridged.
    """
    tracked = np.load(folder / "grid_s1" / "mediapipe_arkit52_25fps.npz", allow_pickle=False)
    names = [str(name) for name in tracked["bs_names"]]
    ends = np.cumsum(tracked["n"])
    columns = [names.index(name) if name in names else -1 for name in ARKIT]
    weights = np.where(np.array(columns) >= 0, tracked["blendshapes"][:, columns], 0)
    turn = tracked["head_matrix"][:, :3, :3]
    good = tracked["ok"] & np.isfinite(weights).all(1) & np.isfinite(turn).all((1, 2))
    order = {str(name): place for place, name in enumerate(sorted(map(str, tracked["clip"])))}
    for name, count, end in zip(map(str, tracked["clip"]), tracked["n"], ends):
        rows = slice(int(end - count), int(end))
        seen = np.flatnonzero(good[rows])
        if not len(seen):
            continue
        rotation = torch.from_numpy(turn[rows][seen].astype(np.float64))
        parts = {
            "expression": _bridged(weights[rows][seen], seen, int(count)).clip(0, 1),
            "head": _bridged(rotations.matrix_to_axis_angle(rotation).numpy(), seen, int(count)),
        }
        clip = face.assemble(parts, fps=25.0, rig="head")
        split = "test" if order[name] % 5 == 4 else "train"
        yield Sample(
            f"grid_s1/{name}", (), {"face": clip}, split, "GRID s1, tracked by MediaPipe", GRID_LICENCE,
            speaker="grid/s1", provenance={SHARED: True},
        )


def _bridged(
    known: Float[np.ndarray, "seen channels"], seen: np.ndarray, frames: int
) -> Float[np.ndarray, "frames channels"]:
    """Values at all frames: between known ones linearly, beyond them the nearest."""
    if len(seen) == frames:
        return known
    return np.stack([np.interp(np.arange(frames), seen, column) for column in known.T], -1)


def facegood(folder: Path) -> Iterator[Sample]:
    """Six takes of studio mouth animation at 30 fps in pieces of three to six seconds; the take 1114_3_15 is held out.

    Only the columns that the owner's table calls valid: mouth and jaw. Eyes, brows and head do not move.
    """
    tracks = np.load(folder / "facegood" / "blendshapes_30fps.npz", allow_pickle=False)
    names = [str(name) for name in tracks["bs_names_1015"]]  # the column order that fits the sound
    mapping = facegood_mapping(folder / "facegood" / "Voice2Face_blendshape2ARkit.xlsx")
    for key in sorted(name for name in tracks.files if name.startswith("clip_")):
        take, values = key.removeprefix("clip_"), tracks[key]
        weights = np.zeros((len(values), len(ARKIT)), np.float32)
        for shape, sources in mapping.items():
            found = [names.index(source) for source in sources if source in names]
            if not found:
                raise ValueError(f"facegood: expected a column among {', '.join(sources)} for {shape}, found none.")
            weights[:, ARKIT.index(shape)] = values[:, found].max(1).clip(0, 1)
        rng, start = np.random.default_rng(int(take.replace("_", ""))), 0
        while len(weights) - start >= WINDOW[0] * FACEGOOD_FPS:
            stop = min(len(weights), start + round(rng.uniform(*WINDOW) * FACEGOOD_FPS))
            clip = face.assemble({"expression": weights[start:stop]}, fps=FACEGOOD_FPS, rig="head")
            split = "test" if take == FACEGOOD_HELD_OUT else "train"
            yield Sample(
                f"facegood/{take}/{start}", (), {"face": clip}, split, "FACEGOOD studio animation", FACEGOOD_LICENCE
            )
            start = stop


def facegood_mapping(table: Path) -> dict[str, tuple[str, ...]]:
    """ARKit name -> FACEGOOD columns of which the largest counts, from the owner's spreadsheet; its valid rows only.

    Raises:
        ValueError: the table does not have such rows.
    """
    mapping: dict[str, tuple[str, ...]] = {}
    for row in _rows(table):
        arkit, formula, status = row.get("A", ""), row.get("C", ""), row.get("G", "")
        if status == "valid":
            if arkit not in ARKIT:
                raise ValueError(f"{table.name}: expected an ARKit shape in column A, got {arkit!r}.")
            mapping[arkit] = tuple(formula.removeprefix("max(").removesuffix(")").split(","))
    if not mapping:
        raise ValueError(f"{table.name}: expected rows with the status valid in column G, found none.")
    return mapping


def _rows(table: Path) -> list[dict[str, str]]:
    """Column letter -> text of each row of an .xlsx file's first sheet (it is zipped XML)."""
    with zipfile.ZipFile(table) as file:
        shared = [
            "".join(part.text or "" for part in item.iter(f"{_SHEET}t"))
            for item in ElementTree.fromstring(file.read("xl/sharedStrings.xml"))
        ]
        sheet = ElementTree.fromstring(file.read("xl/worksheets/sheet1.xml"))
    rows = []
    for row in sheet.iter(f"{_SHEET}row"):
        cells = {}
        for cell in row:
            value = cell.find(f"{_SHEET}v")
            if value is not None and value.text is not None:
                text = shared[int(value.text)] if cell.get("t") == "s" else value.text
                cells[cell.get("r", "").rstrip("0123456789")] = text.strip()
        rows.append(cells)
    return rows


SOURCES: dict[str, Callable[[Path], Iterator[Sample]]] = {"grid": grid, "facegood": facegood}

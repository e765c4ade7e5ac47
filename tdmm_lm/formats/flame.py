"""FLAME coefficients as numpy archives: reads what public trackers and data sets write, writes smplx's argument names.

A clip has all of FLAME's 100 expression weights, under rig "flame"; those that a file lacks are zero. Angles are
axis-angle in radians. `LAYOUTS` lists what is known; ``.flame.npz`` is written in the first, whose arrays (without
``fps``) ``smplx.FLAME(num_betas=len(betas[0]), num_expression_coeffs=100)`` takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from tdmm_lm import files, rotations
from tdmm_lm.flame_file import EXPRESSIONS, SHAPES
from tdmm_lm.formats import npz
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.rigs import Rig

SUFFIXES = (".flame.npz",)
MODALITIES = ("face",)
RATES = ("fps", "mocap_frame_rate", "mocap_framerate", "frame_rate")  # where files say their rate, if they do


@dataclass(frozen=True)
class Layout:
    """Which array of a file is which group of ours.

    ``needs`` and ``may`` map a file's array to (group, width): jaw, neck, head, translation (3), eyes (6), left_eye
    and right_eye (3), head_jaw (6: head, then jaw), smplx (165: a body's 55 joints); six_ before a group means the
    first two **rows** of its matrices instead of axis-angle (pytorch3d's 6D). ``shape`` may be missing.
    """

    name: str
    expression: str
    shape: str
    needs: Mapping[str, tuple[str, int]]
    may: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name} ({', '.join((self.expression, *self.needs))})"


LAYOUTS = (
    Layout(
        "smplx FLAME arguments", "expression", "betas", {"jaw_pose": ("jaw", 3), "global_orient": ("head", 3)},
        {"neck_pose": ("neck", 3), "leye_pose": ("left_eye", 3), "reye_pose": ("right_eye", 3),
         "transl": ("translation", 3)},
    ),
    Layout(
        "VHAP, GaussianAvatars", "expr", "shape", {"jaw_pose": ("jaw", 3), "rotation": ("head", 3)},
        {"neck_pose": ("neck", 3), "eyes_pose": ("eyes", 6), "translation": ("translation", 3)},
    ),
    Layout(
        "BEAT2, SMPL-X with expressions", "expressions", "", {"poses": ("smplx", 165)},  # its betas shape a body
    ),
    Layout(
        "SMIRK", "expression_params", "shape_params", {"jaw_params": ("jaw", 3), "pose_params": ("head", 3)},
    ),
    Layout(
        "flame-pytorch arguments", "expression_params", "shape_params", {"pose_params": ("head_jaw", 6)},
        {"neck_pose": ("neck", 3), "eye_pose": ("eyes", 6), "transl": ("translation", 3)},
    ),
    Layout("EMOCA", "expcode", "shapecode", {"posecode": ("head_jaw", 6)}),
    Layout("DECA, SPECTRE, DiffPoseTalk, TFHP", "exp", "shape", {"pose": ("head_jaw", 6)}),
    Layout("metrical-tracker", "exp", "shape", {"jaw": ("six_jaw", 6)}, {"eyes": ("six_eyes", 12)}),
    Layout(
        "expression and jaw", "expression", "shape", {"jaw": ("jaw", 3)},
        {"neck": ("neck", 3), "head": ("head", 3), "eyes": ("eyes", 6), "translation": ("translation", 3)},
    ),
)


def sniff(head: bytes, path: Path) -> bool:
    held = set(npz.names(path)) if head.startswith(b"PK") else set()
    return bool(held) and "format_version" not in held and held.isdisjoint(("pose_body", "body_pose")) and (
        has_expression(held) or held.isdisjoint(("joints", "poses"))  # bodies without faces
    )


def has_expression(held: set[str]) -> bool:
    """Whether an archive's arrays name a face's expression in any layout."""
    return not held.isdisjoint(layout.expression for layout in LAYOUTS)


def read(path: str | Path, *, fps: float | None = None) -> MotionClip:
    """A clip of rig "flame" from the first layout whose arrays are all there with their widths.

    ``fps`` is needed where the file has none of `RATES`. Where identity comes a row a frame, its mean is kept. Head and
    jaw are the file's, in its own camera's or world's frame; a body's (BEAT2) head is its orientation in the world,
    without translation. Eyelid weights and per-vertex offsets have no place in FLAME's parameters and are left out.

    Raises:
        ValueError: no layout fits (they are listed), lengths differ, no rate is known, or an array is not numbers.
    """
    held = npz.names(path)
    layout = _fitting(path, held)
    wanted = {layout.expression, *layout.needs, *(set(layout.may) & set(held)), *({layout.shape} & set(held))}
    rated = next((name for name in RATES if name in held), None)
    arrays = npz.arrays(path, [*wanted, *([rated] if rated else [])])
    if rated is not None:
        if arrays[rated].dtype.kind not in "fiu" or arrays[rated].size != 1:
            got = f"{arrays[rated].dtype} of shape {arrays[rated].shape}"
            raise ValueError(f"{path}: {rated}: expected one number, got {got}.")
        fps = float(arrays.pop(rated).reshape(()))
    if fps is None:
        raise ValueError(f"{path}: expected a frame rate in {', '.join(RATES)}, found none; give it (fps, or --fps).")

    where = f"{path}: {layout.expression}"
    expression = _rows(arrays[layout.expression], None, where)
    if expression.shape[1] > EXPRESSIONS:
        raise ValueError(f"{where}: expected at most {EXPRESSIONS} weights, got {expression.shape[1]}.")
    expression = np.pad(expression, ((0, 0), (0, EXPRESSIONS - expression.shape[1])))
    parts: dict[str, np.ndarray] = {"expression": expression}
    for name, (group, width) in {**layout.needs, **layout.may}.items():
        if name in arrays:
            rows = _rows(arrays[name], width, f"{path}: {name}")
            if len(rows) not in (1, len(expression)):
                same = f"{len(expression)} frames as {layout.expression} has"
                raise ValueError(f"{path}: {name}: expected {same}, got {len(rows)}.")
            _put(parts, group, np.broadcast_to(rows, (len(expression), width)).copy())
    shape = np.zeros(0, np.float32)
    if layout.shape in arrays and arrays[layout.shape].size:
        shape = _rows(np.atleast_2d(arrays[layout.shape]), None, f"{path}: {layout.shape}").mean(0)[:SHAPES]
    try:
        return face.assemble(parts, fps=fps, rig="flame", shape=shape)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write(clip: MotionClip, path: str | Path, *, rig: Rig | None = None) -> None:
    """The clip in the first of `LAYOUTS`, with its rate as ``fps``.

    Raises:
        ValueError: the clip is not of a FLAME head whose jaw and eyes turn about joints.
    """
    joints = rig.authority == "joints" if rig is not None else clip.rig == "flame"
    if not joints:
        raise ValueError(f"{path}: expected a FLAME head, got {clip.rig!r}; convert the clip to an imported FLAME rig.")
    eyes, betas = face.part(clip, "eyes"), {"betas": clip.shape[None]} if len(clip.shape) else {}
    with files.replacing(path) as beside, beside.open("wb") as file:
        np.savez_compressed(
            file, expression=face.part(clip, "expression"), jaw_pose=face.part(clip, "jaw"),
            global_orient=face.part(clip, "head"), neck_pose=face.part(clip, "neck"), leye_pose=eyes[:, :3],
            reye_pose=eyes[:, 3:], transl=face.part(clip, "translation"), fps=np.float64(clip.fps), **betas,  # type: ignore[arg-type]
        )


def _fitting(path: str | Path, held: tuple[str, ...]) -> Layout:
    known = "; ".join([f"our own ({', '.join(npz.KINDS)})", *map(str, LAYOUTS)])
    named = [layout for layout in LAYOUTS if {layout.expression, *layout.needs} <= set(held)]
    for layout in named:
        arrays = npz.arrays(path, layout.needs)
        if all(arrays[name].shape[-1:] == (width,) for name, (_, width) in layout.needs.items()):
            return layout
    if named:
        arrays = npz.arrays(path, named[0].needs)
        got = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"{path}: expected FLAME arrays as {named[0]}, got {got}; known layouts: {known}.")
    listed = ", ".join(name[:30] for name in held[:10]) or "no arrays"
    raise ValueError(f"{path}: expected a clip in a known layout, got {listed}; known layouts: {known}.")


def _rows(array: np.ndarray, width: int | None, where: str) -> Float[np.ndarray, "frames width"]:
    """Finite floats of rank 2; a leading batch axis of one is dropped."""
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{where}: expected numbers, got {array.dtype}.")
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 1 and width is not None:
        array = array[None]
    if array.ndim != 2 or not array.size or (width is not None and array.shape[1] != width):
        raise ValueError(f"{where}: expected (frames, {width or 'weights'}), got {array.shape}.")
    if not np.isfinite(array).all():
        frame = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise ValueError(f"{where}: expected finite numbers, got NaN or infinity at frame {frame}.")
    return np.asarray(array, np.float32)


def _put(parts: dict[str, np.ndarray], group: str, rows: Float[np.ndarray, "frames width"]) -> None:
    """One array of a file as the groups of a face clip."""
    if group.startswith("six_"):
        group = group.removeprefix("six_")
        six = torch.from_numpy(rows).unflatten(1, (-1, 6))
        matrix = rotations.six_to_matrix(six).mT  # two rows: the transpose of what six_to_matrix takes for columns
        rows = rotations.matrix_to_axis_angle(matrix).flatten(1).numpy()
    if group == "head_jaw":
        parts["head"], parts["jaw"] = rows[:, :3], rows[:, 3:]
    elif group in ("left_eye", "right_eye"):
        eyes = parts.setdefault("eyes", np.zeros((len(rows), 6), np.float32))
        eyes[:, slice(0, 3) if group == "left_eye" else slice(3, 6)] = rows
    elif group == "smplx":
        joints = torch.from_numpy(rows).unflatten(1, (55, 3))
        chain = rotations.axis_angle_to_matrix(joints[:, [0, 3, 6, 9, 12, 15]])  # pelvis, spine 1-3, neck, head
        head = chain[:, 0]
        for link in chain.unbind(1)[1:]:
            head = head @ link
        parts["head"] = rotations.matrix_to_axis_angle(head).numpy()
        parts["jaw"], parts["eyes"] = rows[:, 66:69], rows[:, 69:75]  # joints 22, then 23 and 24
    else:
        parts[group] = rows

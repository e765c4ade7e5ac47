"""SMPL, SMPL-H and SMPL-X parameters as numpy archives, AMASS's above all: the rotations of the first 22 joints.

Three layouts: ``poses`` (frames, 66 or more) with ``trans``; ``root_orient`` and ``pose_body`` with ``trans``;
``global_orient`` and ``body_pose`` with ``transl`` (smplx's argument names). Axis-angle in radians, metres. The first
two are AMASS's, whose world has Z up: they are turned to Y up, unless the trunk plainly stands along Y, which is said.
The third is kept as it is. Hands, faces and soft tissue have no place in a body clip and are left out.

Where the owner's model is on this machine (``model``, or the folder in $TDMM_SMPL) the skeleton is the model's under
the file's betas and gender, and joints lie where the model has them. Without it the default skeleton is used, and the
pelvis lies at the file's translation, off by the pelvis' place in the model, which is the same in every frame.
"""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from tdmm_lm import rotations, unpickle
from tdmm_lm.formats import npz
from tdmm_lm.formats.flame import RATES, has_expression
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import skeleton

SUFFIXES = ()
MODALITIES = ("body",)
ENVIRONMENT = "TDMM_SMPL"  # the folder that holds smplx/SMPLX_NEUTRAL.npz and the like, as its owners distribute it
LAYOUTS: tuple[tuple[Mapping[str, int], str], ...] = (  # arrays with their least widths, the translation's name
    ({"root_orient": 3, "pose_body": 63}, "trans"),
    ({"global_orient": 3, "body_pose": 63}, "transl"),
    ({"poses": 66}, "trans"),
)
MODELS = {72: "smpl", 156: "smplh", 165: "smplx"}  # by the width of ``poses``
UPRIGHT = 0.8  # the mean trunk's share along Y from which an AMASS-like file is taken to have Y up


def sniff(head: bytes, path: Path) -> bool:
    return head.startswith(b"PK") and is_body(npz.names(path))


def is_body(held: tuple[str, ...]) -> bool:
    """Whether an archive's arrays are a body's; ``poses`` beside ``expressions`` is BEAT2, which is read as a face."""
    fitting = [wanted for wanted, _ in LAYOUTS if set(wanted) <= set(held)]
    return bool(fitting) and "format_version" not in held and (
        "poses" not in fitting[0] or not has_expression(set(held))
    )


def read(path: str | Path, *, fps: float | None = None, model: str | Path | None = None) -> MotionClip:
    """A body clip; ``model`` is the owner's model, a file or the folder of all.

    ``fps`` is needed where the file states none.

    Raises:
        FileNotFoundError: ``model`` is not there.
        ValueError: no layout fits, lengths differ, no rate is known, numbers are not finite, or the model is none.
    """
    path = Path(path)
    held = npz.names(path)
    wanted, moved = next(((names, place) for names, place in LAYOUTS if set(names) <= set(held)), LAYOUTS[-1])
    rated = [name for name in RATES if name in held][:1]
    extra = [name for name in (moved, "betas", "gender", "surface_model_type") if name in held]
    arrays = npz.arrays(path, [*wanted, *rated, *extra])
    if rated:
        rate = arrays[rated[0]]
        if rate.dtype.kind not in "fiu" or rate.size != 1:
            raise ValueError(f"{path}: {rated[0]}: expected one number, got {rate.dtype} of shape {rate.shape}.")
        fps = float(rate.reshape(()))
    if fps is None:
        raise ValueError(f"{path}: expected a frame rate in {', '.join(RATES)}, found none; give it (fps, or --fps).")
    poses = np.concatenate([_rows(arrays[name], width, f"{path}: {name}") for name, width in wanted.items()], 1)
    translation = np.zeros((len(poses), 3), np.float32)
    if moved in arrays:
        translation = _rows(arrays[moved], 3, f"{path}: {moved}")
    if len(translation) != len(poses):
        raise ValueError(f"{path}: {moved}: expected {len(poses)} frames as the poses have, got {len(translation)}.")
    turns = rotations.axis_angle_to_matrix(torch.from_numpy(poses).unflatten(1, (-1, 3)))
    rest = _rest(path, arrays, model)
    if rest is not None:
        translation = translation + rest[0]
    if "global_orient" not in wanted:
        translation, turns = _y_up(path, translation, turns)
    try:
        shape = None if rest is None else skeleton.Skeleton(rest - rest[list(body.PARENTS)]).shape
        return body.assemble(translation, turns, fps=fps, shape=shape)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


write = None  # our T-pose is not SMPL's rest pose to the degree: go by .npy or .bvh


def _rows(array: np.ndarray, width: int, where: str) -> Float[np.ndarray, "frames width"]:
    """Finite rows of at least ``width`` numbers; matrices and a batch of one are not guessed at."""
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] < width or not len(array):
        raise ValueError(f"{where}: expected (frames, {width} or more), got {array.dtype} {array.shape}.")
    if not np.isfinite(array).all():
        frame = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise ValueError(f"{where}: expected finite numbers, got NaN or infinity at frame {frame}.")
    return np.asarray(array[:, :width], np.float32)


def _y_up(
    path: Path, translation: Float[np.ndarray, "frames 3"], turns: Float[torch.Tensor, "frames joints 3 3"]
) -> tuple[Float[np.ndarray, "frames 3"], Float[torch.Tensor, "frames joints 3 3"]]:
    """Z up turned to Y up; the root's own Y is its trunk, so where it points says what stands."""
    if float(turns[:, 0, 1, 1].mean()) > UPRIGHT:
        warnings.warn(f"{path}: taken to have Y up, since the body stands along Y; AMASS has Z up.", stacklevel=3)
        return translation, turns
    turn = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    turns = torch.cat([turn @ turns[:, :1], turns[:, 1:]], 1)
    return translation @ turn.numpy().T, turns


def _rest(
    path: Path, arrays: Mapping[str, np.ndarray], model: str | Path | None
) -> Float[np.ndarray, "joints 3"] | None:
    """The 22 joints at rest under the file's betas by the owner's model, or None where there is no model."""
    place = model if model is not None else os.environ.get(ENVIRONMENT)
    if not place:
        return None
    file = _model(path, arrays, Path(place))
    held = unpickle.read(file)
    needed = ("v_template", "shapedirs", "J_regressor")
    missing = [name for name in needed if not isinstance(held.get(name), np.ndarray)]
    if missing:
        raise ValueError(f"{file}: expected a SMPL model, found no {', '.join(missing)}.")
    template, shapes = held["v_template"].astype(float), held["shapedirs"].astype(float)
    regressor = held["J_regressor"].astype(float)
    count = len(template)
    if template.shape != (count, 3) or shapes.shape[:2] != (count, 3) or shapes.ndim != 3 or (
        regressor.shape[1:] != (count,) or len(regressor) < len(body.JOINTS)
    ):
        got = f"{template.shape}, {shapes.shape}, {regressor.shape}"
        raise ValueError(f"{file}: expected vertices, shapes and joints of one body, got {got}.")
    betas = np.zeros(0)
    if "betas" in arrays:
        betas = np.asarray(arrays["betas"])
        if betas.dtype.kind not in "fiu" or betas.ndim not in (1, 2) or not np.isfinite(betas).all():
            raise ValueError(f"{path}: betas: expected finite numbers, got {betas.dtype} {betas.shape}.")
        betas = np.atleast_2d(betas).mean(0)[: shapes.shape[2]].astype(float)
    return regressor[: len(body.JOINTS)] @ (template + shapes[:, :, : len(betas)] @ betas)


def _model(path: Path, arrays: Mapping[str, np.ndarray], place: Path) -> Path:
    """The model's file for this body: its kind by the file's word or the width of its poses, its gender."""
    if place.is_file():
        return place
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: expected SMPL's models, a file or folder, found none.")
    kind = _word(arrays.get("surface_model_type"))
    if not kind:
        kind = MODELS.get(arrays["poses"].shape[1], "smplx") if "poses" in arrays else "smplx"
    gender = _word(arrays.get("gender")) or "neutral"
    sought = [
        place / folder / name
        for folder in (kind, ".") for ending in ("npz", "pkl")
        for name in (f"{kind.upper()}_{gender.upper()}.{ending}", f"{gender}/model.{ending}")
    ]
    found = next((file for file in sought if file.is_file()), None)
    if found is None:
        wanted = sought[0].relative_to(place)
        raise ValueError(f"{path}: expected the model {wanted} in {place}, found none; unset ${ENVIRONMENT} or add it.")
    return found


def _word(array: np.ndarray | None) -> str:
    """A file's own word in small letters; bytes and text alike."""
    if array is None or array.dtype.kind not in "US" or array.size != 1:
        return ""
    value = array.reshape(()).item()
    word = (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip().lower()
    return word if word.isalnum() else ""

"""Files in and out. Every other file is one format with the same five names:

    SUFFIXES: tuple[str, ...]                      endings it writes, e.g. (".npz",)
    MODALITIES: tuple[str, ...]                    what it holds: "face", "body"
    sniff(head: bytes, path) -> bool               is this file (its first 4096 bytes) mine? content before name
    read(path, *, fps=None) -> MotionClip          or None instead of the function where it cannot
    write(clip, path, *, rig=None) -> None         likewise

``fps`` is the rate to assume where a file does not say its own; ``rig`` is the head that a face clip drives.
"""

from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float

from tdmm_lm import config, rotations
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.rigs import Rig

HEAD_BYTES = 4096
TURNS = 5  # jaw, neck, head, left eye, right eye: the axis-angle groups of a face row, side by side


def modules() -> dict[str, ModuleType]:
    """Every format by its name. Reading needs the heavy library of one of them only, so they import theirs late."""
    return {name: config.find("formats", name) for name in config.known("formats")}


def written(modality: str | None = None) -> tuple[str, ...]:
    """The endings that `write` knows, e.g. ``.glb``; with a modality those that hold it."""
    return tuple(sorted({
        suffix for module in modules().values() if module.write for suffix in module.SUFFIXES
        if modality is None or modality in module.MODALITIES
    }))


def read(path: str | Path, *, fps: float | None = None) -> MotionClip:
    """A clip from any file that a format recognises.

    Raises:
        ValueError: broken; the message says where. And what `recognised` raises.
    """
    return recognised(path).read(Path(path), fps=fps)


def recognised(path: str | Path) -> ModuleType:
    """The format that reads a file, told by its content first and by its name second.

    Raises:
        FileNotFoundError: no such file.
        ValueError: empty, or of no known format (the known are listed).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file, found {'a folder' if path.is_dir() else 'none'}.")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise ValueError(f"{path}: expected a motion or video file, got an empty one.")
    readers = {name: module for name, module in modules().items() if module.read}
    by_content = [module for module in readers.values() if module.sniff(head, path)]
    by_name = [module for module in readers.values() if path.name.lower().endswith(tuple(module.SUFFIXES) or "\0")]
    for module in (*by_content, *by_name):
        return module
    raise ValueError(f"{path}: expected one of the formats {', '.join(sorted(readers))}, got something else.")


def write(clip: MotionClip, path: str | Path, *, rig: Rig | None = None) -> None:
    """A clip to the format that the path's ending names; the longest ending wins (``.flame.npz`` over ``.npz``).

    Raises:
        ValueError: an ending nobody writes (the known are listed), or a clip that the format cannot hold.
    """
    path = Path(path)
    fitting = [
        (len(suffix), module)
        for module in modules().values() if module.write
        for suffix in module.SUFFIXES if path.name.lower().endswith(suffix)
    ]
    if not fitting:
        raise ValueError(f"{path}: expected an ending among {', '.join(written())}, got {path.suffix or 'none'}.")
    module = max(fitting, key=lambda pair: pair[0])[1]
    if clip.modality not in module.MODALITIES:
        held, known = " or ".join(module.MODALITIES), ", ".join(written(clip.modality))
        raise ValueError(f"{path}: expected a {held} clip for this format, got a {clip.modality} clip; use {known}.")
    module.write(clip, path, rig=rig)


def evenly(
    values: Float[np.ndarray, "rows channels"], seconds: Float[np.ndarray, " rows"], fps: float, frames: int
) -> Float[np.ndarray, "frames channels"]:
    """Face rows taken at ``seconds`` (growing) as frames at i / fps: weights and translation linearly, turns by slerp.

    Before the first and after the last row the nearest row is held. A row that lies on its frame is kept as it is.
    """
    if len(seconds) == 1:
        return np.repeat(np.asarray(values, np.float32), frames, 0)
    wanted = np.arange(frames) / fps
    if len(seconds) == frames and np.abs(seconds - wanted).max() * fps < 1e-6:
        return np.asarray(values, np.float32)
    right = np.searchsorted(seconds, wanted, side="left").clip(1, len(seconds) - 1)
    left = right - 1
    share = ((wanted - seconds[left]) / (seconds[right] - seconds[left])).clip(0, 1)
    share = np.where(share < 1e-6, 0, np.where(share > 1 - 1e-6, 1, share))[:, None].astype(np.float32)
    result = ((1 - share) * values[left] + share * values[right]).astype(np.float32)
    between = ((share > 0) & (share < 1))[:, 0]
    start = face.layout(values.shape[1])["jaw"].start
    for turn in (slice(start + 3 * i, start + 3 * i + 3) for i in range(TURNS)):
        ends = [
            rotations.axis_angle_to_quaternion(torch.from_numpy(values[rows[between]][:, turn].astype(np.float32)))
            for rows in (left, right)
        ]
        mixed = rotations.slerp(ends[0], ends[1], torch.from_numpy(share[between]))
        result[between, turn] = rotations.quaternion_to_axis_angle(mixed).numpy()
    return result


def pivot(rig: Rig, shape: Float[np.ndarray, " identity"] | None = None) -> Float[np.ndarray, " 3"]:
    """The rig's root joint at rest, metres: the point that stays where it is when the head turns.

    Found by turning the rig, so that it holds for any: (1 - R) pivot = turned - R rest.
    """
    poses = torch.zeros(3, len(rig.expressions) + face.POSE_CHANNELS)
    where = face.layout(poses.shape[1])["head"].start
    poses[1, where], poses[2, where + 1] = np.pi / 2, np.pi / 2  # about X, about Y
    with torch.no_grad():
        identity = None if shape is None or not len(shape) else torch.from_numpy(shape)
        points = rig.vertices(poses, identity, torch.arange(3)).double()
        turns = rotations.axis_angle_to_matrix(poses[1:, where : where + 3].double())
    left = (torch.eye(3, dtype=torch.float64) - turns)[:, None].expand(2, 3, 3, 3).reshape(-1, 3)
    right = (points[1:] - points[0] @ turns.mT).reshape(-1, 1)
    return torch.linalg.lstsq(left, right).solution[:, 0].numpy()

"""Joints' places alone, as motion data sets and generators write them: (frames, 22, 3) in metres, Y up.

Reads ``.npy`` and ``.npz`` (an array ``joints``, and ``fps`` if it is there): 22 joints in the order of
`tdmm_lm.motion.body.JOINTS`, or SMPL's 24, SMPL-H's 52 or SMPL-X's 55, which begin with them; and HumanML3D's features
(frames, 263), which are at 20 fps. Rotations are fitted (`tdmm_lm.rigs.skeleton.fit`) on a skeleton with the file's
mean bone lengths. Writes the places; ``.joints.npz`` with the rate, ``.npy`` has no room for it.
"""

import tokenize
from pathlib import Path

import numpy as np
import torch

from tdmm_lm import files
from tdmm_lm.formats import flame, npz, smpl
from tdmm_lm.geometry import humanml3d
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import Rig, skeleton

SUFFIXES = (".npy", ".joints.npz")
MODALITIES = ("body",)
COUNTS = (22, 24, 52, 55)
LEG_METRES = (0.3, 1.5)  # from hip to ankle along the bones: a child's, a giant's
MOST_FRAMES = 1_000_000
MOST_METRES = 1e4  # from the origin
MAGIC = b"\x93NUMPY"


def sniff(head: bytes, path: Path) -> bool:
    held = npz.names(path) if head.startswith(b"PK") else ()
    other = flame.has_expression(set(held)) or smpl.is_body(held) or "format_version" in held
    return head.startswith(MAGIC) or ("joints" in held and not other)


def read(path: str | Path, *, fps: float | None = None) -> MotionClip:
    """A body clip whose joints come closest to the file's.

    ``fps`` is needed for joints that do not come with it.

    Raises:
        ValueError: not joints or features, not in metres, not finite, no frames, too many, or no rate is known.
    """
    path = Path(path)
    array, stated = _array(path)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{path}: expected numbers, got {array.dtype}.")
    if array.ndim and len(array) > MOST_FRAMES:
        raise ValueError(f"{path}: expected at most {MOST_FRAMES} frames, got {len(array)}; split it.")
    places = torch.from_numpy(np.array(array, np.float32))
    try:
        if places.ndim == 2 and places.shape[1] == humanml3d.WIDTH:
            places, stated = humanml3d.recover_joints(places), humanml3d.FPS
        if places.ndim != 3 or places.shape[1] not in COUNTS or places.shape[2] != 3 or not len(places):
            known = f"(frames, {' or '.join(map(str, COUNTS))}, 3) or (frames, {humanml3d.WIDTH})"
            raise ValueError(f"joints: expected {known}, got {tuple(places.shape)}.")
        fps = stated if stated is not None else fps
        if fps is None:
            raise ValueError("joints: expected a frame rate, found none; give it (fps, or --fps; HumanML3D's is 20).")
        places = places[:, : len(body.JOINTS)]
        if not places.isfinite().all():
            frame = int((~places.isfinite()).flatten(1).any(1).nonzero()[0, 0])
            raise ValueError(f"joints: expected finite places, got NaN or infinity at frame {frame}.")
        if places.abs().max() > MOST_METRES:
            raise ValueError(f"joints: expected metres, places within {MOST_METRES:g} m, got {places.abs().max():.3g}.")
        rest = skeleton.measured(places)
        leg = rest.lengths[[body.JOINTS.index("left_knee"), body.JOINTS.index("left_ankle")]].sum()
        if not LEG_METRES[0] <= leg <= LEG_METRES[1]:
            wanted = f"{LEG_METRES[0]} to {LEG_METRES[1]} m"
            raise ValueError(f"joints: expected metres, legs of {wanted}, got {leg:.3g}; scale the array.")
        return skeleton.fit(places, fps=fps, rest=rest)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write(clip: MotionClip, path: str | Path, *, rig: Rig | None = None) -> None:
    """Every joint's place in the world, float32 (frames, 22, 3) metres; ``rig`` is not needed.

    Raises:
        ValueError: no body clip.
    """
    if clip.modality != "body":
        raise ValueError(f"{path}: expected a body clip, which has joints, got a {clip.modality} clip.")
    places = skeleton.joints(clip).numpy().astype(np.float32)
    with files.replacing(path) as beside, beside.open("wb") as file:
        if Path(path).name.lower().endswith(".npz"):
            np.savez_compressed(file, joints=places, fps=np.float64(clip.fps), names=np.array(body.JOINTS))
        else:
            np.save(file, places)


def _array(path: Path) -> tuple[np.ndarray, float | None]:
    """The array and the rate that its file states, if any."""
    with path.open("rb") as file:
        alone = file.read(len(MAGIC)) == MAGIC
    if alone:
        try:  # mapped, so that nothing larger than the file is made
            return np.load(path, mmap_mode="r", allow_pickle=False), None
        except (ValueError, EOFError, OSError, OverflowError, tokenize.TokenError) as error:  # of broken headers
            said = " ".join(str(error).split())[:80]
            raise ValueError(f"{path}: expected an array of joints, got none or a damaged one ({said}).") from None
    held = npz.arrays(path, ["joints", *({"fps"} & set(npz.names(path)))])
    if "fps" not in held:
        return held["joints"], None
    if held["fps"].size != 1 or held["fps"].dtype.kind not in "fiu":
        raise ValueError(f"{path}: fps: expected one number, got {held['fps'].dtype} {held['fps'].shape}.")
    return held["joints"], float(held["fps"].reshape(()))

"""From a clip on a rig to rig-free geometry: how far each landmark moved, where the head points, where the eyes look.

`features` and `from_features` turn a `Geometry` into one row of numbers a frame and back: what the face codec sees.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from tdmm_lm import landmarks, rigs, rotations
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.rigs import Rig

_CHUNK = 4096  # frames posed at once: bounds memory, changes no number

BLINK = 0.15  # inter-ocular distances between the middles of the lids that a blink closes: an average eye
_MIDDLE = (("upper", (3, 4, 5)), ("lower", (2, 3, 4)))  # the corner counts as the upper lid's number 0
_INDEX = {name: i for i, name in enumerate(landmarks.NAMES)}

PUPILS = tuple(landmarks.NAMES.index(f"pupil_{side}") for side in ("left", "right"))

# A row of `features`. Translation is left out: it says where the camera stood, not what the face did.
FEATURES: dict[str, slice] = {
    "displacement": slice(0, 3 * len(landmarks.NAMES)),
    "head": slice(3 * len(landmarks.NAMES), 3 * len(landmarks.NAMES) + 6),
    "gaze": slice(3 * len(landmarks.NAMES) + 6, 3 * len(landmarks.NAMES) + 10),
}
WIDTH = FEATURES["gaze"].stop


@dataclass(frozen=True)
class Geometry:
    """What a face does, on no particular head. Y up, facing Z+, the person's own left is +X.

    Attributes:
        displacement: of the landmarks (order `landmarks.NAMES`) from the same person's neutral face, in the head's own
            frame (head and neck rotation and translation removed), in the rig's `units`: inter-ocular distances, but
            for the lids, whose unit is such that a whole blink is as long on every head.
        head: rotation of the head, 6D (columns 0 and 1 of root times neck).
        gaze: left eye, then right eye; each (yaw, pitch) in radians in the head's frame, from the eyeball's centre to
            the pupil, zero where the neutral face looks. Positive yaw looks to the person's left, positive pitch
            looks **down**, as in `rotations.euler_yxz_to_matrix`.
        translation: of the head, in inter-ocular distances.
        fps: frames a second.

    Raises:
        ValueError: an array of another shape, or numbers that are not finite.
    """

    displacement: Float[np.ndarray, "frames landmarks 3"]
    head: Float[np.ndarray, "frames 6"]
    gaze: Float[np.ndarray, "frames 2 2"]
    translation: Float[np.ndarray, "frames 3"]
    fps: float

    def __post_init__(self) -> None:
        frames = len(self.displacement)
        for name, given, expected in (
            ("displacement", self.displacement, (frames, len(landmarks.NAMES), 3)),
            ("head", self.head, (frames, 6)),
            ("gaze", self.gaze, (frames, 2, 2)),
            ("translation", self.translation, (frames, 3)),
        ):
            array = np.ascontiguousarray(given, np.float32)
            if array.shape != expected:
                raise ValueError(f"geometry.{name}: expected shape {expected}, got {array.shape}.")
            if not np.isfinite(array).all():
                raise ValueError(f"geometry.{name}: expected finite numbers, got NaN or infinity.")
            object.__setattr__(self, name, array)

    @property
    def frames(self) -> int:
        return len(self.displacement)


def compact(rig: Rig) -> tuple[Int[Tensor, " some"], Int[np.ndarray, "landmarks 3"]]:
    """The vertices that carry the rig's landmarks, and the embedding's triangles as indices into them."""
    some, index = np.unique(rig.landmarks.vertices, return_inverse=True)
    return torch.from_numpy(some.astype(np.int64)), index.reshape(rig.landmarks.vertices.shape)


@torch.no_grad()
def places(
    values: Float[Tensor, "frames channels"], rig: Rig, shape: Float[Tensor, " identity"] | None = None
) -> Float[np.ndarray, "frames landmarks 3"]:
    """Metres. The landmarks on posed vertices, for rows in the layout of `tdmm_lm.motion.face`."""
    some, triangles = compact(rig)
    weights = rig.landmarks.weights.astype(np.float32)[..., None]
    rows = [rig.vertices(part, shape, some).numpy() for part in values.split(_CHUNK)]
    return np.concatenate([(row[:, triangles] * weights).sum(-2) for row in rows]).astype(np.float32)


_units: "WeakKeyDictionary[Rig, np.ndarray]" = WeakKeyDictionary()  # as long as anybody has the rig


def units(rig: Rig) -> Float[np.ndarray, " landmarks"]:
    """Metres that make one unit of displacement at each landmark.

    It is the inter-ocular distance; at the lids times a gain, the rig's own blink (without one, its eyes' opening)
    over `BLINK`: a shut eye is shut on every head, however wide it is open and however far its artist shut it.
    """
    if rig not in _units:
        _units[rig] = _measured_units(rig)
        _units[rig].flags.writeable = False  # it is everybody's
    return _units[rig]


def _measured_units(rig: Rig) -> Float[np.ndarray, " landmarks"]:
    middle = [[_INDEX[f"lid_{lid}_{side}_{i}"] for side in ("left", "right") for i in three] for lid, three in _MIDDLE]
    upper, lower = middle
    blinks = [rig.expressions.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight") if name in rig.expressions]
    rows = torch.zeros(2, len(rig.expressions) + face.POSE_CHANNELS)
    rows[1, blinks] = 1
    still, shut = places(rows, rig)
    closed = (still[lower] - still[upper] - shut[lower] + shut[upper]) if blinks else still[lower] - still[upper]
    length = float(np.linalg.norm(closed, axis=-1).mean()) / rig.interocular
    result = np.full(len(landmarks.NAMES), rig.interocular, np.float32)
    if length > BLINK / 4:  # else it does not shut its eyes at all
        result[list(landmarks.region("lids"))] *= length / BLINK
    return result


def gaze_angles(direction: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 2"]:
    """(yaw, pitch) in radians of a direction, not necessarily of unit length: left and down are positive."""
    x, y, z = np.moveaxis(direction, -1, 0)
    return np.stack([np.arctan2(x, z), np.arctan2(-y, np.hypot(x, z))], -1)


def gaze_directions(angles: Float[np.ndarray, "*b 2"]) -> Float[np.ndarray, "*b 3"]:
    """Unit vectors; inverse of `gaze_angles`."""
    yaw, pitch = np.moveaxis(angles, -1, 0)
    return np.stack([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), np.cos(yaw) * np.cos(pitch)], -1)


def measure(clip: MotionClip, rig: Rig) -> Geometry:
    """The geometry of a clip on its rig: of its surface, or, for a calibrated rig, of the one that it is ``like``.

    Raises:
        ValueError: the clip's channels are not this rig's.
    """
    return surface(clip, rig) if rig.like is None else surface(_like(clip, rig), rigs.load(rig.like))


def _like(clip: MotionClip, rig: Rig) -> MotionClip:
    """The same weights by name, and the same pose, on the rig that ``rig`` is like; identities stay behind."""
    assert rig.like is not None
    other = rigs.load(rig.like)
    if clip.values.shape[1] != len(rig.expressions) + face.POSE_CHANNELS:
        wanted, got = len(rig.expressions) + face.POSE_CHANNELS, clip.values.shape[1]
        raise ValueError(f"rig {rig.name}: expected {wanted} channels, got {got}.")
    weights = face.part(clip, "expression")
    parts = {name: face.part(clip, name) for name in face.POSE}
    parts["translation"] = parts["translation"] * (other.interocular / rig.interocular)
    parts["expression"] = np.zeros((clip.frames, len(other.expressions)), np.float32)
    for k, name in enumerate(rig.expressions):
        parts["expression"][:, other.expressions.index(name)] = weights[:, k]
    return face.assemble(parts, fps=clip.fps, rig=other.name)


def surface(clip: MotionClip, rig: Rig) -> Geometry:
    """What the rig's own landmarks do. Neutral is the clip's own identity with no expression.

    Raises:
        ValueError: the clip's channels are not this rig's.
    """
    values = torch.from_numpy(clip.values)
    shape = torch.from_numpy(clip.shape) if len(clip.shape) else None
    slices = face.layout(values.shape[1])
    still = values.clone()
    for name in ("neck", "head", "translation"):
        still[:, slices[name]] = 0
    neutral = places(torch.zeros(1, values.shape[1]), rig, shape)[0]
    moved = places(still, rig, shape)

    pupils = list(PUPILS)
    # An identity carries its eyeballs along: the centre keeps its place behind the neutral pupil.
    mean = neutral if shape is None else places(torch.zeros(1, values.shape[1]), rig)[0]
    centres = neutral[pupils] - (mean[pupils] - rig.eyes)
    gaze = gaze_angles(moved[:, pupils] - centres) - gaze_angles(neutral[pupils] - centres)

    root = rotations.axis_angle_to_matrix(values[:, slices["head"]])
    neck = rotations.axis_angle_to_matrix(values[:, slices["neck"]])
    head = root @ neck
    translation = values[:, slices["translation"]].numpy()
    if bool(values[:, slices["neck"]].any()):
        translation = translation + _neck_shift(values, head, rig, shape)
    return Geometry(
        (moved - neutral) / units(rig)[:, None], rotations.matrix_to_six(head).numpy(), gaze,
        translation / rig.interocular, clip.fps,
    )


@torch.no_grad()
def _neck_shift(
    values: Float[Tensor, "frames channels"], head: Float[Tensor, "frames 3 3"], rig: Rig, shape: Tensor | None
) -> Float[np.ndarray, "frames 3"]:
    """Metres the head moves because part of its turn was made at the neck, whose pivot lies higher than the root's."""
    slices = face.layout(values.shape[1])
    place = landmarks.NAMES.index("nose_bridge_0")  # skin that hangs on the skull alone
    split, whole = torch.zeros_like(values), torch.zeros_like(values)
    for name in ("neck", "head"):
        split[:, slices[name]] = values[:, slices[name]]
    whole[:, slices["head"]] = rotations.matrix_to_axis_angle(head)
    return (places(split, rig, shape) - places(whole, rig, shape))[:, place]


def features(geometry: Geometry) -> Float[np.ndarray, "frames features"]:
    """One row a frame, as `FEATURES` names it: displacements in inter-ocular distances, 6D, radians."""
    return np.concatenate([
        rearrange(geometry.displacement, "f l c -> f (l c)"),
        geometry.head,
        rearrange(geometry.gaze, "f e a -> f (e a)"),
    ], 1)


def from_features(rows: Float[np.ndarray, "frames features"], fps: float) -> Geometry:
    """Inverse of `features`; translation comes back as zero.

    Raises:
        ValueError: rows of another width than `WIDTH`.
    """
    rows = np.asarray(rows, np.float32)
    if rows.ndim != 2 or rows.shape[1] != WIDTH:
        raise ValueError(f"geometry features: expected (frames, {WIDTH}), got {rows.shape}.")
    return Geometry(
        rearrange(rows[:, FEATURES["displacement"]], "f (l c) -> f l c", c=3), rows[:, FEATURES["head"]],
        rearrange(rows[:, FEATURES["gaze"]], "f (e a) -> f e a", a=2), np.zeros((len(rows), 3), np.float32), fps,
    )

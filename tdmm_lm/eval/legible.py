"""Is a rendered head read as a face? MediaPipe looks at the mesh renderer's pictures, knowing nothing of the rig.

`detected` counts renders in which it finds a face; `read_back` drives each ARKit shape alone and counts those among its
three largest changes against the neutral picture.
"""

from pathlib import Path
from typing import Any

import numpy as np

from tdmm_lm import rigs
from tdmm_lm.motion import face
from tdmm_lm.render import mesh

YAWS = np.radians([-30, -20, -10, 0, 10, 20, 30])
SIZE = (512, 512)
# What a reader must see: a blink, an open jaw, a smile, the mouth to both sides, brows down and up.
REQUIRED = (
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "jawOpen",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthLeft",
    "mouthRight",
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
)


class Reader:
    """MediaPipe's landmarker on single pictures: an open resource, closed by `close`."""

    def __init__(self, model: Path) -> None:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision

        self._image = mediapipe.Image
        self._format = mediapipe.ImageFormat.SRGB
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=model.read_bytes()), output_face_blendshapes=True
        )
        self._landmarker = vision.FaceLandmarker.create_from_options(options)

    def scores(self, picture: np.ndarray) -> dict[str, float] | None:
        """ARKit-named scores 0..1 of an RGB picture, or None where no face is seen."""
        found = self._landmarker.detect(self._image(self._format, np.ascontiguousarray(picture)))
        if not found.face_blendshapes:
            return None
        return {str(shape.category_name): float(shape.score) for shape in found.face_blendshapes[0]}

    def close(self) -> None:
        self._landmarker.close()


def driven(rig: rigs.Rig) -> Any:
    """A clip whose first frame is neutral and whose others drive one of the rig's 52 shapes each, alone, at 1."""
    weights = np.concatenate([np.zeros((1, len(face.ARKIT))), np.eye(len(face.ARKIT))]).astype(np.float32)
    return face.assemble({"expression": weights}, fps=25, rig=rig.name)


def detected(rig: rigs.Rig, reader: Reader) -> list[bool]:
    """For every shape and the neutral face, at every yaw of `YAWS`: is a face found?"""
    clip = driven(rig)
    return [
        reader.scores(picture) is not None for yaw in YAWS for picture in mesh.frames(clip, rig, size=SIZE, yaw=yaw)
    ]


def read_back(rig: rigs.Rig, reader: Reader) -> dict[str, dict[str, Any]]:
    """For each ARKit shape: its score driven, its change against neutral, its rank among all changes, and whether that
    is among the three largest. A face that is not found reads nothing back."""
    pictures = mesh.frames(driven(rig), rig, size=SIZE)
    neutral = reader.scores(next(pictures))
    table: dict[str, dict[str, Any]] = {}
    for name, picture in zip(face.ARKIT, pictures, strict=True):
        scores = reader.scores(picture)
        if neutral is None or scores is None or name not in scores:
            table[name] = {"score": None, "change": None, "rank": None, "read": False}
            continue
        changes = {key: abs(scores[key] - neutral[key]) for key in scores if key != "_neutral"}
        rank = 1 + sum(value > changes[name] for value in changes.values())
        seen = scores[name] > neutral[name] and rank <= 3
        table[name] = {"score": scores[name], "change": scores[name] - neutral[name], "rank": rank, "read": seen}
    return table

"""What motion drives. The contract is `Rig`; every other file makes one kind of rig.

`load("head")` is the bundled head, `load("ict")` the scanned one, `load("path/to/folder")` one that was imported.
Bodies have no mesh, so `tdmm_lm.rigs.skeleton` is no `Rig`: it has its own `load()`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from tdmm_lm import config

BUNDLED = ("head", "ict")  # come with the package, or with $TDMM_DATA: what a file from outside may name


@dataclass(frozen=True)
class Embedding:
    """Places on a mesh: for each the three vertices of a triangle and their weights, which sum to one."""

    vertices: Int[np.ndarray, "places 3"]
    weights: Float[np.ndarray, "places 3"]

    def of(self, points: Float[Tensor, "*b vertices 3"]) -> Float[Tensor, "*b places 3"]:
        """The places on posed vertices (all of the mesh's)."""
        weights = points.new_tensor(self.weights)
        return (points[..., self.vertices, :] * weights[..., None]).sum(-2)


class Rig(ABC):
    """A head that face clips drive. Metres, Y up, facing Z+, the person's own left is +X.

    Attributes:
        name: what a clip's ``rig`` field says.
        expressions: a name for every expression channel; ARKit rigs use `tdmm_lm.motion.face.ARKIT`.
        authority: whether jaw and eyes are moved by "shapes" (ARKit) or by "joints" (FLAME).
        lower, upper: bounds of the expression weights, (expressions,).
        template: neutral vertices of the mean identity, (vertices, 3) float32.
        faces: triangles, counter-clockwise seen from outside, (faces, 3).
        uv: texture coordinates per vertex, (vertices, 2), or None.
        colours: RGB 0..1 per vertex, (vertices, 3).
        landmarks: where `tdmm_lm.landmarks.NAMES` lie, in that order.
        eyes: rest positions of the left and the right eyeball centre, (2, 3) metres.
        identities: how many identity coefficients ``shape`` may have (fewer are padded with zeros).
        like: a rig that this one is calibrated to: the same weight of the same name is the same expression there, so
            that clips are read and solved on that one's surface (`tdmm_lm.geometry`); None: on its own.
    """

    name: str
    expressions: tuple[str, ...]
    authority: Literal["shapes", "joints"]
    lower: Float[np.ndarray, " expressions"]
    upper: Float[np.ndarray, " expressions"]
    template: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    uv: Float[np.ndarray, "vertices 2"] | None
    colours: Float[np.ndarray, "vertices 3"]
    landmarks: Embedding
    eyes: Float[np.ndarray, "2 3"]
    identities: int
    like: str | None = None

    @property
    def interocular(self) -> float:
        """Distance between the eyeball centres of the mean identity, metres: the unit of rig-free geometry."""
        return float(np.linalg.norm(self.eyes[0] - self.eyes[1]))

    @abstractmethod
    def vertices(
        self,
        values: Float[Tensor, "frames channels"],
        shape: Float[Tensor, " identity"] | None = None,
        subset: Int[Tensor, " some"] | None = None,
    ) -> Float[Tensor, "frames some 3"]:
        """Posed vertices in metres for rows in the layout of `tdmm_lm.motion.face`.

        ``subset`` computes only those vertices (the landmarks' few hundred are much cheaper than all).
        Differentiable in ``values``. Identity is folded once a call, not once a frame.

        Raises:
            ValueError: rows without ``len(expressions) + 18`` channels, or ``shape`` with over ``identities`` numbers.
        """


def load(name: str) -> Rig:
    """A head by its file name in this folder (``head``, ``ict``), or by the path of an imported rig's folder.

    Raises:
        ValueError: no such rig (the known are listed), the folder holds none, or the name is the body's skeleton.
        FileNotFoundError: the rig's data is not on this machine; the message says how to get it.
    """
    if name == "skeleton":
        raise ValueError("rig: expected a head, got 'skeleton', which body clips drive; this step is for face clips.")
    if Path(name).is_dir():
        kind = "glb" if (Path(name) / "avatar.glb").is_file() else "flame"  # an avatar's own file lies beside it
        return config.find("rigs", kind).load(Path(name))
    return config.find("rigs", name).load()

"""Made-up heads: one in FLAME's format with joints, one that only its vertices describe; a clip that moves all."""

import numpy as np
import pytest
import torch

from tdmm_lm import landmarks, rotations
from tdmm_lm.flame_file import FlameArrays
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.rigs import Embedding, Rig
from tdmm_lm.rigs.flame import FlameRig

RINGS, SECTORS = 12, 20


def ball() -> tuple[np.ndarray, np.ndarray]:
    """A closed ball of 10 cm: points and triangles that look outwards."""
    up = np.linspace(0, np.pi, RINGS)[1:-1]
    around = np.linspace(0, 2 * np.pi, SECTORS, endpoint=False)
    wide, tall = np.sin(up)[:, None], np.cos(up)[:, None]
    ring = np.stack([wide * np.sin(around), tall + 0 * around, wide * np.cos(around)], -1)
    points = np.concatenate([ring.reshape(-1, 3), [[0, 1, 0], [0, -1, 0]]]) * 0.1
    top, bottom, rows = len(points) - 2, len(points) - 1, RINGS - 2
    faces = []
    for j in range(SECTORS):
        k = (j + 1) % SECTORS
        faces += [[top, j, k], [bottom, (rows - 1) * SECTORS + k, (rows - 1) * SECTORS + j]]
        for i in range(rows - 1):
            a, b, c, d = i * SECTORS + j, i * SECTORS + k, (i + 1) * SECTORS + j, (i + 1) * SECTORS + k
            faces += [[a, c, b], [b, c, d]]
    return points.astype(np.float32), np.array(faces)


def embedding() -> Embedding:
    count = len(landmarks.NAMES)
    return Embedding(np.zeros((count, 3), int), np.full((count, 3), 1 / 3, np.float32))


def make_head(authority: str = "shapes", *, correctives: bool = False) -> FlameRig:
    """A ball with five joints; shapes follow ARKit's names or are ten numbered ones."""
    rng = np.random.default_rng(3)
    points, faces = ball()
    points = np.concatenate([points, [[0.0, 0.3, 0.0]]]).astype(np.float32)  # a vertex that no triangle uses
    names = face.ARKIT if authority == "shapes" else tuple(f"expression_{i}" for i in range(10))
    shapes = rng.normal(0, 0.003, (len(points), 3, len(names))) * (rng.random((len(points), 1, len(names))) < 0.3)
    shapes[:, :, -1] = 0  # a shape that moves nothing, as a head without a tongue has
    weights = rng.random((len(points), 5)) ** 4
    weights[:, 4] *= weights[:, 0] > 0.5  # up to four joints hold a vertex
    weights[weights[:, 4] > 0, 3] = 0
    regressor = rng.random((5, len(points))) ** 8
    return FlameRig(
        FlameArrays(
            v_template=points,
            shapedirs_identity=rng.normal(0, 0.001, (len(points), 3, 4)),
            shapedirs_expression=shapes,
            posedirs=rng.normal(0, 0.001, (len(points), 3, 36)) * correctives,
            J_regressor=regressor / regressor.sum(1, keepdims=True),
            weights=weights / weights.sum(1, keepdims=True),
            parents=np.array([-1, 0, 1, 1, 1]),
            faces=faces,
        ),
        name="head" if authority == "shapes" else "flame",
        expressions=names,
        authority=authority,
        lower=np.zeros(len(names)),
        upper=np.ones(len(names)),
        uv=rng.random((len(points), 2)),
        colours=rng.random((len(points), 3)),
        landmarks=embedding(),
        eyes=np.array([[0.03, 0.03, 0.08], [-0.03, 0.03, 0.08]]),
    )


class _Plain(Rig):
    """A ball with three shapes that turns about a point; its joints are nobody's business."""

    PIVOT = np.array([0.01, -0.05, 0.02], np.float32)

    def __init__(self) -> None:
        self.name, self.expressions, self.authority = "plain", ("jawOpen", "mouthSmileLeft", "own"), "shapes"
        self.lower, self.upper = np.zeros(3), np.ones(3)
        self.template, self.faces = ball()
        self.uv, self.colours, self.identities = None, np.full(self.template.shape, 0.5, np.float32), 0
        self.landmarks, self.eyes = embedding(), np.zeros((2, 3))
        self.basis = np.random.default_rng(1).normal(0, 0.004, (3, *self.template.shape)).astype(np.float32)

    def vertices(self, values, shape=None, subset=None):
        parts = {name: values[:, where] for name, where in face.layout(values.shape[1]).items()}
        template, basis, pivot = (torch.from_numpy(x) for x in (self.template, self.basis, self.PIVOT))
        points = template + torch.einsum("fe,evc->fvc", parts["expression"], basis)
        points = (points - pivot) @ rotations.axis_angle_to_matrix(parts["head"]).mT + pivot
        points = points + parts["translation"][:, None]
        return points if subset is None else points[:, subset]


def make_moving(rig: Rig, *, joints: bool, frames: int = 30, fps: float = 25.0) -> MotionClip:
    """Every shape and turn in smooth motion; weights 0..1, turns well under a quarter."""
    t = np.arange(frames)[:, None] / fps
    rng = np.random.default_rng(5)

    def waves(width: int, size: float) -> np.ndarray:
        return size * np.sin(2 * np.pi * (rng.random(width) + 0.3) * t + rng.random(width) * 6)

    parts = {
        "expression": 0.5 + waves(len(rig.expressions), 0.5),
        "head": waves(3, 0.5),
        "translation": waves(3, 0.05),
    }
    if joints:
        parts |= {"jaw": waves(3, 0.2), "neck": waves(3, 0.2), "eyes": waves(6, 0.2)}
    return face.assemble(parts, fps=fps, rig=rig.name)


@pytest.fixture
def flame_head():
    """A maker of heads in FLAME's format."""
    return make_head


@pytest.fixture
def plain() -> Rig:
    return _Plain()


@pytest.fixture
def moving():
    """A maker of clips in which everything moves."""
    return make_moving


@pytest.fixture
def arkit_clip() -> MotionClip:
    return make_moving(make_head(), joints=False)

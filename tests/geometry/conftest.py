"""Two rigs made of noise: a linear one with ARKit's names, and one whose jaw and eyes turn about joints."""

import numpy as np
import pytest
import torch

from tdmm_lm import landmarks, rotations
from tdmm_lm.motion import face
from tdmm_lm.rigs import Embedding, Rig

COUNT = len(landmarks.NAMES)


class Noise(Rig):
    """A vertex for each landmark; smooth-ish random shapes; pupils move with the eyeLook shapes or the eye joints."""

    uv = None

    def __init__(self, authority: str, expressions: int = 52, identities: int = 3) -> None:
        rng = np.random.default_rng(7)
        self.name = f"noise_{authority}"
        self.authority = authority
        self.expressions = face.ARKIT if authority == "shapes" else tuple(f"e{i}" for i in range(expressions))
        size = len(self.expressions)
        self.lower = np.zeros(size, np.float32) if authority == "shapes" else np.full(size, -3, np.float32)
        self.upper = np.ones(size, np.float32) if authority == "shapes" else np.full(size, 3, np.float32)
        self.eyes = np.array([[0.031, 0.03, 0.03], [-0.031, 0.03, 0.03]], np.float32)
        self.template = rng.normal(0, 0.04, (COUNT, 3)).astype(np.float32)
        basis = rng.normal(0, 0.002, (size, COUNT, 3)) * (rng.random((size, COUNT, 1)) < 0.4)
        pupils = [landmarks.NAMES.index("pupil_left"), landmarks.NAMES.index("pupil_right")]
        basis[:, pupils] = 0
        self.template[pupils] = self.eyes + np.array([0, 0, 0.012])
        if authority == "shapes":
            for eye, side in enumerate(("Left", "Right")):
                outward = 1 if side == "Left" else -1
                for name, move in {"In": (-outward, 0), "Out": (outward, 0), "Up": (0, 1), "Down": (0, -1)}.items():
                    shape = face.ARKIT.index(f"eyeLook{name}{side}")
                    basis[shape] *= 0.1
                    basis[shape, pupils[eye], :2] = 0.006 * np.array(move)
        self.basis = torch.from_numpy(basis.astype(np.float32))
        self.identity = torch.from_numpy(rng.normal(0, 0.002, (identities, COUNT, 3)).astype(np.float32))
        self.identity[:, pupils] = self.identity[:, pupils].mean(1, keepdim=True)
        self.identities = identities
        self.faces = np.array([[0, 1, 2]])
        self.colours = np.full((COUNT, 3), 0.5, np.float32)
        index = np.arange(COUNT)[:, None].repeat(3, 1)
        self.landmarks = Embedding(index, np.full((COUNT, 3), 1 / 3, np.float32))
        self.jaw = torch.zeros(COUNT, 1)
        self.jaw[[i for i, n in enumerate(landmarks.NAMES) if ("lower" in n and "lip" in n) or "chin" in n]] = 1
        self.pupils = pupils

    def vertices(self, values, shape=None, subset=None):
        if values.shape[1] != len(self.expressions) + 18:
            raise ValueError(f"{self.name}: expected {len(self.expressions) + 18} channels, got {values.shape[1]}.")
        part = {name: values[:, where] for name, where in face.layout(values.shape[1]).items()}
        base = torch.from_numpy(self.template)
        if shape is not None:
            base = base + torch.einsum("i,ivc->vc", shape, self.identity[: len(shape)])
        points = base + torch.einsum("fe,evc->fvc", part["expression"], self.basis)
        pivot = torch.tensor([0.0, 0.0, -0.06])
        turned = (points - pivot) @ rotations.axis_angle_to_matrix(part["jaw"]).mT + pivot
        points = (1 - self.jaw) * points + self.jaw * turned
        for eye in range(2):
            centre = torch.from_numpy(self.eyes[eye])
            if shape is not None:
                centre = centre + torch.einsum("i,ic->c", shape, self.identity[: len(shape), self.pupils[eye]])
            turn = rotations.axis_angle_to_matrix(part["eyes"][:, 3 * eye : 3 * eye + 3])
            points = points.clone()
            points[:, self.pupils[eye]] = ((points[:, self.pupils[eye], None] - centre) @ turn.mT + centre)[:, 0]
        neck_pivot = torch.tensor([0.0, -0.1, -0.02])
        points = (points - neck_pivot) @ rotations.axis_angle_to_matrix(part["neck"]).mT + neck_pivot
        points = points @ rotations.axis_angle_to_matrix(part["head"]).mT + part["translation"][:, None]
        return points if subset is None else points[:, subset]


@pytest.fixture(scope="session")
def shapes_rig() -> Noise:
    return Noise("shapes")


@pytest.fixture(scope="session")
def joints_rig() -> Noise:
    return Noise("joints", expressions=20)

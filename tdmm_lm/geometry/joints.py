"""Geometry to expression, jaw and eyes on rigs whose joints are authoritative (FLAME): damped Gauss-Newton.

Every frame is solved by itself, from the same start and with a fixed number of steps, so chunks and wholes agree and
nothing looks ahead. The eyes follow the gaze in closed form. Jacobians are taken once a rig at a few jaw angles; a step
uses those of the nearest.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdmm_lm import rotations
from tdmm_lm.geometry import measure, pivoting, solve
from tdmm_lm.geometry.measure import Geometry
from tdmm_lm.motion import face
from tdmm_lm.rigs import Rig

ANGLES = (0.0, 0.12, 0.24, 0.36, 0.48)  # radians the jaw is open where Jacobians are taken
JAW = ((-0.2, 0.7), (-0.35, 0.35), (-0.2, 0.2))  # radians: opening, sideways, twist
DEVIATION = 1.0  # of an expression coefficient: FLAME's are in standard deviations of its scans
TURN = 0.3  # radians: the like for the jaw
ITERATIONS = 6
_STEP = 1e-3  # of the finite differences; the landmarks are linear in expression and smooth in the jaw
_CHUNK = 1024


class Solver:
    """``Solver(rig)(geometry)`` gives expression, jaw and eyes, one row a frame."""

    def __init__(self, rig: Rig, iterations: int = ITERATIONS) -> None:
        self.rig, self.iterations = rig, iterations
        self.size = len(rig.expressions)
        self.slices = face.layout(self.size + face.POSE_CHANNELS)
        self.rest = measure.places(torch.zeros(1, self.size + face.POSE_CHANNELS), rig)[0]
        self.units = measure.units(rig)[:, None]
        weights = solve.landmark_weights()
        weights[list(measure.PUPILS)] = 0  # the eyes are solved apart
        self.scale = np.repeat(np.sqrt(weights) / solve.NOISE, 3)
        prior = np.concatenate([np.full(self.size, 1 / DEVIATION**2), np.full(3, 1 / TURN**2)])
        limits = np.array(JAW)
        self.prior = torch.from_numpy(prior)
        self.lower = torch.from_numpy(np.concatenate([rig.lower, limits[:, 0]]))
        self.upper = torch.from_numpy(np.concatenate([rig.upper, limits[:, 1]]))
        self.jacobians = torch.stack([self._jacobian(angle) for angle in ANGLES])
        hessians = self.jacobians.mT @ self.jacobians + torch.diag(self.prior)
        self.hessians, self.inverses = hessians, torch.linalg.inv(hessians)

    def __call__(self, geometry: Geometry) -> dict[str, np.ndarray]:
        neutral = measure.gaze_angles(self.rest[list(measure.PUPILS)] - self.rig.eyes)
        eyes = eye_turns(geometry.gaze, neutral)
        target = torch.from_numpy(geometry.displacement.reshape(geometry.frames, -1) * self.scale)
        unknowns = torch.cat([self._solve(part) for part in target.split(_CHUNK)]).numpy()
        return {"expression": unknowns[:, : self.size], "jaw": unknowns[:, self.size :], "eyes": eyes}

    def _jacobian(self, angle: float) -> Float[Tensor, "coordinates unknowns"]:
        centre = torch.zeros(self.size + 3)
        centre[self.size] = angle
        rows = centre + _STEP * torch.cat([torch.eye(self.size + 3), -torch.eye(self.size + 3)])
        ahead, behind = self._moved(rows).split(self.size + 3)
        return ((ahead - behind) / (2 * _STEP)).T.contiguous()

    def _moved(self, unknowns: Float[Tensor, "frames unknowns"]) -> Float[Tensor, "frames coordinates"]:
        """Weighted displacements, in units of what a landmark may be off by."""
        rows = torch.zeros(len(unknowns), self.size + face.POSE_CHANNELS)
        rows[:, self.slices["expression"]] = unknowns[:, : self.size].float()
        rows[:, self.slices["jaw"]] = unknowns[:, self.size :].float()
        moved = (measure.places(rows, self.rig) - self.rest) / self.units
        return torch.from_numpy(moved.reshape(len(rows), -1) * self.scale)

    def _solve(self, target: Float[Tensor, "frames coordinates"]) -> Float[Tensor, "frames unknowns"]:
        now = torch.zeros(len(target), self.size + 3, dtype=torch.float64)
        for _ in range(self.iterations):
            gap = target - self._moved(now)
            near = (now[:, self.size, None] - torch.tensor(ANGLES)).abs().argmin(1)
            step = torch.zeros_like(now)
            for angle in near.unique().tolist():
                rows = near == angle
                pull = gap[rows] @ self.jacobians[angle] - self.prior * now[rows]
                step[rows] = self._bounded(pull, now[rows], angle)
            now = now + step
        return now

    def _bounded(
        self, pull: Float[Tensor, "frames unknowns"], now: Float[Tensor, "frames unknowns"], angle: int
    ) -> Float[Tensor, "frames unknowns"]:
        """The step to the bounded minimum of the local quadratic; closed form for frames where it stays inside."""
        step = pull @ self.inverses[angle]
        after = now + step
        outside = ((after < self.lower) | (after > self.upper)).any(1)
        hessian, lower, upper = (a.numpy() for a in (self.hessians[angle], self.lower, self.upper))
        for row in outside.nonzero()[:, 0].tolist():
            here = now[row].numpy()
            goal = pivoting.bounded(hessian, pull[row].numpy() + hessian @ here, lower, upper, after[row].numpy())
            step[row] = torch.from_numpy(goal - here)
        return step


def eye_turns(
    gaze: Float[np.ndarray, "frames 2 2"], neutral: Float[np.ndarray, "2 2"]
) -> Float[np.ndarray, "frames 6"]:
    """Axis-angle of the left and the right eye joint that turns the neutral gaze to ``gaze`` (relative to it)."""

    def turn(angles: np.ndarray) -> Tensor:
        return rotations.euler_yxz_to_matrix(torch.from_numpy(np.concatenate([angles, 0 * angles[..., :1]], -1)))

    turns = turn(gaze.astype(np.float64) + neutral) @ turn(neutral.astype(np.float64)).mT
    return rotations.matrix_to_axis_angle(turns).flatten(1).numpy().astype(np.float32)

"""Rotations as pure functions of tensors: axis-angle, 6D, quaternion and matrix.

Radians. Right-handed. Quaternions have the real part first. Matrices act on column vectors.
6D is the first two **columns** of the matrix (Zhou et al. 2019), column 0 first.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def axis_angle_to_matrix(axis_angle: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Rodrigues' formula, exact and differentiable at zero."""
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    square = (axis_angle * axis_angle).sum(-1)[..., None, None]
    small = square < 1e-8
    safe = torch.where(small, torch.ones_like(square), square)
    angle = safe.sqrt()
    first = torch.where(small, 1 - square / 6, angle.sin() / angle)
    second = torch.where(small, 0.5 - square / 24, (1 - angle.cos()) / safe)
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + first * cross + second * (cross @ cross)


def matrix_to_quaternion(matrix: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """Unit quaternion, real part first and not negative."""
    xx, xy, xz, yx, yy, yz, zx, zy, zz = matrix.flatten(-2).unbind(-1)
    # Four candidates, each well conditioned where its own leading term is the largest.
    squares = torch.stack([1 + (xx + yy + zz), 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], -1)
    a, b, c = zy - yz, xz - zx, yx - xy
    d, e, f = yx + xy, xz + zx, zy + yz
    first, second, third, fourth = squares.unbind(-1)
    rows = [first, a, b, c, a, second, d, e, b, d, third, f, c, e, f, fourth]
    candidates = torch.stack(rows, -1).unflatten(-1, (4, 4))
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternion = torch.nn.functional.normalize(candidates.gather(-2, best).squeeze(-2), dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def quaternion_to_axis_angle(quaternion: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3"]:
    """The shorter way round: angles of at most pi."""
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    norm = imaginary.norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(norm, real)
    small = norm < 1e-6
    return imaginary * torch.where(
        small, 2 / real.clamp_min(1e-6), angle / torch.where(small, torch.ones_like(norm), norm)
    )


def axis_angle_to_quaternion(axis_angle: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 4"]:
    """Real part first."""
    angle = axis_angle.norm(dim=-1, keepdim=True)
    small = angle < 1e-6
    factor = torch.where(
        small, 0.5 - angle**2 / 48, (angle / 2).sin() / torch.where(small, torch.ones_like(angle), angle)
    )
    return torch.cat([(angle / 2).cos(), axis_angle * factor], -1)


def quaternion_to_matrix(quaternion: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """Any non-zero quaternion, normalised first."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    return torch.stack(
        [
            1 - 2 * (y * y + z * z),
            2 * (x * y - w * z),
            2 * (x * z + w * y),
            2 * (x * y + w * z),
            1 - 2 * (x * x + z * z),
            2 * (y * z - w * x),
            2 * (x * z - w * y),
            2 * (y * z + w * x),
            1 - 2 * (x * x + y * y),
        ],
        -1,
    ).unflatten(-1, (3, 3))


def matrix_to_axis_angle(matrix: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def matrix_to_six(matrix: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 6"]:
    """Column 0, then column 1."""
    return torch.cat([matrix[..., :, 0], matrix[..., :, 1]], -1)


def six_to_matrix(six: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 3 3"]:
    """Gram-Schmidt on the two columns; any two independent vectors are accepted."""
    first = torch.nn.functional.normalize(six[..., :3], dim=-1)
    second = six[..., 3:] - (first * six[..., 3:]).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def euler_yxz_to_matrix(euler: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """(yaw about Y, pitch about X, roll about Z), applied as Ry @ Rx @ Rz.

    Y up, facing Z+: positive yaw turns to one's own left, positive pitch looks down,
    positive roll tilts towards one's own right shoulder.
    """
    yaw, pitch, roll = euler.unbind(-1)
    zero = torch.zeros_like(yaw)
    about_y = axis_angle_to_matrix(torch.stack([zero, yaw, zero], -1))
    about_x = axis_angle_to_matrix(torch.stack([pitch, zero, zero], -1))
    about_z = axis_angle_to_matrix(torch.stack([zero, zero, roll], -1))
    return about_y @ about_x @ about_z


def matrix_to_euler_yxz(matrix: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """Inverse of `euler_yxz_to_matrix` for |pitch| < pi/2: (yaw, pitch, roll)."""
    pitch = torch.asin((-matrix[..., 1, 2]).clamp(-1, 1))
    yaw = torch.atan2(matrix[..., 0, 2], matrix[..., 2, 2])
    roll = torch.atan2(matrix[..., 1, 0], matrix[..., 1, 1])
    return torch.stack([yaw, pitch, roll], -1)


def slerp(
    start: Float[Tensor, "*b 4"], end: Float[Tensor, "*b 4"], share: Float[Tensor, "*b 1"]
) -> Float[Tensor, "*b 4"]:
    """Along the shorter arc; ``share`` runs from 0 (start) to 1 (end)."""
    dot = (start * end).sum(-1, keepdim=True)
    end = torch.where(dot < 0, -end, end)
    angle = dot.abs().clamp(max=1).acos()
    near = angle < 1e-4
    sine = torch.where(near, torch.ones_like(angle), angle.sin())
    first = torch.where(near, 1 - share, ((1 - share) * angle).sin() / sine)
    second = torch.where(near, share, (share * angle).sin() / sine)
    return torch.nn.functional.normalize(first * start + second * end, dim=-1)


def between(start: Float[Tensor, "*b 3"], end: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 4"]:
    """The shortest turn from one direction to another, as a quaternion; opposite ones by half a turn about some axis.

    Vectors of any length but zero.
    """
    start, end = torch.nn.functional.normalize(start, dim=-1), torch.nn.functional.normalize(end, dim=-1)
    start, end = torch.broadcast_tensors(start, end)
    real = 1 + (start * end).sum(-1, keepdim=True)
    axis = torch.linalg.cross(start, end)
    smallest = torch.nn.functional.one_hot(start.abs().argmin(-1), 3).to(start.dtype)
    axis = torch.where(real < 1e-6, torch.linalg.cross(start, smallest), axis)
    return torch.nn.functional.normalize(torch.cat([torch.where(real < 1e-6, 0, real), axis], -1), dim=-1)

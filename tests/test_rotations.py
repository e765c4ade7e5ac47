"""Each representation and its way back; conventions by example."""

import math

import torch

from tdmm_lm import rotations as r


def some(n=500, most=3.1):
    generator = torch.Generator().manual_seed(0)
    axis = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator, dtype=torch.float64), dim=-1)
    return axis * torch.rand(n, 1, generator=generator, dtype=torch.float64) * most


def test_axis_angle_matrix_quaternion_and_six_agree():
    turns = some()
    matrix = r.axis_angle_to_matrix(turns)
    assert torch.allclose(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64).expand_as(matrix), atol=1e-12)
    assert torch.allclose(r.matrix_to_axis_angle(matrix), turns, atol=1e-7)
    assert torch.allclose(r.quaternion_to_matrix(r.axis_angle_to_quaternion(turns)), matrix, atol=1e-12)
    assert torch.allclose(r.six_to_matrix(r.matrix_to_six(matrix)), matrix, atol=1e-12)
    assert torch.allclose(r.matrix_to_six(matrix)[..., :3], matrix[..., :, 0])


def test_small_turns_are_exact_and_differentiable():
    zero = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    r.axis_angle_to_matrix(zero)[0, 2, 1].backward()
    assert torch.allclose(zero.grad, torch.tensor([[1.0, 0, 0]], dtype=torch.float64))
    tiny = some(most=1e-5)
    assert torch.allclose(r.matrix_to_axis_angle(r.axis_angle_to_matrix(tiny)), tiny, atol=1e-12)


def test_euler_conventions_are_the_stated_ones():
    forward, up = torch.tensor([0.0, 0, 1]), torch.tensor([0.0, 1, 0])
    left = r.euler_yxz_to_matrix(torch.tensor([0.5, 0, 0])) @ forward
    assert left[0] > 0  # the person's left is +X
    down = r.euler_yxz_to_matrix(torch.tensor([0.0, 0.5, 0])) @ forward
    assert down[1] < 0
    tilted = r.euler_yxz_to_matrix(torch.tensor([0.0, 0, 0.5])) @ up
    assert tilted[0] < 0  # the top of the head goes to the person's right
    angles = (torch.rand(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 0.5) * 2.4
    assert torch.allclose(r.matrix_to_euler_yxz(r.euler_yxz_to_matrix(angles)), angles, atol=1e-9)


def test_slerp_runs_evenly_from_end_to_end():
    start, end = (r.axis_angle_to_quaternion(torch.tensor([[0.0, a, 0.0]], dtype=torch.float64)) for a in (0.1, 1.3))
    for share in (0.0, 0.25, 1.0):
        middle = r.quaternion_to_axis_angle(r.slerp(start, -end, torch.tensor([[share]], dtype=torch.float64)))
        assert math.isclose(middle[0, 1], 0.1 + 1.2 * share, abs_tol=1e-9)


def test_between_is_the_shortest_turn():
    start, end = some(), some().flip(0)
    turn = r.quaternion_to_matrix(r.between(start, end))
    turned = torch.nn.functional.normalize((turn @ start[..., None])[..., 0], dim=-1)
    assert torch.allclose(turned, torch.nn.functional.normalize(end, dim=-1), atol=1e-9)
    angle = torch.nn.functional.cosine_similarity(start, end).clamp(-1, 1).acos()
    assert torch.allclose(r.matrix_to_axis_angle(turn).norm(dim=-1), angle, atol=1e-6)
    opposite = r.quaternion_to_matrix(r.between(start, -start))
    assert torch.allclose((opposite @ start[..., None])[..., 0], -start, atol=1e-9)

"""FLAME-format heads against a plain implementation of the formula, flame-pytorch and smplx."""

import itertools

import numpy as np
import pytest
import torch

from tdmm_lm.flame_file import FlameArrays
from tdmm_lm.landmarks import NAMES
from tdmm_lm.motion import face
from tdmm_lm.rigs import Embedding
from tdmm_lm.rigs.flame import FlameRig


def arrays(
    *, vertices: int = 120, identities: int = 7, expressions: int = 5, dense: bool = False, seed: int = 0
) -> FlameArrays:
    """A made-up head whose vertices hang on one, two or (dense) all joints."""
    g = np.random.default_rng(seed)
    weights = g.random((vertices, 5))
    if not dense:
        weights[:60] *= [0, 1, 0, 0, 0]
        weights[60:80] *= [1, 1, 0, 0, 0]
        weights[80:100] *= [0, 1, 1, 0, 0]
        weights[100:110] *= [0, 0, 0, 1, 0]
        weights[110:] *= [0, 0, 0, 0, 1]
        weights = weights[g.permutation(vertices)]
    regressor = g.random((5, vertices)) ** 8
    return FlameArrays(
        v_template=g.normal(size=(vertices, 3)) * 0.1,
        shapedirs_identity=g.normal(size=(vertices, 3, identities)) * 0.01,
        shapedirs_expression=g.normal(size=(vertices, 3, expressions)) * 0.01,
        posedirs=g.normal(size=(vertices, 3, 36)) * 0.01,
        J_regressor=regressor / regressor.sum(1, keepdims=True),
        weights=weights / weights.sum(1, keepdims=True),
        parents=np.array([-1, 0, 1, 1, 1]),
        faces=g.integers(0, vertices, (50, 3)),
    )


def rig_of(model: FlameArrays) -> FlameRig:
    count, width = len(model.v_template), model.shapedirs_expression.shape[2]
    places = Embedding(np.zeros((len(NAMES), 3), np.int64), np.full((len(NAMES), 3), 1 / 3, np.float32))
    return FlameRig(
        model, name="made_up", expressions=[f"exp_{i:03d}" for i in range(width)], authority="joints",
        lower=-3 * np.ones(width), upper=3 * np.ones(width), uv=None, colours=np.ones((count, 3)), landmarks=places,
        eyes=np.array([[0.03, 0, 0.05], [-0.03, 0, 0.05]]),
    )


def clip_values(frames: int, width: int, *, turned: tuple[str, ...] = tuple(face.POSE), seed: int = 1) -> torch.Tensor:
    values = torch.zeros(frames, width + face.POSE_CHANNELS)
    noise = torch.randn(values.shape, generator=torch.Generator().manual_seed(seed)) * 0.4
    for name in ("expression", *turned):
        where = face.layout(values.shape[1])[name]
        values[:, where] = noise[:, where]
    return values


def plain(model: FlameArrays, values: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """The formula of Li et al. 2017 in loops and float64, one frame."""
    def matrix(turn: np.ndarray) -> np.ndarray:
        angle = np.linalg.norm(turn)
        x, y, z = turn / angle if angle else turn
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross

    parts = {name: values[where] for name, where in face.layout(len(values)).items()}
    neutral = model.v_template + model.shapedirs_identity[..., : len(shape)] @ shape
    neutral = neutral + model.shapedirs_expression @ parts["expression"]
    joints = model.J_regressor @ neutral
    turns = [matrix(t) for t in (parts["head"], parts["neck"], parts["jaw"], parts["eyes"][:3], parts["eyes"][3:])]
    features = np.concatenate([(turn - np.eye(3)).reshape(-1) for turn in turns[1:]])
    points = neutral + model.posedirs @ features
    worlds = []
    for joint, parent in enumerate(model.parents):
        local = np.eye(4)
        local[:3, :3] = turns[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if joint else 0)
        worlds.append(worlds[parent] @ local if joint else local)
    result = np.zeros_like(points)
    for joint, world in enumerate(worlds):
        moved = (points - joints[joint]) @ world[:3, :3].T + world[:3, 3]
        result += model.weights[:, joint, None] * moved
    return result + parts["translation"]


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(
    "turned", [(), ("head",), ("neck",), ("jaw",), ("eyes", "translation"), ("jaw", "head"), tuple(face.POSE)]
)
def test_vertices_follow_the_formula(dense: bool, turned: tuple[str, ...]) -> None:
    model = arrays(dense=dense)
    values, shape = clip_values(9, 5, turned=turned), np.linspace(-1, 1, 4)
    got = rig_of(model).vertices(values, torch.from_numpy(shape).float())
    assert got.dtype == torch.float32
    wanted = np.stack([plain(model, row, shape) for row in values.double().numpy()])
    assert np.abs(got.numpy() - wanted).max() < 2e-6


def test_every_set_of_turning_joints_agrees_with_the_gradient_path() -> None:
    rig = rig_of(arrays(seed=3))
    for turned in itertools.chain.from_iterable(itertools.combinations(face.POSE, n) for n in range(6)):
        values = clip_values(2, 5, turned=turned)
        whole = rig.vertices(values.clone().requires_grad_()).detach()  # skips nothing
        assert torch.allclose(rig.vertices(values), whole, atol=1e-6), turned


def test_long_clips_are_posed_in_chunks_without_seams() -> None:
    rig = rig_of(arrays(vertices=3000))
    values = clip_values(70, 5)
    together = rig.vertices(values)
    assert torch.allclose(together[[0, 29, 30, 69]], rig.vertices(values[[0, 29, 30, 69]]), atol=1e-6)


def test_a_subset_is_those_vertices_in_that_order() -> None:
    rig = rig_of(arrays())
    values, subset = clip_values(4, 5), torch.tensor([7, 3, 119, 3, 61])
    whole = rig.vertices(values)
    assert torch.allclose(rig.vertices(values, subset=subset), whole[:, subset], atol=1e-6)
    assert torch.allclose(rig.vertices(values), whole, atol=0)  # what was kept from the call before is not reused


def test_identities_are_not_mixed_up_and_may_be_short() -> None:
    rig = rig_of(arrays())
    values = clip_values(2, 5)
    one, two = torch.tensor([1.0, -1.0]), torch.tensor([1.0, -1.0, 0.5])
    first = rig.vertices(values, one)
    assert (rig.vertices(values, two) - first).abs().max() > 1e-3
    assert torch.equal(rig.vertices(values, one), first)
    assert torch.allclose(rig.vertices(values, torch.tensor([1.0, -1, 0, 0, 0, 0, 0])), first, atol=1e-6)
    one[0] = 2.0  # changed in place by the caller
    assert (rig.vertices(values, one) - first).abs().max() > 1e-3


def test_flame_clips_may_have_fewer_expression_weights() -> None:
    rig, values = rig_of(arrays()), clip_values(3, 5)
    values[:, 2:5] = 0
    assert torch.allclose(rig.vertices(torch.cat([values[:, :2], values[:, 5:]], 1)), rig.vertices(values), atol=1e-6)


def test_gradients_are_right_also_at_rest() -> None:
    rig = rig_of(arrays(vertices=12, dense=True))
    for values in (torch.zeros(2, 23, dtype=torch.float64), clip_values(2, 5).double()):
        assert torch.autograd.gradcheck(lambda v: rig.vertices(v), values.requires_grad_(), atol=1e-5)


def test_wrong_sizes_are_named() -> None:
    rig = rig_of(arrays())
    for wrong in (24, 18):
        with pytest.raises(ValueError, match=rf"rig made_up: .* \(frames, 5 \+ 18\), got \(4, {wrong}\)"):
            rig.vertices(torch.zeros(4, wrong))
    rig.authority = "shapes"
    with pytest.raises(ValueError, match=r"expected values of shape \(frames, 5 \+ 18\), got \(4, 22\)"):
        rig.vertices(torch.zeros(4, 22))
    rig.authority = "joints"
    with pytest.raises(ValueError, match="at most 7 identity numbers, got 8"):
        rig.vertices(torch.zeros(4, 23), torch.zeros(8))
    model = arrays()
    with pytest.raises(ValueError, match=r"expected colours of shape \(120, 3\), got \(3, 3\)"):
        FlameRig(model, name="x", expressions=rig.expressions, authority="joints", lower=rig.lower, upper=rig.upper,
                 uv=None, colours=np.ones((3, 3)), landmarks=rig.landmarks, eyes=rig.eyes)


@pytest.mark.parametrize(("name", "value", "said"), [
    ("weights", np.ones((120, 5)), "rows that sum to one, got a row off by 4"),
    ("posedirs", np.zeros((120, 3, 9)), r"flame.posedirs: expected shape \(120, 3, 36\), got \(120, 3, 9\)"),
    ("faces", np.array([[0, 1, 120]]), r"expected vertex numbers 0..119, got 0..120"),
    ("parents", np.array([-1, 2, 1, 1, 1]), "each parent before its children"),
    ("v_template", np.full((120, 3), np.nan), "flame.v_template: expected finite numbers"),
])
def test_arrays_that_are_no_head_are_refused(name: str, value: np.ndarray, said: str) -> None:
    good = {field: getattr(arrays(), field) for field in FlameArrays.__dataclass_fields__}
    with pytest.raises(ValueError, match=said):
        FlameArrays(**{**good, name: value})

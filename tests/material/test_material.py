"""Every kind of rows of the folder: its names, errors of nothing, losses that agree with errors, pictures."""

import numpy as np
import pytest
import torch

from tdmm_lm import bundle, config, material

NAMES = (
    "Data", "MODALITY", "GROUPS", "LOSSES", "UNITS", "MAIN", "examples", "fitting", "elsewhere", "metrics", "losses",
    "errors", "key", "drawn", "closing", "licences",
)
FEW = {
    "face": {"shares": {"performances": 0.5, "posed": 0.5}, "performances": 3, "posed": 3, "rigs": {"head": 1.0}},
    "coefficients": {"shares": {"performances": 1.0}, "performances": 3},
    "body": {"warps": [1.0], "bent": 1, "exchanged": 1},
}


@pytest.fixture(params=config.known("material"))
def known(request: pytest.FixtureRequest):
    if request.param == "body" and bundle.data() is None:
        pytest.skip("needs cmu_mocap/ of the real data: set $TDMM_DATA to their folder")
    module = config.find("material", request.param)
    return module, config.check(module.Data, FEW[request.param], "test")


def rows_of(known) -> torch.Tensor:
    module, data = known
    return next(iter(module.examples(data, "dev", 1).values())).__next__()


def test_names(known) -> None:
    assert all(name in vars(known[0]) for name in NAMES)


def test_rows(known) -> None:
    module, data = known
    rows = rows_of(known)
    assert rows.shape[1] == sum(module.GROUPS.values())
    assert torch.isfinite(rows).all()
    again = rows_of(known)
    assert torch.equal(rows, again)
    for other in module.elsewhere(data, rows):
        assert other.shape == rows.shape


def test_errors_of_nothing_and_of_something(known) -> None:
    module, _ = known
    rows = rows_of(known)
    none = module.errors(rows, rows)
    assert set(none) == set(module.UNITS)
    assert module.MAIN in none
    for value in none.values():
        assert value.shape == (len(rows),)
        assert float(value.max()) < 0.06  # degrees: an arc cosine near one
    some = module.errors(rows, rows + 0.02 * torch.randn_like(rows))
    assert float(some[module.MAIN].mean()) > 0.05


def test_losses_are_zero_at_zero_and_can_be_learnt(known) -> None:
    module, _ = known
    error = torch.zeros(2, 5, sum(module.GROUPS.values()), requires_grad=True)
    found = module.losses(error)
    assert set(found) == set(module.LOSSES)
    assert all(float(value.detach()) < 0.15 for value in found.values())
    larger = module.losses(torch.full_like(error, 0.05))
    assert all(float(larger[name]) > float(found[name].detach()) for name in found)
    if found:
        torch.stack(list(found.values())).sum().backward()
        assert torch.isfinite(error.grad).all()


def test_metrics_have_an_inverse(known) -> None:
    module, data = known
    for name, matrix in module.metrics(data).items():
        assert matrix.shape[1] == module.GROUPS[name]
        assert torch.linalg.matrix_rank(matrix.double()) == module.GROUPS[name]


def test_drawing(known) -> None:
    module, _ = known
    points, lines = module.drawn(rows_of(known)[:3])
    assert points.shape[0] == 3
    assert points.shape[2] == 2
    assert np.isfinite(points).all()
    assert lines.shape[1] == 2
    assert 0 <= lines.min() <= lines.max() < points.shape[1]


def test_shares() -> None:
    with pytest.raises(ValueError, match="expected at least one of a, b or a folder, got none"):
        material.check_shares({}, ("a", "b"))

"""Owners' files in, files for other libraries out, imported folders, and parity with smplx and flame-pytorch."""

import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from safetensors.numpy import load_file, save_file

from tdmm_lm import flame_file, rigs
from tdmm_lm.flame_file import FlameArrays
from tdmm_lm.landmarks import NAMES
from tdmm_lm.motion import face
from tdmm_lm.rigs import Embedding, flame

PLACES = Embedding(np.zeros((len(NAMES), 3), np.int64), np.full((len(NAMES), 3), 1 / 3, np.float32))


def head(*, identities: int = 6, expressions: int = 5, vertices: int = 90, seed: int = 0) -> FlameArrays:
    g = np.random.default_rng(seed)
    weights, regressor = g.random((vertices, 5)), g.random((5, vertices))
    return FlameArrays(
        v_template=g.normal(size=(vertices, 3)) * 0.1,
        shapedirs_identity=g.normal(size=(vertices, 3, identities)) * 0.01,
        shapedirs_expression=g.normal(size=(vertices, 3, expressions)) * 0.01,
        posedirs=g.normal(size=(vertices, 3, 36)) * 0.01,
        J_regressor=regressor / regressor.sum(1, keepdims=True),
        weights=weights / weights.sum(1, keepdims=True),
        parents=np.array([-1, 0, 1, 1, 1]),
        faces=g.integers(0, vertices, (60, 3)),
    )


def owners(arrays: FlameArrays) -> dict[str, object]:
    """The head as FLAME's owners store it: a sparse regressor, unsigned tree, no padding rules."""
    pad = np.zeros((len(arrays.v_template), 3, 300))
    pad[:, :, : arrays.shapedirs_identity.shape[2]] = arrays.shapedirs_identity
    return {
        "v_template": arrays.v_template.astype(np.float64),
        "shapedirs": np.concatenate([pad, arrays.shapedirs_expression], 2),
        "posedirs": arrays.posedirs.astype(np.float64), "weights": arrays.weights.astype(np.float64),
        "J_regressor": scipy.sparse.csc_matrix(arrays.J_regressor), "f": arrays.faces.astype(np.uint32),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32), "bs_style": "lbs",
    }


def same(one: FlameArrays, two: FlameArrays) -> None:
    for name in FlameArrays.__dataclass_fields__:
        assert np.array_equal(getattr(one, name), getattr(two, name)), name


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_an_owners_pickle_is_read(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "generic_model.pkl").write_bytes(pickle.dumps(owners(head()), protocol=protocol))
    same(flame_file.read_owner(tmp_path / "generic_model.pkl"), head())


def test_an_owners_pickle_with_chumpy_is_read_without_chumpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("chumpy.ch")
    module.Ch = type("Ch", (), {"__module__": "chumpy.ch"})  # type: ignore[attr-defined]
    with monkeypatch.context() as during:
        during.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
        during.setitem(sys.modules, "chumpy.ch", module)
        held = owners(head())
        for name in ("v_template", "shapedirs", "weights"):
            wrapped = module.Ch()
            wrapped.__dict__ = {"x": held[name]}
            held[name] = wrapped
        (tmp_path / "m.pkl").write_bytes(pickle.dumps(held, protocol=2))
    assert "chumpy" not in sys.modules
    same(flame_file.read_owner(tmp_path / "m.pkl"), head())


def test_an_owners_npz_is_read(tmp_path: Path) -> None:
    held = owners(head())
    held["J_regressor"] = np.array(held["J_regressor"], dtype=object)
    np.savez(tmp_path / "m.npz", **held)
    same(flame_file.read_owner(tmp_path / "m.npz"), head())


def test_what_we_write_we_read(tmp_path: Path) -> None:
    flame_file.write_pickle(head(), tmp_path / "m.pkl")
    same(flame_file.read_owner(tmp_path / "m.pkl"), head())
    with pytest.raises(ValueError, match="room for 100 expression shapes, got 101"):
        flame_file.write_pickle(head(expressions=101), tmp_path / "n.pkl")
    assert not (tmp_path / "n.pkl").exists()


@pytest.mark.parametrize(("change", "said"), [
    ({"weights": None}, "weights not found"),
    ({"shapedirs": np.zeros((90, 3, 10))}, r"300 identity \+ up to 100 expression columns\), got \(90, 3, 10\)"),
    ({"kintree_table": np.zeros((2, 24))}, r"a head's five joints, \(2, 5\), got \(2, 24\)"),
    ({"f": np.array([[0, 1, 90]])}, r"m.pkl: flame.faces: expected vertex numbers 0..89, got 0..90"),
    ({"weights": "none"}, "arrays of numbers, got something else for weights"),
    ({"v_template": np.full((90, 3), np.nan)}, "flame.v_template: expected finite numbers"),
])
def test_other_models_are_named(tmp_path: Path, change: dict[str, object], said: str) -> None:
    held = {name: value for name, value in {**owners(head()), **change}.items() if value is not None}
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(held, protocol=2))
    with pytest.raises(ValueError, match=said):
        flame_file.read_owner(tmp_path / "m.pkl")


class Bomb:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> object:
        return os.system, (self.command,)


def test_a_malicious_model_leaves_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "was_run"
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps({**owners(head()), "extra": [Bomb(f"touch {mark}")]}, protocol=2))
    with pytest.raises(ValueError, match=r"refused: it names \w+\.system, which no .*; nothing was run"):
        flame.import_flame(path, tmp_path / "rig", landmarks=PLACES)
    assert [p.name for p in tmp_path.iterdir()] == ["m.pkl"]


def test_an_imported_head_is_a_rig(tmp_path: Path) -> None:
    flame_file.write_pickle(head(expressions=100), tmp_path / "m.pkl")
    arrays = flame.import_flame(tmp_path / "m.pkl", tmp_path / "rig", landmarks=PLACES)
    rig = rigs.load(str(tmp_path / "rig"))
    assert (rig.name, rig.authority, rig.identities) == ("flame", "joints", 6)
    assert (rig.expressions[0], rig.expressions[99]) == ("exp_000", "exp_099")
    assert (rig.lower.min(), rig.upper.max()) == (-3, 3)
    assert np.allclose(rig.eyes, (arrays.J_regressor @ arrays.v_template)[3:])
    assert rig.vertices(torch.zeros(2, 118)).shape == (2, 90, 3)
    assert np.array_equal(rig.landmarks.vertices, PLACES.vertices)


def test_a_missing_or_damaged_rig_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDMM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TDMM_FLAME", raising=False)
    with pytest.raises(FileNotFoundError, match=r"get FLAME from its owners .*run `tdmm import FILE -o .*cache/flame`"):
        rigs.load("flame")
    flame.save(head(), tmp_path / "rig", landmarks=PLACES)
    monkeypatch.setenv("TDMM_FLAME", str(tmp_path / "rig"))
    assert rigs.load("flame").expressions[-1] == "exp_004"
    tensors = load_file(tmp_path / "rig" / "model.safetensors")
    del tensors["weights"]
    save_file(tensors, tmp_path / "rig" / "model.safetensors")
    with pytest.raises(ValueError, match=r"expected a rig written by `tdmm import`, got a damaged one.*weights"):
        rigs.load("flame")


def close(arrays: FlameArrays, values: torch.Tensor, shape: torch.Tensor, ours: torch.Tensor) -> None:
    pytest.importorskip("smplx")
    pytest.importorskip("flame_pytorch", reason="pip install --no-deps flame-pytorch")
    from tdmm_lm.bench import head as bench

    with torch.no_grad():
        for name, poser in bench.peers(arrays, len(values)).items():
            assert float((poser(values, shape) - ours).abs().max()) < 1e-5, name  # metres


@pytest.mark.parametrize("seed", range(3))
def test_smplx_and_flame_pytorch_give_the_same_vertices(seed: int) -> None:
    arrays = head(expressions=40, identities=30, seed=seed)
    rig = flame.FlameRig(
        arrays, name="x", expressions=[str(i) for i in range(40)], authority="joints", lower=np.zeros(40),
        upper=np.ones(40), uv=None, colours=np.ones((90, 3)), landmarks=PLACES, eyes=np.zeros((2, 3)),
    )
    random = torch.Generator().manual_seed(seed)
    values, shape = torch.randn(20, 58, generator=random) * 0.7, torch.randn(30, generator=random)
    close(arrays, values, shape, rig.vertices(values, shape))


def test_the_bundled_head_is_the_same_in_all_three() -> None:
    rig = rigs.load("head")
    assert isinstance(rig, flame.FlameRig)
    random = torch.Generator().manual_seed(0)
    values = 0.3 * torch.randn(20, len(rig.expressions) + face.POSE_CHANNELS, generator=random)
    values[:, : len(rig.expressions)].abs_()
    shape = torch.randn(rig.identities, generator=random)
    close(rig.arrays, values, shape, rig.vertices(values, shape))



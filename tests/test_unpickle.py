"""The restricted reader: arrays in every wrapping that FLAME's files use, and nothing else, before anything runs."""

import codecs
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from tdmm_lm import unpickle

ARRAY = np.arange(24, dtype=np.float64).reshape(2, 3, 4) / 7


def stored(path: Path, content: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Stand-ins under chumpy's module names, so that pickles name them as the real library's do."""
    made = {}
    for module, name in (("chumpy.ch", "Ch"), ("chumpy.reordering", "Select")):
        holder = types.ModuleType(module)
        kind = type(name, (), {"__module__": module})
        setattr(holder, name, kind)
        monkeypatch.setitem(sys.modules, module, holder)
        made[name] = kind
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    return types.SimpleNamespace(**made)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_numbers_and_texts_come_back(tmp_path: Path, protocol: int) -> None:
    content = {
        "f8": ARRAY, "f4": ARRAY.astype("f4"), "u4": np.array([[1, 2, 2**32 - 1]], "u4"), "big": ARRAY.astype(">f4"),
        "columns": np.asfortranarray(ARRAY[0]), "empty": np.zeros((0, 3)), "style": "lbs", "count": 5,
        "scalar": np.float32(2.5), "list": [ARRAY[0, 0], {"deep": ARRAY[1]}],
    }
    got = unpickle.read(stored(tmp_path / "a.pkl", content, protocol))
    for name in ("f8", "f4", "u4", "big", "columns", "empty"):
        assert np.array_equal(got[name], content[name]), name
        assert got[name].dtype == content[name].dtype.newbyteorder("="), name
    assert (got["style"], got["count"], got["scalar"]) == ("lbs", 5, 2.5)
    assert np.array_equal(got["list"][1]["deep"], ARRAY[1])


def test_python_2_pickles_with_bytes_as_text(tmp_path: Path) -> None:
    numbers = np.array([1.5, -2.0])
    whole = (
        b"\x80\x02}U\x01xcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
        b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U\x10" + numbers.tobytes() + b"tbs."
    )
    assert np.array_equal(pickle.loads(whole, encoding="latin1")["x"], numbers)  # so it is what Python 2 wrote
    (tmp_path / "old.pkl").write_bytes(whole)
    assert np.array_equal(unpickle.read(tmp_path / "old.pkl")["x"], numbers)


def test_shared_parts_do_not_multiply(tmp_path: Path) -> None:
    layer: list[object] = [1.0]
    for _ in range(60):
        layer = [layer, layer]
    got = unpickle.read(stored(tmp_path / "a.pkl", {"x": layer}))["x"]
    assert got[0] is got[1]


@pytest.mark.parametrize("kind", ["csc_matrix", "csr_matrix", "csc_array"])
def test_sparse_matrices_become_dense(tmp_path: Path, kind: str) -> None:
    dense = np.where(np.random.default_rng(0).random((5, 40)) > 0.8, 0.3, 0)
    got = unpickle.read(stored(tmp_path / "a.pkl", {"J_regressor": getattr(scipy.sparse, kind)(dense)}))
    assert np.array_equal(got["J_regressor"], dense)


@pytest.mark.parametrize("protocol", [0, 2])
def test_chumpy_objects_become_their_numbers(tmp_path: Path, chumpy: types.SimpleNamespace, protocol: int) -> None:
    whole = chumpy.Ch()
    whole.__dict__ = {"x": ARRAY, "_dirty_vars": [], "_itr": None}
    some = chumpy.Select()
    some.__dict__ = {"a": whole, "idxs": np.arange(12), "preferred_shape": (3, 4)}
    got = unpickle.read(stored(tmp_path / "a.pkl", {"v": whole, "s": some}, protocol))
    assert np.array_equal(got["v"], ARRAY)
    assert np.array_equal(got["s"], ARRAY[0])
    unknown = chumpy.Ch()
    unknown.__dict__ = {"left": whole, "right": whole}
    with pytest.raises(ValueError, match="a chumpy expression of left, right"):
        unpickle.read(stored(tmp_path / "b.pkl", {"v": unknown}, protocol))


def test_npz_also_with_objects_inside(tmp_path: Path) -> None:
    dense = np.eye(5)
    np.savez(tmp_path / "a.npz", v=ARRAY, J=np.array(scipy.sparse.csc_matrix(dense), dtype=object))
    got = unpickle.read(tmp_path / "a.npz")
    assert np.array_equal(got["v"], ARRAY)
    assert np.array_equal(got["J"], dense)


class Bomb:
    """Runs something when a common unpickler reads it."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> object:
        return self.call


ATTACKS = {
    "os.system": lambda mark: Bomb(os.system, f"touch {mark}"),
    "eval": lambda mark: Bomb(eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Bomb(exec, f"open({str(mark)!r}, 'w')"),
    "getattr": lambda mark: Bomb(getattr, "text", "upper"),
    "open": lambda mark: Bomb(open, str(mark), "w"),
    "nested": lambda mark: {"v_template": ARRAY, "f": [({"x": Bomb(os.system, f"touch {mark}")},)]},
    "decoder": lambda mark: Bomb(codecs.decode, b"aGk=", "base64"),
    "loader": lambda mark: Bomb(pickle.loads, pickle.dumps(Bomb(os.system, f"touch {mark}"))),
    "in an object array": lambda mark: {"a": np.array([Bomb(os.system, f"touch {mark}")], dtype=object)},
    "numpy's own loader": lambda mark: Bomb(np.load, str(mark)),
}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", ATTACKS)
def test_malicious_pickles_are_refused_before_anything_runs(tmp_path: Path, name: str, protocol: int) -> None:
    mark = tmp_path / "was_run"
    path = stored(tmp_path / "a.pkl", ATTACKS[name](mark), protocol)
    with pytest.raises(ValueError, match=r"refused: it names \S+, which no file of arrays needs; nothing was run"):
        unpickle.read(path)
    assert not mark.exists()


def test_malicious_members_of_an_npz_are_refused(tmp_path: Path) -> None:
    mark = tmp_path / "was_run"
    np.savez(tmp_path / "a.npz", v=np.array([Bomb(os.system, f"touch {mark}")], dtype=object))
    with pytest.raises(ValueError, match=r"refused: it names (posix|nt)\.system"):
        unpickle.read(tmp_path / "a.npz")
    assert not mark.exists()


def test_dotted_names_and_stolen_stand_ins_lead_nowhere(tmp_path: Path) -> None:
    dotted = b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93."
    stolen = b"ccopy_reg\n_reconstructor\n(cposix\nsystem\nc__builtin__\nobject\nNtR."
    for number, content in enumerate((dotted, stolen)):
        path = tmp_path / f"{number}.pkl"
        path.write_bytes(content)
        with pytest.raises(ValueError, match="refused: it names"):
            unpickle.read(path)


@pytest.mark.parametrize(("content", "said"), [
    (b"", "damaged or foreign file"),
    (b"hello", "damaged or foreign file"),
    (pickle.dumps({"x": ARRAY}, protocol=2)[:200], "damaged or foreign file"),
    (pickle.dumps([ARRAY], protocol=2), "expected a mapping of names to arrays, got list"),
    (pickle.dumps({"x": np.array(["text"])}, protocol=2), "numbers of type 'U4'"),
    (pickle.dumps({"x": np.dtype("f8")}, protocol=2), "a bare dtype where an array was expected"),
])
def test_files_that_hold_no_arrays_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said) as caught:
        unpickle.read(path)
    assert "\n" not in str(caught.value)


def test_shapes_that_lie_are_caught(tmp_path: Path) -> None:
    good = pickle.dumps({"x": np.zeros((2, 3))}, protocol=2)
    lying = good.replace(b"K\x02K\x03", b"K\x02K\xff")
    assert lying != good
    (tmp_path / "a.pkl").write_bytes(lying)
    with pytest.raises(ValueError, match=r"an array of shape \(2, 255\) in 48 bytes"):
        unpickle.read(tmp_path / "a.pkl")


def test_zip_bombs_and_foreign_zips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match=r"member 'readme.txt' is no array"):
        unpickle.read(tmp_path / "b.npz")
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(1 << 20))
    monkeypatch.setattr(unpickle, "LIMIT", 1 << 22)
    with pytest.raises(ValueError, match="it unfolds to over 4 MB"):
        unpickle.read(tmp_path / "a.npz")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a model file, found none"):
        unpickle.read(tmp_path / "a.pkl")

"""The container: accessors come back, sparse ones only where they are smaller, broken files are refused."""

import struct

import numpy as np
import pytest

from tdmm_lm import gltf


def test_arrays_come_back_through_the_file(tmp_path):
    data = gltf.Accessors()
    rows = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    first, second = data.add(rows, "VEC3", bounds=True), data.add(rows[:, :1].copy(), "SCALAR")
    (tmp_path / "a.glb").write_bytes(data.finish({"asset": {"version": "2.0"}}))
    document, binary = gltf.chunks(tmp_path / "a.glb")
    np.testing.assert_array_equal(gltf.array(document, binary, first), rows)
    np.testing.assert_array_equal(gltf.array(document, binary, second), rows[:, :1])
    assert document["accessors"][0]["max"] == rows.max(0).tolist()
    assert document["buffers"] == [{"byteLength": 7 * 12 + 7 * 4}]


@pytest.mark.parametrize(("moved", "sparse"), [(0, True), (3, True), (80, True), (100, False)])
def test_mostly_still_rows_are_stored_sparsely(tmp_path, moved, sparse):
    data = gltf.Accessors()
    rows = np.zeros((100, 3), np.float32)
    rows[:moved, 1] = 1
    data.sparse(rows)
    (tmp_path / "a.glb").write_bytes(data.finish({}))
    about = gltf.chunks(tmp_path / "a.glb")[0]["accessors"][0]
    assert ("sparse" in about) == sparse
    assert about["max"] == [0, 1 if moved else 0, 0]
    if sparse:
        assert about["sparse"]["count"] == max(1, moved)


@pytest.mark.parametrize(("vertices", "component"), [(3, 5123), (65535, 5123), (65536, 5125)])
def test_indices_are_as_narrow_as_they_can_be(tmp_path, vertices, component):
    data = gltf.Accessors()
    data.indices(np.array([[0, 1, vertices - 1]]))
    (tmp_path / "a.glb").write_bytes(data.finish({}))
    assert gltf.chunks(tmp_path / "a.glb")[0]["accessors"][0]["componentType"] == component


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"glTF", "expected a GLB file, got something else"),
        (
            struct.pack("<4sIIII", b"glTF", 1, 20, 0, gltf.JSON_CHUNK),
            "expected glTF 2.0 with JSON first, got version 1",
        ),
        (struct.pack("<4sIIII", b"glTF", 2, 999, 0, gltf.JSON_CHUNK), "expected 999 bytes as its header says, got 20"),
        (struct.pack("<4sIIII", b"glTF", 2, 24, 4, gltf.JSON_CHUNK) + b"oops", "expected JSON in the first chunk"),
        (struct.pack("<4sIIII", b"glTF", 2, 24, 4, gltf.JSON_CHUNK) + b"[]  ", "expected a JSON object .* got list"),
        (
            struct.pack("<4sIIII", b"glTF", 2, 60020, 60000, gltf.JSON_CHUNK) + b"[" * 60000,
            "expected JSON in the first chunk",
        ),
    ],
)
def test_broken_files_say_so(tmp_path, data, message):
    (tmp_path / "a.glb").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        gltf.chunks(tmp_path / "a.glb")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"componentType": 5123}, "expected an accessor of plain floats"),
        ({"count": 10**9}, "runs over it"),
        ({"count": -1}, "runs over it"),
        ({"byteOffset": -8}, "runs over it"),
    ],
)
def test_accessors_stay_inside_the_buffer(change, message):
    document = {
        "accessors": [{"componentType": 5126, "count": 2, "type": "SCALAR", "bufferView": 0, **change}],
        "bufferViews": [{"byteOffset": 0}],
    }
    with pytest.raises(ValueError, match=message):
        gltf.array(document, bytes(8), 0)


@pytest.mark.parametrize(
    ("kind", "scale"), [("uint8", 255), ("int8", 127), ("uint16", 65535), ("int16", 32767), ("float32", 1)]
)
def test_rows_of_any_kind_strided_and_normalized(kind, scale):
    values = np.array([[0, 1, 2], [3, 4, 100]], kind)
    padded = b"".join(row.tobytes() + b"\7" * 5 for row in values)
    document = {
        "accessors": [{
            "componentType": {k.name: n for n, k in gltf.READ.items()}[kind], "count": 2, "type": "VEC3",
            "bufferView": 0, "byteOffset": 3, "normalized": kind != "float32",
        }],
        "bufferViews": [{"buffer": 0, "byteOffset": 1, "byteStride": values[0].nbytes + 5}],
        "buffers": [{}],
    }
    got = gltf.rows(document, bytes(4) + padded, 0)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, values / scale, rtol=1e-6)


def test_sparse_rows_come_back(tmp_path):
    data = gltf.Accessors()
    rows = np.zeros((50, 3), np.float32)
    rows[[3, 40]] = [[1, 2, 3], [4, 5, 6]]
    data.sparse(rows)
    (tmp_path / "a.glb").write_bytes(data.finish({}))
    np.testing.assert_array_equal(gltf.rows(*gltf.chunks(tmp_path / "a.glb"), 0), rows)


def test_more_arrays_behind_those_that_are_there(tmp_path):
    old, new = gltf.Accessors(), gltf.Accessors()
    first, second = np.ones((3, 1), np.float32), np.arange(8, dtype=np.float32).reshape(2, 4)
    old.add(first, "SCALAR")
    number = 1 + new.add(second, "VEC4")
    (tmp_path / "a.glb").write_bytes(old.finish({"asset": {"version": "2.0"}}))
    (tmp_path / "b.glb").write_bytes(gltf.packed(*new.into(*gltf.chunks(tmp_path / "a.glb"))))
    document, binary = gltf.chunks(tmp_path / "b.glb")
    np.testing.assert_array_equal(gltf.array(document, binary, 0), first)
    np.testing.assert_array_equal(gltf.array(document, binary, number), second)
    assert document["asset"] == {"version": "2.0"}


def test_nodes_stand_where_their_parents_put_them():
    document = {"nodes": [
        {"translation": [1, 0, 0]},
        {"scale": [2, 2, 2], "rotation": [0, 0, 0.7071067811865476, 0.7071067811865476], "children": [0]},
        {"matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 5, 6, 7, 1], "children": [1]},
    ]}
    np.testing.assert_allclose(gltf.world(document)[0][:3, 3], [5, 8, 7], atol=1e-12)
    assert gltf.parents(document) == [1, 2, -1]
    with pytest.raises(ValueError, match="got node 0 below two others"):
        gltf.parents({"nodes": [{}, {"children": [0]}, {"children": [0]}]})
    with pytest.raises(ValueError, match="below itself"):
        gltf.parents({"nodes": [{"children": [1]}, {"children": [0]}]})

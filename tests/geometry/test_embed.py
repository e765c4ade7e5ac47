"""Landmarks find their places: on the nearest surface, along edges, by a warp of seeds, and on the scanned head."""

import numpy as np
import pytest
from safetensors import safe_open

from tdmm_lm import bundle, landmarks
from tdmm_lm.geometry import embed, ict_landmarks
from tdmm_lm.rigs import Embedding


def sheet(size=11, bump=0.0):
    """A square of (size - 1)² * 2 triangles in the XY plane, bulging towards Z."""
    x, y = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    vertices = np.stack([x, y, bump * np.exp(-2 * (x**2 + y**2))], -1).reshape(-1, 3)
    a = (np.arange(size - 1)[:, None] * size + np.arange(size - 1)).reshape(-1)
    faces = np.concatenate([np.stack([a, a + 1, a + size], 1), np.stack([a + 1, a + size + 1, a + size], 1)])
    return vertices, faces


def places(embedding: Embedding, vertices):
    return (vertices[embedding.vertices] * embedding.weights[..., None]).sum(1)


def test_nearest_on_face_edge_and_corner():
    vertices, faces = sheet()
    points = np.array([[0.13, 0.37, 0.5], [2.0, 0.05, -1.0], [3.0, 3.0, 1.0], [-0.2, -0.2, 0.0]])
    found = embed.nearest(vertices, faces, points)
    expected = [[0.13, 0.37, 0], [1, 0.05, 0], [1, 1, 0], [-0.2, -0.2, 0]]
    assert places(found, vertices) == pytest.approx(np.array(expected))
    assert found.weights.min() >= 0
    assert found.weights.sum(1) == pytest.approx(1)
    assert all(set(t) in [set(f) for f in faces] for t in found.vertices)


def test_nearest_is_no_worse_than_dense_samples():
    vertices, faces = sheet(bump=0.8)
    rng = np.random.default_rng(0)
    points = rng.normal(0, 1, (20, 3))
    shares = rng.dirichlet((1, 1, 1), 400)
    samples = np.einsum("sk,fkc->fsc", shares, vertices[faces]).reshape(-1, 3)
    gaps = np.linalg.norm(places(embed.nearest(vertices, faces, points), vertices) - points, axis=1)
    best = np.linalg.norm(samples - points[:, None], axis=-1).min(1)
    assert (gaps <= best + 1e-6).all()
    assert (best - gaps).max() < 0.02


def test_candidates_keep_a_place_on_its_side():
    vertices, faces = sheet()
    left = (vertices[faces, 0] <= 1e-9).all(1)
    points = np.array([[0.05, 0.0, 0.0]] * 2)
    found = embed.nearest(vertices, faces, points, np.stack([left, np.ones(len(faces), bool)]))
    assert places(found, vertices)[:, 0] == pytest.approx([0.0, 0.05], abs=1e-6)
    with pytest.raises(ValueError, match="expected candidate faces for every place, got none for place 1"):
        embed.nearest(vertices, faces, points, np.stack([left, np.zeros(len(faces), bool)]))


def test_along_follows_edges():
    vertices, faces = sheet()
    found = embed.along(vertices, faces, [0, 10, 120], np.array([0.0, 0.25, 0.5, 0.85, 1.0]))
    expected = [[-1, -1, 0], [0, -1, 0], [1, -1, 0], [1, 0.4, 0], [1, 1, 0]]
    assert places(found, vertices) == pytest.approx(np.array(expected), abs=1e-6)
    assert (np.sort(found.weights, 1)[:, 0] == 0).all()
    twice = np.concatenate([vertices, vertices + 5]), np.concatenate([faces, faces + 121])
    with pytest.raises(ValueError, match="got no path from 0 to 241"):
        embed.along(*twice, [0, 241], np.zeros(1))


def test_warp_takes_seeds_to_seeds_and_similarities_exactly():
    rng = np.random.default_rng(1)
    source, points = rng.normal(size=(12, 3)), rng.normal(size=(30, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    assert embed.warp(source, 2 * source @ turn.T + 1, points) == pytest.approx(2 * points @ turn.T + 1, abs=1e-6)
    target = source + rng.normal(0, 0.1, source.shape)
    assert embed.warp(source, target, source) == pytest.approx(target, abs=1e-6)
    with pytest.raises(ValueError, match="expected at least 5 seeds, got 4"):
        embed.warp(source[:4], target[:4], points)


def test_halves_tell_what_a_shape_moves():
    vertices, faces = sheet()
    move = np.zeros_like(vertices)
    move[vertices[:, 1] < -0.01, 1] = -0.3
    moving, still = embed.halves(faces, move)
    centre = vertices[faces].mean(1)[:, 1]
    assert (centre[moving] < 0).all()
    assert (centre[still] > 0).all()
    assert moving.sum() + still.sum() == len(faces) - 20  # one row of squares lies between
    with pytest.raises(ValueError, match="expected a shape that moves something down"):
        embed.halves(faces, -move)


def test_embed_names():
    vertices, faces = sheet()
    with pytest.raises(ValueError, match=r"expected landmark names such as .*, got 'nose'"):
        embed.embed(vertices, faces, {"nose": np.zeros(3)}, np.zeros((208, 3)))


def test_the_bundled_file_is_whole():
    with safe_open(bundle.path("assets/ict/landmarks.safetensors"), "np") as file:
        vertices, weights = file.get_tensor("vertices"), file.get_tensor("weights")
        assert file.metadata()["places"].split(",") == list(landmarks.NAMES)
    assert vertices.shape == weights.shape == (len(landmarks.NAMES), 3)
    assert vertices.dtype == np.int64
    assert weights.sum(1) == pytest.approx(1, abs=1e-6)
    assert weights.min() >= 0


@pytest.fixture(scope="module")
def scan():
    data = bundle.data()
    if data is None:
        pytest.skip("needs scanned_head/ of the real data: set $TDMM_DATA to their folder")
    with np.load(data / "scanned_head" / "ict_facekit_full.npz") as file:
        return {name: file[name] for name in ("neutral", "faces", "expr_names", "expr_deltas")} | {"data": data}


def test_the_bundled_file_is_what_its_command_makes(scan):
    made, sha256 = ict_landmarks.make(scan["data"])
    with safe_open(bundle.path("assets/ict/landmarks.safetensors"), "np") as file:
        assert file.metadata()["mesh_sha256"] == sha256
        bundled = Embedding(file.get_tensor("vertices"), file.get_tensor("weights"))
    # On a vertex or an edge rounding, which differs between processors, decides in whose triangle a place lies: it is
    # the same place of the skin, however that moves. Two on the middle line may come to lie on either side of it.
    for points in (scan["neutral"], *scan["expr_deltas"]):
        away = np.linalg.norm(places(bundled, points.astype(float)) - places(made, points.astype(float)), axis=-1) * 10
        assert (away > 1e-6).sum() <= 2
        assert away.max() < 0.2  # mm


def test_the_scanned_heads_landmarks_are_symmetric_and_move_as_named(scan):
    with safe_open(bundle.path("assets/ict/landmarks.safetensors"), "np") as file:
        found = Embedding(file.get_tensor("vertices"), file.get_tensor("weights"))
    at = places(found, scan["neutral"].astype(float)) * 10  # mm
    assert np.abs(at[list(landmarks.mirrored())] * [-1, 1, 1] - at).max() < 0.5
    shapes = zip(scan["expr_names"], scan["expr_deltas"], strict=True)
    moved = {name: places(found, shape.astype(float)) * 10 for name, shape in shapes}
    index = landmarks.NAMES.index
    blink, jaw, brow = moved["eyeBlink_L"], moved["jawOpen"], moved["browOuterUp_L"]
    assert blink[index("lid_upper_left_4"), 1] < -6  # closes from above
    assert abs(blink[index("lid_lower_left_3"), 1]) < 3
    assert np.abs(blink[index("lid_upper_right_4")]).max() < 0.1  # on one side only
    assert jaw[index("lip_inner_lower_4"), 1] < -20 < -5 < jaw[index("lip_inner_upper_5"), 1]
    assert jaw[index("chin_middle_3"), 1] < -20
    assert jaw[index("tongue_tip"), 1] < -20
    assert brow[index("brow_upper_left_3"), 1] > 3 > abs(brow[index("brow_upper_right_3"), 1])
    seam = at[index("lip_inner_upper_5")] - at[index("lip_inner_lower_4")]
    assert np.linalg.norm(seam) < 1.5  # closed mouth, yet not the same place


def test_embed_on_the_scanned_head_from_a_few_seeds(scan):
    """Landmarks of one head, warped to another (here: itself, bent and scaled) by fourteen seeds."""
    with safe_open(bundle.path("assets/ict/landmarks.safetensors"), "np") as file:
        found = Embedding(file.get_tensor("vertices"), file.get_tensor("weights"))
    vertices = scan["neutral"].astype(float)
    skin = ict_landmarks.triangles(scan["faces"])
    skin = skin[(skin < ict_landmarks.SKIN).all(1)]
    like = places(found, vertices)
    bent = 0.013 * vertices * [1.1, 1.0, 0.9]
    bent[:, 1] += 0.0002 * vertices[:, 0] ** 2
    truth = places(found, bent)
    names = ("lid_upper_left_0", "lid_upper_left_8", "lid_upper_right_0", "lid_upper_right_8", "lip_outer_upper_0",
             "lip_outer_upper_5", "lip_outer_upper_10", "lip_outer_lower_4", "nose_bridge_0", "nose_bridge_6",
             "brow_upper_left_4", "brow_upper_right_4", "oval_bottom_0", "oval_top_0")
    seeds = {name: truth[landmarks.NAMES.index(name)] for name in names}
    jaw = scan["expr_deltas"][list(scan["expr_names"]).index("jawOpen")].astype(float)
    lower, upper = embed.halves(skin, jaw)
    masks = {n: (lower if "lower" in n else upper) for n in landmarks.NAMES if n.startswith("lip_inner")}
    result = embed.embed(bent, skin, seeds, like, masks)
    gaps = np.linalg.norm(places(result, bent) - truth, axis=1) * 10 / 1.3  # mm on the scan's scale
    inside = [i for i, n in enumerate(landmarks.NAMES) if n.split("_")[0] not in ("pupil", "tongue")]
    assert gaps[inside].mean() < 0.6
    assert gaps[inside].max() < 3
    drop = places(result, jaw) * 10
    assert drop[landmarks.NAMES.index("lip_inner_lower_4"), 1] < -20
    assert drop[landmarks.NAMES.index("lip_inner_upper_5"), 1] > -8

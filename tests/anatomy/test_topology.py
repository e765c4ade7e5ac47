"""The skin's layout: a symmetric sheet with three holes, the same every time."""

import numpy as np
import pytest

from tdmm_lm.anatomy import sphere, topology


@pytest.fixture(scope="module")
def skin() -> topology.Skin:
    return topology.skin()


def edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.unique(np.sort(sides, 1), axis=0, return_counts=True)


def test_a_sheet_whose_only_holes_are_eyes_and_neck(skin: topology.Skin) -> None:
    sides, count = edges(skin.faces)
    assert set(count) == {1, 2}
    border = set(np.unique(sides[count == 1]).tolist())
    assert border == set(skin.eyes[0][0]) | set(skin.eyes[1][0]) | set(skin.rim)
    assert len(np.unique(skin.faces)) == len(skin.places) >= 3000
    holes = 3  # sphere minus three discs: Euler characteristic 2 - 3
    assert len(skin.places) - len(sides) + len(skin.faces) == 2 - holes


def test_triangles_look_outwards(skin: topology.Skin) -> None:
    a, b, c = (skin.places[skin.faces[:, i]] for i in range(3))
    assert (np.einsum("ij,ij->i", np.cross(a, b), c) > 0).all()


def test_left_and_right_mirror_each_other(skin: topology.Skin) -> None:
    np.testing.assert_allclose(skin.places[skin.mirror], sphere.mirrored(skin.places), atol=1e-12)
    np.testing.assert_array_equal(skin.mirror[skin.mirror], np.arange(len(skin.places)))
    faces = {tuple(sorted(face)) for face in skin.faces.tolist()}
    assert {tuple(sorted(face)) for face in skin.mirror[skin.faces].tolist()} == faces


def test_loops_run_around_mouth_and_eyes(skin: topology.Skin) -> None:
    contact = skin.mouth[topology.MOUTH_LOOPS.index(sphere.MOUTH_CONTACT)]
    plane = sphere.inward(sphere.MOUTH, skin.places[contact])
    np.testing.assert_allclose(np.linalg.norm(plane / sphere.MOUTH_CONTACT, axis=1), 1, atol=1e-9)
    assert plane[0, 0] > 0  # from the corner on the person's left
    assert plane[1, 1] > 0  # over the upper lip
    sides = {tuple(side) for side in edges(skin.faces)[0].tolist()}
    for loops in (skin.mouth, *skin.eyes):
        for loop in loops[1:]:
            assert all(tuple(sorted(pair)) in sides for pair in zip(loop.tolist(), np.roll(loop, -1).tolist()))


def test_the_same_every_time(skin: topology.Skin) -> None:
    again = topology.skin()
    np.testing.assert_array_equal(again.faces, skin.faces)
    np.testing.assert_array_equal(again.places, skin.places)


def test_tangent_planes_are_inverse() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    np.testing.assert_allclose(sphere.outward(sphere.EYE, sphere.inward(sphere.EYE, points)), points, atol=1e-9)

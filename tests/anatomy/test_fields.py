"""Smooth fields: symmetric where they should be, and apart where lips and lids part."""

import numpy as np

from tdmm_lm.anatomy import fields, sphere


def test_control_points_are_mirrored_and_few() -> None:
    control = fields.controls()
    assert len(control.places) < 1500
    np.testing.assert_allclose(control.places[control.mirror], sphere.mirrored(control.places), atol=1e-12)
    assert (control.places[: control.half, 0] >= 0).all()


def test_a_symmetric_field_is_its_own_mirror_image() -> None:
    control, random = fields.controls(), np.random.default_rng(0)
    half = random.normal(size=(control.half, 3))
    half[control.places[: control.half, 0] == 0, 0] = 0
    places = random.normal(size=(200, 3))
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    field = fields.symmetric(control, half)
    left, right = fields.basis(control, places) @ field, fields.basis(control, sphere.mirrored(places)) @ field
    np.testing.assert_allclose(right, sphere.mirrored(left), atol=1e-9)


def test_basis_is_wendlands_function_of_the_chord() -> None:
    control = fields.controls()
    place = sphere.direction(10, -20)[None]
    row = fields.basis(control, place).toarray()[0]
    share = np.linalg.norm(control.places - place, axis=1) / control.reach
    np.testing.assert_allclose(row, np.where(share < 1, (1 - share) ** 4 * (4 * share + 1), 0), atol=1e-12)


def test_fine_points_of_one_lip_or_lid_do_not_reach_the_other() -> None:
    control = fields.controls()
    fine = np.flatnonzero(control.reach == fields.LOOP_REACH)
    for centre, size in ((sphere.MOUTH, sphere.MOUTH_CONTACT), (sphere.EYE, sphere.EYE_MARGIN)):
        above, below = sphere.outward(centre, np.array([[0, size[1]], [0, -size[1]]]))
        row = fields.basis(control, below[None]).toarray()[0]
        there = fine[control.places[fine] @ above > np.cos(0.03)]
        assert len(there)
        assert row[there].max() < 0.02


def test_one_point_per_vector_is_found_again_by_least_squares() -> None:
    control, random = fields.controls(), np.random.default_rng(1)
    used = random.choice(len(control.places), 40, replace=False)
    places = random.normal(size=(4000, 3))
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    places = np.concatenate([places, control.places])
    columns = fields.basis(control, places)[:, used].toarray()
    vectors = random.normal(size=(40, 3))
    np.testing.assert_allclose(np.linalg.lstsq(columns, columns @ vectors, rcond=None)[0], vectors, atol=1e-6)

"""The landmark set is complete, symmetric and divided into regions."""

import pytest

from tdmm_lm import landmarks


def test_names_are_unique_and_mirrors_are_involutions():
    assert len(set(landmarks.NAMES)) == len(landmarks.NAMES) == 208
    mirror = landmarks.mirrored()
    assert all(mirror[mirror[i]] == i for i in range(208))
    assert landmarks.NAMES[mirror[landmarks.NAMES.index("lip_outer_upper_0")]] == "lip_outer_upper_10"
    assert landmarks.NAMES[mirror[landmarks.NAMES.index("brow_upper_left_2")]] == "brow_upper_right_2"


def test_every_landmark_is_in_one_region():
    members = [i for name in landmarks.REGIONS for i in landmarks.region(name)]
    assert sorted(members) == list(range(208))
    with pytest.raises(ValueError, match="got 'ear'"):
        landmarks.region("ear")

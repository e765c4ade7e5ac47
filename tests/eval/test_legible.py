"""MediaPipe reads the bundled head."""

import pytest

from tdmm_lm import bundle, rigs
from tdmm_lm.eval import legible


def test_what_a_reader_must_see_is_read_back():
    if bundle.data() is None:
        pytest.skip("needs face_landmarker/ of the real data: set $TDMM_DATA to their folder")
    from tdmm_lm.formats import video

    reader = legible.Reader(video.landmarker())
    try:
        table = legible.read_back(rigs.load("head"), reader)
    finally:
        reader.close()
    missed = [name for name in legible.REQUIRED if not table[name]["read"]]
    assert not missed
    assert sum(row["read"] for row in table.values()) >= 25

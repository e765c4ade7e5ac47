"""Tokens as they come: whole frames out, and any token that is lost, doubled or exchanged is noticed."""

import numpy as np
import pytest

from tdmm_lm.lm import framing, vocab

KIND = vocab.Modality(
    books=2, codebook_size=4, code_fps=25, first_id=100, begin_id=90, end_id=91, codec="codec_face",
    codec_sha256="0" * 64,
)
GROWN = vocab.MotionVocab(modalities={"face": KIND})
CODES = np.array([[0, 3], [3, 0], [2, 2]])
TOKENS = vocab.ids(CODES, GROWN)


def read(tokens, step=1):
    reader, got = framing.Reader(GROWN), []
    for start in range(0, len(tokens), step):
        got += [frames.codes for frames in reader.push(tokens[start : start + step])]
    return reader, got


@pytest.mark.parametrize("step", [1, 2, 3, 5, 100])
def test_however_they_are_cut_the_frames_are_the_same(step):
    reader, got = read([5, 6, *TOKENS, 7], step)
    assert np.concatenate(got).tolist() == CODES.tolist()
    assert (reader.inside, reader.motion_tokens) == (None, 6)


def test_code_0_and_the_last_code_are_codes():
    _, got = read(vocab.ids(np.array([[0, 0], [3, 3]]), GROWN))
    assert np.concatenate(got).tolist() == [[0, 0], [3, 3]]
    with pytest.raises(ValueError, match="book 0, got token 104"):
        read([90, 104])  # one beyond the first book: it is the second one's


def test_an_open_motion_is_seen():
    reader, got = read(TOKENS[:-2])
    assert reader.inside == "face"
    assert np.concatenate(got).tolist() == CODES[:2].tolist()


@pytest.mark.parametrize("place", range(1, len(TOKENS) - 1))
def test_a_lost_or_doubled_code_never_shifts_the_others(place):
    with pytest.raises(ValueError, match="expected"):
        read(TOKENS[:place] + TOKENS[place + 1 :])
    with pytest.raises(ValueError, match="expected"):
        read([*TOKENS[: place + 1], TOKENS[place], *TOKENS[place + 1 :]])


def test_exchanged_codes_and_strays_are_refused():
    with pytest.raises(ValueError, match="book 0"):
        read([TOKENS[0], TOKENS[2], TOKENS[1], *TOKENS[3:]])
    for stray in (91, 100, 107):
        with pytest.raises(ValueError, match=f"got token {stray}"):
            read([5, stray])
    with pytest.raises(ValueError, match="got token 90"):
        read([90, 90])

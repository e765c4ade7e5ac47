"""What the corpus performs is read by others: words and head gestures by MediaPipe, families by `observe`."""

from collections import Counter

import pytest

from tdmm_lm import bundle, rigs
from tdmm_lm.corpus import labels, prompts
from tdmm_lm.corpus.lexicon import lexicon
from tdmm_lm.corpus.score import HeadMove, Score
from tdmm_lm.eval import readback

SEEN_OF = 12  # every so many words of the readable ones: `tdmm bench corpus` looks at all


@pytest.fixture(scope="module")
def data():
    if bundle.data() is None:
        pytest.skip("needs face_landmarker/ of the real data: set $TDMM_DATA to their folder")


def test_the_list_names_words():
    names = readback.readable()
    assert 100 <= len(set(names)) == len(names)
    assert set(names) <= set(lexicon().words)


def test_words_are_read(data):
    from tdmm_lm.eval.legible import Reader
    from tdmm_lm.formats import video

    names = readback.readable()[::SEEN_OF]
    reader = Reader(video.landmarker())
    try:
        found = readback.words(rigs.load("head"), reader, names)
    finally:
        reader.close()
    assert sum(found.values()) >= 0.8 * len(names), found
    assert set(found) == set(names)


def test_gestures_are_read(data):
    scores = [
        Score(seconds=2.4, head=(HeadMove(gesture="nod", count=2, onset=0.5, degrees=14),), seed=1),
        Score(seconds=2.4, head=(HeadMove(gesture="turn_left", onset=0.4, degrees=20),), seed=2),
    ]
    assert readback.gestures(scores, rigs.load("head")) == [("nod", 2, "nod", 2), ("turn_left", 1, "turn_left", 1)]


def test_observe_names_every_words_family():
    found = readback.observed(rigs.load("head"), (0.6,))
    wrong = Counter((name, seen) for name, _, seen in found if seen != lexicon().word(name).family)
    assert len(found) == 200
    assert sum(wrong.values()) <= 0.05 * 200, wrong


def test_words_may_be_limited():
    scores = [prompts.sample(seed, words=("smile", "sad", "wink")) for seed in range(60)]
    assert {e.word for score in scores for e in score.expressions} == {"smile", "sad", "wink"}
    assert {labels.of_score(score).family for score in scores} == {"joy", "sadness", "wink"}

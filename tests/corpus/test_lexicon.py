"""The words: enough of them, every family named, and each family's weights pointing another way."""

import numpy as np
import pytest

from tdmm_lm.corpus.lexicon import Lexicon, Word, lexicon, weights
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.observe import FAMILIES


def test_every_family_has_words_and_there_are_over_36():
    assert len(lexicon().words) >= 36
    assert all(lexicon().of_family(family) for family in FAMILIES)


def test_nearest_family_of_every_word_is_its_own():
    known = [(word.family, weights(word, "left" if word.sided else "both")) for word in lexicon().words.values()]
    known = [(family, target / np.linalg.norm(target)) for family, target in known if family != "neutral"]
    means = {family: np.mean([t for f, t in known if f == family], 0) for family in {f for f, _ in known}}
    for family, target in known:
        assert max(means, key=lambda name: target @ means[name] / np.linalg.norm(means[name])) == family


def test_sides_and_pairs():
    smirk = lexicon().word("smirk")
    left, right = weights(smirk, "left"), weights(smirk, "right")
    assert left[ARKIT.index("mouthSmileLeft")] == right[ARKIT.index("mouthSmileRight")] > 0
    assert left[ARKIT.index("mouthSmileRight")] == 0
    smile = weights(lexicon().word("smile"), "both")
    assert smile[ARKIT.index("mouthSmileLeft")] == smile[ARKIT.index("mouthSmileRight")] > 0
    with pytest.raises(ValueError, match="side: expected left or right for this word, got 'both'"):
        weights(smirk, "both")


def test_wrong_words_are_named():
    with pytest.raises(ValueError, match="expected an ARKit shape, with or without its side, got 'mouthGrin'"):
        Word(family="joy", verb="grin", targets={"mouthGrin": 1.0})
    with pytest.raises(ValueError, match="expected a family among neutral, joy"):
        Word(family="bliss", verb="grin", targets={})
    with pytest.raises(ValueError, match=r"lexicon: expected one of smile, .*, got 'smyle'\."):
        lexicon().word("smyle")


def test_limits_name_shapes():
    read: Lexicon = lexicon()
    assert {name for first, second, _ in read.limits for name in (first, second)} <= set(ARKIT)

"""The words: enough of them, every family named, and each family's weights pointing another way."""

import numpy as np
import pytest
import torch

from tdmm_lm import rigs
from tdmm_lm.corpus.lexicon import Lexicon, Word, lexicon, weights
from tdmm_lm.corpus.perform import limit
from tdmm_lm.motion import face
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.observe import FAMILIES, actions


def full(name):
    """A word's weights as a face can show them, on the left where it has sides."""
    word = lexicon().word(name)
    return limit(weights(word, "left" if word.sided else "both")[None].astype(float))


def test_there_are_200_words_of_every_family():
    assert len(lexicon().words) == 200
    assert all(lexicon().of_family(family) for family in FAMILIES)


@pytest.mark.parametrize("name", lexicon().words)
def test_a_word_is_said_felt_and_made_of_action_units(name):
    word = lexicon().word(name)
    assert {"joy": 1, "sadness": -1, "anger": -1, "fear": -1, "pain": -1}.get(word.family, 0) * word.feels[0] >= 0
    assert lexicon().action_units(name) or word.family in ("neutral", "mouth_side")
    timing = lexicon().timing(name)
    assert all(0 < low <= high for low, high in (timing.attack, timing.hold, timing.release))


def test_every_word_lies_nearest_to_its_own_family():
    names = [name for name, word in lexicon().words.items() if word.family != "neutral"]
    alike, _ = actions.match(actions.features(np.concatenate([full(name) for name in names])))
    found = [FAMILIES[place] for place in alike.argmax(1)]
    assert found == [lexicon().word(name).family for name in names]


def test_every_word_is_a_face_of_its_own():
    rig, names = rigs.load("head"), tuple(lexicon().words)
    shown = np.concatenate([full(name) for name in names]).astype(np.float32)
    clip = face.assemble({"expression": shown}, fps=25, rig="head")
    places = rig.vertices(torch.from_numpy(clip.values), subset=torch.arange(0, len(rig.template), 3))
    assert torch.isfinite(places).all()
    for i in range(len(names)):
        moved = 1000 * (places[i] - places[:i]).norm(dim=-1).amax(-1)
        assert not len(moved) or moved.min() > 0.6, (names[i], names[int(moved.argmin())])  # mm, somewhere


def test_no_synonym_is_another_word():
    owner = {}
    for name, word in lexicon().words.items():
        for form in (word.verb or word.adjective, *word.synonyms):
            assert owner.setdefault(form, name) == name, form


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
    with pytest.raises(ValueError, match=r"expected one of the 200 words of .*, got 'smyle'; nearest: smile.*\.$"):
        lexicon().word("smyle")
    with pytest.raises(ValueError, match=r"got 'qqq'; nearest: none\."):
        lexicon().word("qqq")


def test_limits_name_shapes():
    read: Lexicon = lexicon()
    assert {name for first, second, _ in read.limits for name in (first, second)} <= set(ARKIT)

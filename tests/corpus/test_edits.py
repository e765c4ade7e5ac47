"""Edits change what they say and nothing else."""

import numpy as np

from tdmm_lm.corpus import caption, edits, labels, prompts
from tdmm_lm.corpus.perform import perform
from tdmm_lm.corpus.score import Expression, HeadMove, Score


def made(n: int = 400):
    for seed in range(n):
        before = prompts.sample(seed)
        text, after = edits.edit(before, np.random.default_rng(seed))
        yield before, text, after


def test_every_edit_is_a_valid_score_with_another_motion_of_the_same_person():
    for before, _, after in made():
        assert Score.model_validate(after.model_dump()) == after
        assert (after.seed, after.seconds) == (before.seed, before.seconds)
        assert not np.array_equal(perform(before).values, perform(after).values)


def test_instructions_say_what_changes():
    seen = set()
    for before, text, after in made():
        was, is_, read = labels.of_score(before), labels.of_score(after), caption.parse(text)
        if before.head != after.head:
            assert read.gestures == tuple((m.name, m.count) for m in is_.gestures), text
            seen.add("gesture" if after.head else "still")
        elif before.blinks != after.blinks:
            assert read.blinks == 0 == is_.blinks, text
            seen.add("blinks")
        elif was.families == is_.families:
            stronger = is_.intensity > was.intensity
            assert stronger == ("weak" not in text.lower()), text
            seen.add("stronger" if stronger else "weaker")
        else:
            assert read.family == is_.family, text
            seen.add("word")
    assert seen == {"gesture", "still", "blinks", "stronger", "weaker", "word"}


def test_other_parts_stay_as_they_were():
    before = Score(
        expressions=(Expression(word="smile"),), head=(HeadMove(gesture="nod", count=2),), blinks=(1.0,), seed=5
    )
    after = before.model_copy(update={"expressions": (Expression(word="frown"),)})
    assert np.array_equal(perform(before).values[:, 52:], perform(after).values[:, 52:])


def test_comparatives():
    assert [edits.comparative(a) for a in ("angry", "happy", "sad", "worried")] == [
        "angrier",
        "happier",
        "sadder",
        "more worried",
    ]

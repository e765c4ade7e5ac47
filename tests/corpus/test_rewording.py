"""Rewordings: order, sides, seconds, counts, strength and speech must survive, in whatever words."""

import re

import numpy as np
import pytest

from tdmm_lm.corpus import caption, labels, prompts
from tdmm_lm.corpus.asking import rewording

SMILE_NOD = "They smile broadly, then nod once."
TIMED = "From 0.3 to 1.6 s they smile broadly. From 2.2 to 2.9 s they nod once."
WINK_TWIST = "She winks with her left eye, then twists her mouth to the right."


@pytest.mark.parametrize(
    ("original", "text", "faults"),
    [
        (SMILE_NOD, "They nod once and then smile broadly.", ["other_order"]),
        (SMILE_NOD, "They smile broadly after nodding once.", ["other_order"]),
        (SMILE_NOD, "Before nodding once, they smile broadly.", ["other_order"]),
        (SMILE_NOD, "They smile broadly, but first they nod once.", ["other_order"]),
        (SMILE_NOD, "They smile broadly, having nodded once.", ["other_order"]),
        ("She glances left, then nods.", "She nods, then glances left.", ["other_order"]),
        ("She glances left, then glances up.", "She glances left, then glances down.", ["other_gaze"]),
        (TIMED, "From 2.2 to 2.9 s they smile broadly. From 0.3 to 1.6 s they nod once.", ["other_order"]),
        (TIMED, "They smile broadly from 2.2 to 2.9 s, and nod once, from 0.3 to 1.6 s.", ["other_order"]),
        (TIMED, "From 0.3 to 1.6 s they smile broadly. From 2.2 to 3.9 s they nod once.", ["other_span"]),
        (TIMED, "They smile broadly, then nod once.", ["lost_span"]),
        (WINK_TWIST, "She winks with her right eye, then twists her mouth to the left.", ["other_side"]),
        (WINK_TWIST, "She winks with her left eye, then twists her mouth to the left.", ["other_side"]),
        ("She winks with her left eye.", "She winks.", ["lost_side"]),
    ],
)
def test_order_sides_and_seconds_must_stay(original, text, faults):
    assert rewording.changed(original, text) == faults


@pytest.mark.parametrize(
    ("original", "text", "faults"),
    [
        ("They nod once.", "They nod a few times.", ["other_count"]),
        ("They nod once.", "They nod five times.", ["other_count"]),
        ("They nod once.", "They nod repeatedly.", ["other_count"]),
        ("They nod once.", "They nod again and again.", ["other_count"]),
        ("They nod once.", "They nod once or twice.", ["other_count"]),
        ("They nod twice.", "They nod a couple of times.", ["other_count"]),
        ("They nod three times.", "They give some nods.", ["other_count"]),
        ("They blink once.", "They blink several times.", ["other_blinks"]),
        ("They do not blink.", "They blink several times.", ["other_blinks"]),
        ("They do not blink.", "They hardly blink.", ["other_blinks"]),
        ("They blink once.", "They are unblinking.", ["other_blinks"]),
    ],
)
def test_a_vague_count_is_none_of_the_counts(original, text, faults):
    assert rewording.changed(original, text) == faults


@pytest.mark.parametrize(
    ("original", "text", "faults"),
    [
        ("They smile.", "A tiny smile crosses their face.", ["other_level"]),
        ("They smile.", "They barely smile.", ["other_level"]),
        ("They smile.", "There is a hint of a smile.", ["other_level"]),
        ("They smile.", "They have a huge smile, saying nothing.", ["other_level", "added_speech"]),
        ("They smile.", "They silently smile.", ["added_speech"]),
        ("They smile.", "They smile without a word.", ["added_speech"]),
        ("They smile.", "They smile wordlessly.", ["added_speech"]),
        ("She frowns.", "She gives a deep frown.", ["other_level"]),
        ("They laugh.", "They give a hearty laugh.", ["other_level"]),
        ("They glare.", "They give a fierce glare.", ["other_level"]),
    ],
)
def test_strength_and_silence_must_not_come_in_other_words(original, text, faults):
    assert rewording.changed(original, text) == faults


@pytest.mark.parametrize(
    ("original", "text"),
    [
        (SMILE_NOD, "They give a broad smile and then nod once."),
        (SMILE_NOD, "They smile broadly, and after that they nod once."),
        (SMILE_NOD, "A broad smile from them; after a moment, a single nod."),
        (TIMED, "They smile broadly from 0.3 to 1.6 seconds, then nod once from 2.2 to 2.9 seconds."),
        (TIMED, "Between 0.3 and 1.6 s, they show a broad smile; from 2.2 to 2.9 s, one nod follows."),
        (TIMED, "They smile broadly, from 0.3 to 1.6 s, and nod once, from 2.2 to 2.9 s."),
        ("She glances left, then nods.", "Her eyes glance to the left and then she nods."),
        (WINK_TWIST, "First she winks with her left eye, and then she twists her mouth to the right."),
        ("A skeptical woman turns her head left.", "A woman looks skeptical, turning her head left."),
        ("A very angry woman nods twice.", "She nods twice with a very angry look."),
        ("She blinks 5 times.", "She blinks five times."),
        ("She nods three times.", "She nods thrice."),
        ("She does not blink.", "She is unblinking."),
        ("She does not blink.", "She never blinks."),
        ("She frowns deeply.", "She gives a deep frown."),
        ("They smile faintly and do not speak.", "They barely smile, saying nothing."),
        ("They smile and stay silent.", "They silently smile."),
    ],
)
def test_good_rewordings_are_kept(original, text):
    assert rewording.changed(original, text) == []


@pytest.mark.parametrize("style", [*caption.LENGTHS, "prompt", "full", "plain", "brief"])
def test_captions_keep_themselves(style):
    rng = np.random.default_rng(0)
    for seed in range(30):
        known = labels.of_score(prompts.sample(seed))
        text = caption.prompt(known, rng) if style == "prompt" else caption.describe(known, rng, style)
        assert rewording.changed(text, text, known) == [], text


def test_captions_told_the_other_way_round_are_refused():
    rng, turned = np.random.default_rng(0), 0
    for seed in range(200):
        said = re.split(r", then | and then ", caption.prompt(labels.of_score(prompts.sample(seed)), rng).rstrip("."))
        if len(said) == 2 and not re.search(r" (while|and|talking) |blink", " ".join(said)):
            turned += 1
            assert rewording.changed(", then ".join(said), ", then ".join(said[::-1])), said
    assert turned > 5

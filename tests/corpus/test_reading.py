"""What a text says, where captions of the corpus would say it otherwise: counts, strength, silence, order."""

import pytest

from tdmm_lm.corpus import labels, reading
from tdmm_lm.corpus.lexicon import lexicon


def test_a_text_with_the_mark_of_spans_in_it_is_read():
    said = reading.parse(f"From 0.3 to 1.6 s they smile{reading.HERE} broadly. {reading.HERE}")
    assert (said.family, said.spans) == ("joy", ((0.3, 1.6),))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("nods", 1), ("nods once", 1), ("gives one nod", 1), ("nods twice", 2), ("nods thrice", 3),
        ("nods 4 times", 4), ("nods five times", 5), ("gives six nods", 6), ("nods ten times", 10),
        ("nods 12 times", 12),
        ("nods a few times", reading.VAGUE), ("nods many times", reading.VAGUE), ("nods repeatedly", reading.VAGUE),
        ("nods over and over", reading.VAGUE), ("gives multiple nods", reading.VAGUE), ("keeps nodding", reading.VAGUE),
        ("a somewhat happy person nods", 1), ("someone nods twice", 2),
    ],
)
def test_counts(text, count):
    assert reading.parse(text).gestures == (("nod", count),)


@pytest.mark.parametrize(
    ("text", "blinks"),
    [
        ("blinks 5 times", 5), ("blinks five times", 5), ("blinks", 1), ("never blinks", 0), ("without blinking", 0),
        ("stares unblinkingly", 0), ("blinks several times", reading.VAGUE), ("barely blinks", reading.VAGUE),
        ("smiles", None),
    ],
)
def test_blinks(text, blinks):
    assert reading.parse(text).blinks == blinks


def test_a_vague_count_is_wrong_whatever_the_labels_say():
    text = reading.parse("They nod a few times and blink several times.")
    for count in range(6):
        known = labels.Labels(seconds=4, gestures=(labels.Moved(name="nod", count=count),), blinks=count)
        right = reading.agrees(text, known)
        assert (right["gesture"], right["count"], right["blinks"]) == (True, False, False)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("a broad smile", "strong"), ("a deep frown", "strong"), ("a huge grin", "strong"), ("a big laugh", "strong"),
        ("a tiny smile", "slight"), ("barely smiles", "slight"), ("hardly smiles", "slight"),
        ("a trace of a smile", "slight"), ("a soft smile", "slight"), ("smiles", ""), ("a clear smile", "clear"),
    ],
)
def test_levels(text, level):
    assert reading.parse(text).levels == (level,)


def test_the_name_of_an_expression_is_no_strength():
    assert reading.parse("smiles broadly").level == "strong"
    for word in lexicon().words.values():
        said = str(word.adjective or word.verb).replace("{their}", "their").replace("{side}", "left")
        assert reading.parse(f"They {said}.").level == "", said


@pytest.mark.parametrize(
    "text", ["silently", "in silence", "wordlessly", "saying nothing", "without a word", "not speaking", "not talking"]
)
def test_silence(text):
    assert reading.parse(f"They smile {text}.").speech_share == 0


def test_order_is_that_of_mention_with_sides_and_seconds():
    read = reading.parse(
        "From 0.3 to 1.6 s she winks with her left eye. She turns her head right, from 2 to 3 s, then glances up."
    )
    told = [(one.kind, one.name, one.side, one.span) for one in read.order]
    assert told == [
        ("family", "wink", "left", (0.3, 1.6)), ("gesture", "turn_right", "", (2.0, 3.0)), ("gaze", "up", "", None),
    ]

"""Only what may follow is allowed; the Lark grammar for vLLM says the same."""

import pytest

from tdmm_lm.lm.grammar import Answer, Ask, lark


def written(lm, ask, chosen=()):
    """An answer after the chosen tokens, each of which had to be allowed."""
    answer = Answer(lm.masks, ask)
    for token in chosen:
        assert answer.allowed()[token], token
        answer.push(token)
    return answer


def allowed(answer):
    return answer.allowed().nonzero()[:, 0].tolist()


def test_exact_length_books_in_turn(lm):
    kind, end = lm.vocab["face"], lm.tokenizer.eos_token_id
    answer = written(lm, Ask(frames=3))
    assert allowed(answer) == [kind.begin_id]
    answer.push(kind.begin_id)
    for _ in range(3):
        assert allowed(answer) == list(range(kind.first_id, kind.first_id + 70))
        answer.push(kind.first_id + 5)
        assert allowed(answer) == list(range(kind.first_id + 70, kind.first_id + 140))
        answer.push(kind.first_id + 71)
    assert allowed(answer) == [kind.end_id]
    answer.push(kind.end_id)
    assert allowed(answer) == [end]
    answer.push(end)
    assert answer.done
    assert answer.codes == [kind.first_id + 5, kind.first_id + 71] * 3


def test_bounds(lm):
    kind = lm.vocab["face"]
    frame = [kind.first_id, kind.first_id + 70]
    ask = Ask("motion", min_frames=2, max_frames=3)
    assert kind.end_id not in allowed(written(lm, ask, [kind.begin_id, *frame]))
    assert {kind.end_id, kind.first_id} <= set(allowed(written(lm, ask, [kind.begin_id, *frame * 2])))
    assert kind.end_id not in allowed(written(lm, ask, [kind.begin_id, *frame * 2, frame[0]]))
    assert allowed(written(lm, ask, [kind.begin_id, *frame * 3])) == [kind.end_id]


def test_words_only(lm):
    first = set(allowed(written(lm, Ask("text"))))
    word = lm.tokenizer("nods")["input_ids"][0]
    later = set(allowed(written(lm, Ask("text"), [word])))
    assert word in first
    assert lm.tokenizer.eos_token_id not in first  # an answer says something
    assert lm.tokenizer.eos_token_id in later
    kind = lm.vocab["face"]
    forbidden = {kind.begin_id, kind.end_id, kind.first_id, kind.first_id + 139, lm.tokenizer.pad_token_id}
    forbidden |= set(lm.tokenizer.convert_tokens_to_ids(["<|user|>", "<|assistant|>", "<|system|>"]))
    assert not forbidden & (first | later)
    assert max(later) < len(lm.tokenizer) < lm.model.config.vocab_size


def test_the_model_chooses_only_at_the_start(lm):
    kind, word = lm.vocab["face"], lm.tokenizer("nods")["input_ids"][0]
    assert {kind.begin_id, word} <= set(allowed(written(lm, Ask())))
    assert kind.begin_id not in allowed(written(lm, Ask(), [word]))
    assert kind.begin_id not in allowed(written(lm, Ask(modalities=())))


@pytest.mark.parametrize(("given", "said"), [
    ({"frames": 0}, "expected 1 or more, got 0"), ({"frames": 9, "form": "text"}, "got 9 for text"),
    ({"min_frames": 5, "max_frames": 4}, "1 <= min <= max, got 5 and 4"),
    ({"form": "motion", "modalities": ()}, "one for a motion, got none"),
])
def test_asks_that_make_no_sense(given, said):
    with pytest.raises(ValueError, match="expected") as error:
        Ask(**given)
    assert said in str(error.value)


def test_lark(lm):
    kind = lm.vocab["face"]
    a = kind.first_id
    assert lark(lm.vocab, 100) == (
        f"start: <[{kind.begin_id}]> f{{100}} <[{kind.end_id}]>\nf: <[{a}-{a + 69}]> <[{a + 70}-{a + 139}]>\n"
    )
    assert "f{25,250}" in lark(lm.vocab, None)
    with pytest.raises(ValueError, match="1 or more, got 0"):
        lark(lm.vocab, 0)

"""Conversations become ids with the answers marked, and packed rows lose nothing."""

import numpy as np
import pytest

from tdmm_lm.lm import data, tasks, vocab

CODES = np.stack([np.arange(30), np.arange(30)[::-1]], 1)
TALK = [
    {"role": "user", "content": "a woman smiles [1.2 s]"},
    {"role": "assistant", "content": vocab.text(CODES)},
    {"role": "user", "content": f"now frowns {vocab.text(CODES[:2])} please"},
    {"role": "assistant", "content": "she nods"},
]


def test_the_same_ids_as_tokenizing_everything(tiny):
    _, tokenizer, grown = tiny
    plain = tokenizer.apply_chat_template(TALK, return_dict=False)
    encoded = data.encode(TALK, tokenizer, grown)
    assert encoded.ids.tolist() == plain
    assert data.prompt(TALK[:1], tokenizer, grown) == tokenizer.apply_chat_template(
        TALK[:1], add_generation_prompt=True, return_dict=False
    )


def test_answers_are_what_the_assistant_says_with_its_end(tiny):
    _, tokenizer, grown = tiny
    encoded = data.encode(TALK, tokenizer, grown)
    said = encoded.ids[encoded.answers == 1].tolist()
    end = tokenizer.eos_token_id
    assert said == [*vocab.ids(CODES, grown), end, *tokenizer(TALK[3]["content"])["input_ids"], end]


def test_a_template_that_rewrites_is_refused(tiny):
    _, tokenizer, grown = tiny
    tokenizer.chat_template = "{{ messages | length }}" + tokenizer.chat_template
    with pytest.raises(ValueError, match="one that only appends turns"):
        data.encode(TALK, tokenizer, grown)


def test_packing_keeps_every_token_once():
    random = np.random.default_rng(0)
    sizes = random.integers(5, 60, 900)
    examples = [data.Encoded(np.full(n, i), np.arange(n) % 2) for i, n in enumerate(sizes)]
    rows = list(data.pack(examples, 64, pad_id=-7))
    seen: dict[int, int] = {}
    for row in rows:
        assert len(row["input_ids"]) == len(row["position_ids"]) == len(row["answers"]) == 64
        for token, position, answer in zip(*row.values()):
            if answer == -1:
                assert token == -7
            else:
                assert position == seen.get(token, 0)  # in order from 0, so a conversation lies whole in one row
                seen[token] = position + 1
                assert answer == position % 2
    assert seen == dict(enumerate(sizes))
    assert sum(sizes) / (64 * len(rows)) > 0.9
    assert list(data.pack(examples, 4, 0)) == []


def test_positions_keep_packed_conversations_apart(tiny):
    """What transformers makes of `position_ids`: a packed conversation's logits are those it has alone."""
    import torch

    model, tokenizer, grown = tiny
    alone = data.encode(TALK[2:], tokenizer, grown)
    other = data.encode(TALK[:2], tokenizer, grown)
    row = next(data.pack([other, alone], 256, 0))
    with torch.no_grad():
        ids, positions = torch.tensor([row["input_ids"]]), torch.tensor([row["position_ids"]])
        packed = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0]
        single = model(input_ids=torch.from_numpy(alone.ids)[None]).logits[0]
    start = len(other.ids)
    torch.testing.assert_close(packed[start : start + len(alone.ids)], single, atol=1e-4, rtol=1e-4)


def test_rows_become_the_same_conversations_again(tiny):
    _, _, grown = tiny
    asked = {"d": (1, ["$motion a", "$motion b"], "$text"), "p": (3, "$prompt$hint", "$motion")}
    known = {name: tasks.Task.model_validate({"weight": weight, "messages": [
        {"role": "user", "content": user}, {"role": "assistant", "content": answer}
    ]}) for name, (weight, user, answer) in asked.items()}
    rows = [
        {"id": str(i), "texts": ["x", "y"], "prompts": ["z"] if i % 2 else [], "codes": CODES.ravel().tolist()}
        for i in range(40)
    ]

    def made(seed, per_row=2, rows=rows):
        return list(data.conversations(rows, known, kind=grown["face"], per_row=per_row, seed=seed))

    assert made(1) == made(1) != made(2)
    assert len(made(1, per_row=1)) == len(rows)
    for row in rows:
        talks = made(1, per_row=8, rows=[row])
        assert len(talks) < 8
        assert all(talks.count(talk) == 1 for talk in talks)  # the same words once a row
    firsts = [talk[0]["content"].startswith("z [1.2 s]") for talk in made(1, per_row=1)]
    assert sum(firsts) > 10

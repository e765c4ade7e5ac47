"""What the untrained tiny model writes has the asked form, is the same for the same seed, and comes in pieces."""

import shutil

import numpy as np
import pytest
import torch

from tdmm_lm import codec
from tdmm_lm.lm import data, extend, generate, vocab
from tdmm_lm.lm.grammar import Ask

CODES = np.stack([np.arange(40), np.arange(40)[::-1]], 1)
ASK = [{"role": "user", "content": "a woman smiles"}]


def test_exact_frames_and_seeds(lm):
    once, again, other = (generate.perform(lm, "a woman nods", 31, seed=seed) for seed in (1, 1, 2))
    assert once.shape == (31, 2)
    assert once.dtype == np.int64
    assert 0 <= once.min() <= once.max() < 70
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()


def test_without_frames_the_length_is_bounded(lm):
    for codes in generate.perform_batch(lm, ["a man nods", "smiles", "blinks slowly"], [None] * 3):
        assert 25 <= len(codes) <= 250


def test_a_batch_answers_as_one_by_one(lm):
    prompts, frames = ["a woman nods", "slowly looks up left the head", "s"], [20, 33, 20]
    batch = generate.perform_batch(lm, prompts, frames, seeds=[4, 5, 6])
    for prompt, n, seed, codes in zip(prompts, frames, (4, 5, 6), batch):
        assert (codes == generate.perform(lm, prompt, n, seed=seed)).mean() > 0.9  # but for rounding
    motions = [CODES, CODES[:13], CODES[5:9]]
    assert generate.describe_batch(lm, motions) == [generate.describe(lm, codes) for codes in motions]


def test_guidance_leads_from_an_improvisation_to_the_prompt(lm):
    def performed(prompt, guidance):
        return generate.perform_batch(lm, [prompt, prompt], [30, None], seeds=[1, 2], guidance=guidance)

    def agree(one, other):
        return np.mean([(a == b).mean() if a.shape == b.shape else 0 for a, b in zip(one, other)])

    prompt = "a woman nods"
    assert agree(performed(prompt, 0.0), performed(generate.FREE, 1.0)) > 0.9  # but for rounding
    assert agree(performed(prompt, 1.0 + 1e-6), performed(prompt, 1.0)) > 0.9
    assert agree(performed(prompt, 4.0), performed(prompt, 1.0)) < 0.9


def test_guidance_is_for_one_turn(lm):
    def said(messages, guidance):
        pieces = list(generate.reply(lm, messages, ask=Ask("motion", 30), guidance=guidance, seed=3))
        return np.concatenate([piece.codes for piece in pieces if isinstance(piece, generate.Codes)])

    moved = [{"role": "user", "content": f"{vocab.text(CODES)} now frowns"}]
    for messages in (ASK, moved):
        assert (said(messages, 4.0) != said(messages, 1.0)).any()
    later = [*ASK, {"role": "assistant", "content": vocab.text(CODES)}, {"role": "user", "content": "now frowns"}]
    np.testing.assert_array_equal(said(later, 4.0), said(later, 1.0))


def test_greedy_words_are_those_of_transformers(lm):
    """The cache, padding and masks of `sample` against a plain loop over the whole sequence."""
    prompt = data.prompt([{"role": "user", "content": f"{vocab.text(CODES)} describe"}], lm.tokenizer, lm.vocab)
    ids = list(prompt)
    with torch.no_grad():
        for step in range(12):
            logits = lm.model(input_ids=torch.tensor([ids])).logits[0, -1]
            allowed = lm.masks.text if not step else lm.masks.text | lm.masks.end
            ids.append(int(logits.masked_fill(~allowed, -torch.inf).argmax()))
    expected = lm.tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)
    assert generate.describe(lm, CODES, "describe").startswith(expected.strip())


def test_a_long_motion_is_told_in_parts(lm):
    long = np.tile(CODES, (9, 1))[:301]  # 12.04 s
    told = generate.describe(lm, long).split("\n")
    assert [line.split(": ")[0] for line in told] == ["0.0 to 4.0 s", "4.0 to 8.0 s", "8.0 to 12.0 s"]
    assert told[1] == f"4.0 to 8.0 s: {generate.describe(lm, long[101:201])}"
    assert " s: " not in generate.describe(lm, long[:240])


def test_edit(lm):
    assert generate.edit(lm, CODES, "now frowns", 40).shape == (40, 2)


def test_pieces_of_a_motion(lm):
    *pieces, finish = generate.reply(lm, ASK, ask=Ask(frames=30), seed=3)
    assert all(isinstance(piece, generate.Codes) and piece.codes.shape == (1, 2) for piece in pieces)
    assert (len(pieces), finish.reason, finish.motion_tokens, finish.completion_tokens) == (30, "stop", 60, 63)
    assert finish.prompt_tokens == len(data.prompt(ASK, lm.tokenizer, lm.vocab))


def test_pieces_of_words(lm):
    *pieces, finish = generate.reply(lm, ASK, ask=Ask("text"), temperature=0, max_tokens=9)
    assert all(isinstance(piece, generate.Text) and piece.text for piece in pieces)
    assert (finish.reason, finish.completion_tokens) == ("length", 9)
    whole = "".join(piece.text for piece in pieces)
    assert generate.describe_batch(lm, [CODES])[0] != ""
    assert whole == whole.lstrip("\ufffd")


def test_words_have_an_end(lm):
    *_, finish = generate.reply(lm, ASK, ask=Ask("text"), temperature=1.5, seed=2)
    assert finish.completion_tokens <= generate.MAX_WORDS


def test_chances():
    logits = torch.log(torch.tensor([[0.1, 0.6, 0.3]])).repeat(5, 1)
    draws = torch.tensor([0.0, 0.59, 0.61, 0.89, 0.999])
    assert generate.pick(logits, 1.0, draws).tolist() == [1, 1, 2, 2, 0]
    assert generate.pick(logits, 0.85, draws).tolist() == [1, 1, 1, 2, 2]  # of 0.9 only the first two remain
    assert generate.pick(logits, 0.01, draws).tolist() == [1] * 5
    draws = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    many = generate.pick(logits[:1].repeat(20_000, 1), 1.0, draws)
    np.testing.assert_allclose(np.bincount(many.numpy()) / 20_000, [0.1, 0.6, 0.3], atol=0.012)


def test_a_conversation_that_is_too_long(lm):
    with pytest.raises(ValueError, match="conversation: expected under 512 tokens, got"):
        list(generate.reply(lm, [{"role": "user", "content": "nods " * 600}], ask=Ask()))


def test_loading_checks_everything(tiny, codec_folder, tmp_path):
    model, tokenizer, grown = tiny
    folder = tmp_path / "lm"
    extend.save(model, tokenizer, grown, folder, {"face": codec_folder})
    loaded = generate.load(folder)
    saved = codec.load(folder / "codec_face")
    torch.testing.assert_close(loaded.codec().codebook(), saved.codebook())
    torch.testing.assert_close(loaded.model.lm_head.weight, model.lm_head.weight)
    np.testing.assert_array_equal(
        generate.perform(loaded, "a man", 12, seed=1), generate.perform(generate.assembled(*tiny), "a man", 12, seed=1)
    )
    weights = folder / "codec_face" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="expected the face codec that this model was trained with"):
        generate.load(folder)
    with pytest.raises(FileNotFoundError, match="expected a model folder"):
        generate.load(tmp_path / "nowhere")
    shutil.rmtree(folder / "codec_face")  # then the bundled codec must be the same, and is not
    with pytest.raises(ValueError, match="expected the face codec that this model was trained with"):
        generate.load(folder).codec()
    kind = grown["face"].model_copy(update={"first_id": grown["face"].first_id + 1})
    with pytest.raises(ValueError, match=r"expected face tokens where motion_vocab.json says"):
        generate.assembled(model, tokenizer, vocab.MotionVocab(modalities={"face": kind}))

"""Ask a grown language model: words about a motion, a motion for words, one answer in pieces or many at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tdmm_lm import bundle, codec
from tdmm_lm.lm import data, tasks, vocab
from tdmm_lm.lm.grammar import Answer, Ask, Masks
from tdmm_lm.lm.grammar import lark as lark_grammar

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "LM", "Codes", "Finish", "Text", "describe", "describe_batch", "edit", "lark_grammar", "load", "perform",
    "perform_batch", "reply",
]

QUESTION = "Describe this motion."
MAX_WORDS = 120  # text tokens in an answer
BATCH = 64  # prompts sampled together
TEMPERATURE = 0.9  # of motion; with top_p under 1 a face that rests would rest on: each moment to begin is unlikely
GUIDANCE = 1.6  # of motion for one prompt: how far the prompt is held to (1: as the model was trained)
FREE = "Improvise."  # the prompt that asks for nothing, `recipes/tasks/improvise.yaml`
PART = 5.0  # seconds of a long motion that are described at a time


@dataclass(frozen=True)
class LM:
    """A model that knows motion tokens, with what is needed to talk to it."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    vocab: vocab.MotionVocab
    masks: Masks
    folder: Path

    def codec(self, modality: str = "face") -> codec.Codec:
        """The codec that the model was trained with: the one in its folder, else the bundled one if it is the same.

        Raises:
            ValueError: neither is.
        """
        inside = self.folder / self.vocab[modality].codec
        found = inside if inside.is_dir() else bundle.path(f"tokenizers/{modality}")
        vocab.match(self.vocab, modality, codec.weights_sha256(found), str(found))
        return codec.load(found)


@dataclass(frozen=True)
class Text:
    """A piece of the answer's words."""

    text: str


@dataclass(frozen=True)
class Codes:
    """Code frames of the answer's motion, in order."""

    codes: Int[np.ndarray, "frames books"]
    modality: str = "face"


@dataclass(frozen=True)
class Finish:
    """The end of an answer: ``length`` where words were cut, and what it cost in tokens."""

    reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int
    motion_tokens: int


Piece = Text | Codes | Finish


def load(folder: str | Path) -> LM:
    """A model folder, in float32 and evaluation mode; codecs that lie in it must be the ones it was trained with.

    Raises:
        FileNotFoundError: no such folder, or no `motion_vocab.json` in it.
        ValueError: a codec of other weights, or a vocabulary that does not fit the tokenizer.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # loading a small model needs none
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a model folder, found none.")
    grown = vocab.load(folder)
    for modality, kind in grown.modalities.items():
        inside = folder / kind.codec
        if inside.is_dir():
            vocab.match(grown, modality, codec.weights_sha256(inside), str(inside))
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}: expected a Hugging Face causal LM; {' '.join(str(error).split())}") from None
    return assembled(model.eval(), tokenizer, grown, folder)


def assembled(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", grown: vocab.MotionVocab, folder: str | Path = "."
) -> LM:
    """An `LM` from its parts, checked against each other."""
    for modality, kind in grown.modalities.items():
        expected = vocab.names(modality, kind.books, kind.codebook_size)
        found = tokenizer.convert_tokens_to_ids([expected[0], expected[1], expected[2], expected[-1]])
        if found != [kind.begin_id, kind.end_id, kind.first_id, kind.first_id + kind.codes - 1]:
            raise ValueError(f"{folder}: expected {modality} tokens where {vocab.FILE} says, found them at {found}.")
    return LM(model, tokenizer, grown, Masks(grown, tokenizer, model.config.vocab_size), Path(folder))


def reply(
    lm: LM, messages: data.Messages, *, ask: Ask, max_tokens: int | None = None, temperature: float = 1.0,
    top_p: float = 1.0, seed: int = 0, guidance: float = 1.0,
) -> Iterator[Piece]:
    """The answer to a conversation, piece by piece, a `Finish` at the end; temperature 0 is greedy.

    The conversation's contents hold motion as `vocab.text` spells it. ``guidance`` over 1 holds a motion asked for in
    one turn closer to what the turn says, words or a motion to change (see `sample`).

    Raises:
        ValueError: a broken motion in the conversation, or one too long for the model.
    """
    prompt = data.prompt(messages, lm.tokenizer, lm.vocab)
    limit = _room(lm, [prompt], max_tokens)
    answer = Answer(lm.masks, ask)
    said, shown = "", 0
    free = _free(lm, messages, ask.frames) if ask.form == "motion" and guidance != 1 else None
    for _ in sample(
        lm, [prompt], [answer], temperature=temperature, top_p=top_p, seeds=[seed], limit=limit,
        free=[free], guidance=guidance if free else 1.0,
    ):
        if answer.modality is not None:
            books = lm.vocab[answer.modality].books
            if len(answer.codes) - shown >= books:
                until = len(answer.codes) // books * books
                yield Codes(vocab.codes(answer.codes[shown:until], lm.vocab, answer.modality), answer.modality)
                shown = until
        elif not answer.done:
            words = _words(lm, answer)
            if len(words) > len(said) and not words.endswith("\ufffd"):
                yield Text(words[len(said) :])
                said = words
    whole = answer.done and not answer.cut
    yield Finish("stop" if whole else "length", len(prompt), len(answer.tokens), len(answer.codes))


def describe(
    lm: LM, codes: Int[np.ndarray, "n books"], question: str | None = None, *, temperature: float = 0.0
) -> str:
    """A motion in words, or the answer to a question about it.

    What is longer than a model has seen (10 s) is told in equal parts of about `PART` seconds, a line each.
    """
    fps = lm.vocab["face"].code_fps
    if len(codes) <= vocab.SECONDS[1] * fps:
        return describe_batch(lm, [codes], question, temperature=temperature)[0]
    parts = np.array_split(codes, -(-len(codes) // round(PART * fps)))
    ends = np.cumsum([len(part) for part in parts]) / fps
    told = describe_batch(lm, parts, question, temperature=temperature)
    starts = [0.0, *ends[:-1]]
    return "\n".join(f"{start:.1f} to {end:.1f} s: {text}" for start, end, text in zip(starts, ends, told))


def describe_batch(
    lm: LM, motions: Sequence[Int[np.ndarray, "n books"]], question: str | None = None, *, temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Every motion in words."""
    content = [f"{vocab.text(codes)} {question or QUESTION}" for codes in motions]
    answers = _answers(lm, content, [Ask("text")] * len(content), temperature, 1.0, [seed] * len(content))
    return [_words(lm, answer).strip() for answer in answers]


def perform(
    lm: LM, prompt: str, frames: int | None = None, *, seed: int = 0, temperature: float = TEMPERATURE,
    top_p: float = 1.0, guidance: float = GUIDANCE,
) -> Int[np.ndarray, "n books"]:
    """A motion for a prompt: exactly ``frames`` long, or as long as the model finds right (1 to 10 s)."""
    return perform_batch(
        lm, [prompt], [frames], seeds=[seed], temperature=temperature, top_p=top_p, guidance=guidance
    )[0]


def perform_batch(
    lm: LM, prompts: Sequence[str], frames: Sequence[int | None], *, seeds: Sequence[int] | None = None,
    temperature: float = TEMPERATURE, top_p: float = 1.0, modality: str = "face", guidance: float = GUIDANCE,
) -> list[Int[np.ndarray, "n books"]]:
    """A motion for every prompt; ``guidance`` as in `sample`."""
    fps = lm.vocab[modality].code_fps
    content = [tasks.timed(text, None if n is None else n / fps) for text, n in zip(prompts, frames, strict=True)]
    asks = [Ask("motion", n, modalities=(modality,)) for n in frames]
    seeds = list(seeds or range(len(content)))
    answers = _answers(lm, content, asks, temperature, top_p, seeds, guidance)
    return [vocab.codes(answer.codes, lm.vocab, modality) for answer in answers]


def edit(
    lm: LM, codes: Int[np.ndarray, "n books"], instruction: str, frames: int | None = None, *, seed: int = 0,
    temperature: float = TEMPERATURE, top_p: float = 1.0, guidance: float = GUIDANCE,
) -> Int[np.ndarray, "n books"]:
    """A motion changed as the instruction says."""
    return edit_batch(
        lm, [codes], [instruction], [frames], seeds=[seed], temperature=temperature, top_p=top_p, guidance=guidance
    )[0]


def edit_batch(
    lm: LM, motions: Sequence[Int[np.ndarray, "n books"]], instructions: Sequence[str], frames: Sequence[int | None], *,
    seeds: Sequence[int] | None = None, temperature: float = TEMPERATURE, top_p: float = 1.0,
    guidance: float = GUIDANCE,
) -> list[Int[np.ndarray, "n books"]]:
    """Every motion changed as its instruction says; ``guidance`` as in `sample`, towards motion and instruction."""
    content = [f"{vocab.text(codes)} {text}" for codes, text in zip(motions, instructions, strict=True)]
    asks = [Ask("motion", n) for n in frames]
    answers = _answers(lm, content, asks, temperature, top_p, list(seeds or range(len(content))), guidance)
    return [vocab.codes(answer.codes, lm.vocab) for answer in answers]


def _words(lm: LM, answer: Answer) -> str:
    return str(lm.tokenizer.decode(answer.tokens, skip_special_tokens=True))


def _answers(
    lm: LM, contents: list[str], asks: list[Ask], temperature: float, top_p: float, seeds: list[int],
    guidance: float = 1.0,
) -> list[Answer]:
    """Answers to one-turn conversations, in batches of neighbours in length; results in the order of the questions."""
    talks: list[data.Messages] = [[{"role": "user", "content": content}] for content in contents]
    prompts = [data.prompt(talk, lm.tokenizer, lm.vocab) for talk in talks]
    free = [_free(lm, talk, ask.frames) for talk, ask in zip(talks, asks)] if guidance != 1 else []
    answers = [Answer(lm.masks, ask) for ask in asks]
    order = sorted(range(len(prompts)), key=lambda i: (asks[i].frames or 0, len(prompts[i])))
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        limit = _room(lm, [prompts[i] for i in batch], None)
        for _ in sample(
            lm, [prompts[i] for i in batch], [answers[i] for i in batch], temperature=temperature, top_p=top_p,
            seeds=[seeds[i] for i in batch], limit=limit, free=[free[i] for i in batch] if free else None,
            guidance=guidance,
        ):
            pass
    return answers


def _free(lm: LM, messages: data.Messages, frames: int | None) -> list[int] | None:
    """The same conversation asking for nothing, as ids; None where it is more than one turn."""
    before = messages[:-1]
    if any(message["role"] != "system" for message in before):
        return None
    seconds = None if frames is None else frames / next(iter(lm.vocab.modalities.values())).code_fps
    return data.prompt([*before, {"role": "user", "content": tasks.timed(FREE, seconds)}], lm.tokenizer, lm.vocab)


@torch.inference_mode()
def sample(
    lm: LM, prompts: list[list[int]], answers: list[Answer], *, temperature: float, top_p: float, seeds: list[int],
    limit: int, free: list[list[int] | None] | None = None, guidance: float = 1.0,
) -> Iterator[None]:
    """Write the answers a token a step, all at once, until every one is done; words stop at `MAX_WORDS`.

    Every answer has a chance of its own from its seed, so its company in the batch does not change it
    (but for rounding). With ``free``, prompts that ask for nothing, the score of a token is the free prompt's and
    ``guidance`` times what the prompt adds (classifier-free guidance, Ho and Salimans 2022, arXiv:2207.12598).
    """
    from transformers import DynamicCache

    device, guided = lm.model.device, bool(free) and guidance != 1
    if guided:
        prompts = [*prompts, *(other or prompt for other, prompt in zip(free or [], prompts))]
    longest = max(map(len, prompts))
    pad = lm.masks.end_id
    ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
    attention = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    positions = (attention.cumsum(-1) - 1).clamp_min(0)
    chances = [torch.Generator().manual_seed(seed) for seed in seeds]
    cache = DynamicCache(config=lm.model.config)
    # renamed between transformers 5.19 and 5.24, which warns of the older name
    remembered = "cache" if "cache" in signature(lm.model.forward).parameters else "past_key_values"
    for _ in range(limit):
        out = lm.model(
            input_ids=ids, attention_mask=attention, position_ids=positions, use_cache=True, logits_to_keep=1,
            **{remembered: cache},
        )
        allowed = torch.stack([answer.allowed() for answer in answers])
        logits = out.logits[:, -1].float().cpu()
        if guided:
            asked, unasked = logits.log_softmax(-1).chunk(2)
            logits = unasked + guidance * (asked - unasked)
        logits = logits.masked_fill(~allowed, -torch.inf)
        if temperature == 0:
            chosen = logits.argmax(-1)
        else:
            draws = torch.stack([torch.rand((), generator=chance) for chance in chances])
            chosen = pick(logits / temperature, top_p, draws)
        for answer, token in zip(answers, chosen.tolist()):
            answer.push(token)
            if answer.modality is None and len(answer.tokens) >= MAX_WORDS:
                answer.done = answer.cut = True
        yield
        if all(answer.done for answer in answers):
            return
        ids = (torch.cat([chosen, chosen]) if guided else chosen)[:, None].to(device)
        attention = torch.cat([attention, attention.new_ones(len(prompts), 1)], 1)
        positions = positions[:, -1:] + 1


def pick(logits: Float[Tensor, "b v"], top_p: float, draws: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
    """A token a row, from the smallest set that holds ``top_p`` of the chance: inverted at the draw."""
    chances, order = torch.sort(logits.softmax(-1), dim=-1, descending=True, stable=True)
    before = chances.cumsum(-1) - chances
    kept = torch.where(before < top_p, chances, 0.0)
    total = kept.cumsum(-1)
    place = torch.searchsorted(total, draws[:, None] * total[:, -1:], right=True).clamp_max(logits.shape[1] - 1)
    place = torch.minimum(place, (kept > 0).sum(-1, keepdim=True) - 1)
    return order.gather(-1, place)[:, 0]


def _room(lm: LM, prompts: list[list[int]], max_tokens: int | None) -> int:
    """How many tokens may follow.

    Raises:
        ValueError: the conversation leaves no room.
    """
    limit, longest = lm.model.config.max_position_embeddings, max(map(len, prompts))
    room = limit - longest
    if room < 1:
        raise ValueError(f"conversation: expected under {limit} tokens, got {longest}.")
    return room if max_tokens is None else min(room, max_tokens)

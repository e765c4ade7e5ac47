"""Does a performer do what is asked however it is asked: paraphrases, one word changed, left for right, other lengths,
several actions at once (users' complaints about every public system; MDM, T2M-GPT, MoMask).

Every probe is some prompts that belong together and form one cluster; its figure is the share of probes that pass.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import Field

from tdmm_lm.corpus import caption, labels, prompts
from tdmm_lm.corpus.labels import Labels
from tdmm_lm.eval.suites import Answered, Column, Item, OfSamples, l2m, of_values

candidate, told, local, vectors = l2m.candidate, l2m.told, l2m.local, l2m.vectors
SHARE = "share"
KINDS = ("paraphrase", "swap", "mirror", "length", "several")
EXACT = ("expression_l2", "pose_l2", "tok")  # need a performance, which probes have not
COLUMNS = {name: column for name, column in l2m.COLUMNS.items() if name not in EXACT}
SETS = {
    "paraphrase": Column(SHARE, "higher", "three wordings of one prompt: family and gesture right in all"),
    "swap": Column(SHARE, "higher", "one word changed: both faces as asked"),
    "mirror": Column(SHARE, "higher", "a held head gesture to the left and to the right: both as asked"),
    "length": Column(SHARE, "higher", "2, 4 and 8 seconds asked for: within one frame, the same family"),
    "several": Column(SHARE, "higher", "two expressions in order and a head gesture: all there"),
}
WORDINGS, LENGTHS = 3, (2.0, 4.0, 8.0)
HELD = {"tilt_left": "tilt_right", "turn_left": "turn_right"}


class Data(l2m.Data):
    """``n`` probes of each kind; ``swaps`` is not used."""

    n: int = Field(50, ge=1)
    kinds: tuple[str, ...] = KINDS


def items(data: Data, seed: int) -> Iterator[Item]:
    """All prompts of all probes.

    Raises:
        ValueError: an unknown kind.
    """
    unknown = set(data.kinds) - set(KINDS)
    if unknown:
        raise ValueError(f"data.kinds: expected any of {', '.join(KINDS)}, got {', '.join(sorted(unknown))}.")
    for kind in data.kinds:
        found, number = 0, seed * 1_000_003 + 600_000 + 20_000 * KINDS.index(kind)
        while found < data.n:
            number += 1
            probe = _probe(kind, number, data)
            if not probe:
                continue
            found += 1
            for place, (text, known) in enumerate(probe):
                options = dict(data.options) | ({"motion": {"seconds": known.seconds}} if data.seconds else {})
                message = [{"role": "user", "content": text}]
                yield Item(f"{kind}-{number}-{place}", f"{kind}-{number}", message, options, text, known)


def _probe(kind: str, number: int, data: Data) -> list[tuple[str, Labels]]:
    """Prompts and what each asks for; none where the draw does not fit the kind."""
    if kind == "swap":
        return l2m.swapped(number, data.words) or []
    seconds = 4.0 if kind in ("mirror", "several", "length") else None
    known = labels.of_score(prompts.sample(number, split="test", words=data.words, seconds=seconds))
    rngs = [np.random.default_rng([number, place]) for place in range(WORDINGS)]
    if kind == "paraphrase":
        texts = [caption.prompt(known, rng, split="test") for rng in rngs]
        return [(text, known) for text in texts] if len(set(texts)) == WORDINGS else []
    if kind == "several":
        fits = len(known.shown) == 2 and len(known.gestures) == 1
        return [(caption.prompt(known, rngs[0], split="test"), known)] if fits else []
    if kind == "length":
        if len(known.shown) != 1 or known.gestures:
            return []
        text = caption.prompt(known, rngs[0], split="test")
        return [(text, known.model_copy(update={"seconds": length})) for length in LENGTHS]
    if known.gesture not in HELD or len(known.gestures) != 1:
        return []
    other = known.model_copy(update={
        "gesture": HELD[known.gesture],
        "gestures": (known.gestures[0].model_copy(update={"name": HELD[known.gesture]}),),
    })
    return [(caption.prompt(one, np.random.default_rng([number, 7]), split="test"), one) for one in (known, other)]


def scored(item: Item, answer: Answered, data: Data) -> dict[str, float | None]:
    """The columns of l2m, but for distances."""
    found = l2m.scored(item, answer, data)
    return {name: found[name] for name in COLUMNS}


def _passes(kind: str, item: Item, answer: Answered, columns: dict[str, float | None]) -> bool:
    if answer.clip is None:
        return False
    family, gesture = bool(columns["family"]), bool(columns["gesture"])
    if kind == "length":
        return family and abs(answer.clip.frames - item.truth.seconds * answer.clip.fps) <= 1
    wanted = {"paraphrase": family and gesture, "swap": family, "mirror": gesture}
    return wanted[kind] if kind in wanted else bool(columns["transition"]) and gesture


def sets(items: Sequence[Item], answers: Sequence[Answered], data: Data) -> dict[str, OfSamples]:
    """A probe passes where all its prompts do; it counts once, at its last prompt."""
    good: dict[str, list[bool]] = {}
    last: dict[str, int] = {}
    for place, (item, answer) in enumerate(zip(items, answers)):
        kind = item.id.split("-")[0]
        good.setdefault(item.cluster, []).append(_passes(kind, item, answer, scored(item, answer, data)))
        last[item.cluster] = place
    result: dict[str, OfSamples] = {}
    for kind in data.kinds:
        values = np.full(len(items), np.nan)
        for cluster, place in last.items():
            if cluster.startswith(f"{kind}-"):
                values[place] = float(all(good[cluster]))
        if np.isfinite(values).any():
            result[kind] = of_values(values)
    return result

"""Instructions that change a performance: a score, what somebody says to it, and the score after it.

The seed stays, so the same person does all else the same way; only what is asked for changes.
"""

import numpy as np

from tdmm_lm.corpus import labels, prompts
from tdmm_lm.corpus.caption import EMOTIONS, gesture
from tdmm_lm.corpus.lexicon import lexicon
from tdmm_lm.corpus.score import Expression, HeadMove, Score
from tdmm_lm.corpus.wordings import conjugate, tidy, wordings
from tdmm_lm.observe import FAMILIES

KINDS = ("stronger", "weaker", "comparative", "word", "gesture", "no_gesture", "no_blinks")
CHANCES = np.array([0.15, 0.13, 0.12, 0.27, 0.21, 0.06, 0.06])
STEP = 0.25  # the least by which a stronger or weaker expression differs


def comparative(adjective: str) -> str:
    """angrier, sadder, more annoyed."""
    if adjective in ("sad", "calm"):
        return {"sad": "sadder", "calm": "calmer"}[adjective]
    return adjective[:-1] + "ier" if adjective.endswith("y") and len(adjective) < 7 else f"more {adjective}"


def edit(score: Score, rng: np.random.Generator, *, split: str = "train") -> tuple[str, Score]:
    """An instruction and the score that follows it: ("make it a frown", ...), ("now nod twice instead", ...)."""
    makers = {
        "stronger": _scaled,
        "weaker": _scaled,
        "comparative": _comparative,
        "word": _word,
        "gesture": _gesture,
        "no_gesture": _still,
        "no_blinks": _unblinking,
    }
    for kind in rng.choice(KINDS, len(KINDS), replace=False, p=CHANCES / CHANCES.sum()):
        made = makers[str(kind)](score, rng, split, str(kind))
        if made:
            text = tidy(made[0])
            return text[0].upper() + text[1:] + "." if rng.random() < 0.2 else text, made[1]
    raise AssertionError("a gesture can always be asked for")


def _say(kind: str, rng: np.random.Generator, split: str) -> str:
    return wordings().edits[kind].pick(rng, split, kept=1.0)


def _main(score: Score) -> int | None:
    """The place of the strongest expression, None for a neutral face."""
    places = [i for i, e in enumerate(score.expressions) if lexicon().word(e.word).family != "neutral"]
    return max(places, key=lambda i: score.expressions[i].intensity) if places else None


def _with(score: Score, place: int, expression: Expression) -> Score:
    shown = list(score.expressions)
    shown[place] = expression
    return score.model_copy(update={"expressions": tuple(shown)})


def _scaled(score: Score, rng: np.random.Generator, split: str, kind: str) -> tuple[str, Score] | None:
    place = _main(score)
    if place is None or len(score.expressions) > 1:
        return None
    now = score.expressions[place]
    low, high = max(0.3, lexicon().word(now.word).intensity[0]), lexicon().word(now.word).intensity[1]
    low, high = (now.intensity + STEP, high) if kind == "stronger" else (low, now.intensity - STEP)
    if low > high:
        return None
    intensity = round(float(rng.uniform(low, high)), 2)
    return _say(kind, rng, split), _with(score, place, now.model_copy(update={"intensity": intensity}))


def _comparative(score: Score, rng: np.random.Generator, split: str, kind: str) -> tuple[str, Score] | None:
    place = _main(score)
    if place is None or len(score.expressions) > 1:
        return None
    now = score.expressions[place]
    word = lexicon().word(now.word)
    if word.family not in EMOTIONS or now.intensity + STEP > 1:
        return None
    adjectives = [a for name in lexicon().of_family(word.family) if (a := lexicon().word(name).adjective)]
    adjective = word.adjective or str(rng.choice(adjectives))
    louder = now.model_copy(update={"intensity": round(float(rng.uniform(now.intensity + STEP, 1.0)), 2)})
    return _say(kind, rng, split).replace("{comparative}", comparative(adjective)), _with(score, place, louder)


def _word(score: Score, rng: np.random.Generator, split: str, kind: str) -> tuple[str, Score] | None:
    if len(score.expressions) != 1:
        return None
    now = score.expressions[0]
    busy = prompts.SILENT if score.speech or score.says else ()
    barred = {*prompts.CLOSED, "neutral", lexicon().word(now.word).family, *busy}
    name = str(
        rng.choice(lexicon().of_family(str(rng.choice([family for family in FAMILIES if family not in barred]))))
    )
    word = lexicon().word(name)
    fresh = prompts.expression(
        rng,
        name,
        onset=max(now.onset, 0.1),
        until=score.seconds - 0.1,
        level=labels.level(now.intensity) if _main(score) is not None else "clear",
    )
    said = {
        "a": "a",
        "noun": word.noun or "",
        "adjective": word.adjective or "",
        "verb": (word.verb or "").replace("{side}", fresh.side),
    }
    form = "adjective" if word.adjective else "noun" if word.noun and rng.random() < 0.5 else "verb"
    text = _say(form, rng, split)
    for key, value in said.items():
        text = text.replace("{" + key + "}", value)
    return conjugate(text, "base", "you"), _with(score, 0, fresh)


def _gesture(score: Score, rng: np.random.Generator, split: str, kind: str) -> tuple[str, Score] | None:
    if len(score.head) > 1:
        return None
    old = score.head[0].gesture if score.head else None
    move: HeadMove | None = None
    while move is None:
        move = prompts.head_move(rng, prompts.gestures(rng, but=old), earliest=0.1, latest=score.seconds - 0.1)
    moved = labels.Moved(name=move.gesture, count=move.count)
    text = _say("gesture" if old else "add_gesture", rng, split).replace("{gesture}", gesture(moved, rng, split))
    return conjugate(text, "base", "you"), score.model_copy(update={"head": (move,)})


def _still(score: Score, rng: np.random.Generator, split: str, kind: str) -> tuple[str, Score] | None:
    if not score.head:
        return None
    nouns = {"nod": "nod", "shake": "head shake"}
    noun = nouns.get(score.head[0].gesture, "head movement") if len(score.head) == 1 else "head movement"
    return _say("no_gesture", rng, split).replace("{gesture_noun}", noun), score.model_copy(update={"head": ()})


def _unblinking(score: Score, rng: np.random.Generator, split: str, kind: str) -> tuple[str, Score] | None:
    if not score.blinks:
        return None
    return _say("no_blinks", rng, split), score.model_copy(update={"blinks": ()})

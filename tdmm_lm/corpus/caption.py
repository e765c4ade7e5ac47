"""Labels become text: descriptions of what a clip shows, and prompts that ask for it.

Everything said is true of the labels. What is not said of a prompt is left open (blinks mostly); a description says
all of it: expression, head, gaze where there is one, blinks, and the share of speech to the nearest ten percent.
"""

import itertools
import re
from typing import Literal

import numpy as np

from tdmm_lm.corpus.labels import Labels, Moved, Shown
from tdmm_lm.corpus.lexicon import Word, lexicon
from tdmm_lm.corpus.reading import Reading, parse
from tdmm_lm.corpus.wordings import NUMBERS, PRONOUNS, TIMES, conjugate, ing, tidy, wordings

__all__ = ["Reading", "Style", "describe", "parse", "prompt"]

Style = Literal["full", "plain", "brief", "phrase", "sentence", "timed", "label"]
LENGTHS: tuple[Style, Style, Style] = ("phrase", "sentence", "timed")
EMOTIONS = ("joy", "sadness", "anger", "surprise", "fear", "disgust", "contempt", "pain", "doubt")


def _one(rng: np.random.Generator, ways: tuple[str, ...]) -> str:
    return ways[int(rng.integers(len(ways)))]


def _degree(level: str, rng: np.random.Generator, split: str, *, attributive: bool) -> str:
    """An adverb before an adjective; before adjective and noun none of "a little angry man"."""
    while True:
        degree = wordings().degrees[level].pick(rng, split)
        if not (attributive and " a " in f" {degree} "):
            return degree


def _said(word: Word, rng: np.random.Generator) -> tuple[str, str]:
    """A word's form, verb or adjective, and the word or, one time in four, a synonym of it."""
    form, main = ("adjective", word.adjective) if word.adjective else ("verb", word.verb)
    assert main is not None
    return form, _one(rng, word.synonyms) if word.synonyms and rng.random() < 0.25 else main


def expression(shown: Shown, rng: np.random.Generator, split: str = "train", *, plain: bool = False) -> str:
    """A clause with its verb marked: "+smile broadly", "+look very angry". ``plain`` leaves out inchoative forms."""
    say = wordings()
    name = shown.word
    if name is None:  # observed: an emotion by its family's noun, an action by its first word
        name = lexicon().of_family(shown.family)[0]
        if shown.family in EMOTIONS:
            amount = say.amounts[shown.level].pick(rng)
            return say.expression["family"].train[1].format(amount=amount, family=say.families[shown.family][0])
    word = lexicon().word(name)
    form, said = _said(word, rng)
    if shown.family in EMOTIONS and not plain and rng.random() < 0.12:
        amount = say.amounts[shown.level].pick(rng, split)
        return (
            say.expression["family"]
            .pick(rng, split)
            .format(amount=amount, family=_one(rng, say.families[shown.family]))
        )
    if form == "adjective":
        way = say.expression["adjective"].train[0] if plain else say.expression["adjective"].pick(rng, split)
        degree = _degree(shown.level, rng, split, attributive="{a}" in way)
        return way.replace("{a}", "a").replace("{adjective}", f"{degree} {said}")
    if word.noun and not plain and rng.random() < 0.25:
        return (
            say.expression["noun"]
            .pick(rng, split)
            .format(a="a", size=say.sizes[shown.level].pick(rng, split), noun=word.noun)
        )
    adverb = say.adverbs[shown.level].pick(rng, split)
    own = {"slight": word.slightly, "strong": word.strongly}.get(shown.level, ())
    if word.strongly == ("",) or (own and rng.random() < 0.6):
        adverb = _one(rng, own or word.strongly)
    verb = said.replace("{side}", shown.side)
    if word.sided and shown.side == "both":  # observed, and not clear on which side
        verb = said.replace("{their} {side} eye", "one eye").replace("{their} {side}", "one side")
    way = "{verb}" if plain else say.expression["verb"].pick(rng, split)
    if way == "{verb}":
        before = adverb.endswith("ly") and adverb not in own and " " not in adverb and rng.random() < 0.3
        return f"{adverb} +{verb}" if before else f"+{verb} {adverb}"
    first, _, rest = verb.partition(" ")
    return way.replace("{verbing}", f"{ing(first)} {rest} {adverb}").replace("{verb}", f"{verb} {adverb}")


def neutral(labels: Labels, rng: np.random.Generator, split: str = "train") -> str:
    """A clause for a face that shows nothing."""
    word = _said(lexicon().word(labels.word), rng)[1] if labels.word else "neutral"
    return wordings().neutral.pick(rng, split).replace("{a}", "a").replace("{adjective}", str(word))


def times(way: str, count: int, rng: np.random.Generator) -> str:
    """``{count}`` and ``{n}`` filled in: twice, 2; one nod, not one nods."""
    way = way.replace("{count}", _one(rng, TIMES.get(count, (f"{count} times",))))
    if "{n}" in way:
        way = way.replace("{n}", "a" if count == 1 else _one(rng, NUMBERS.get(count, (str(count),))))
        way = re.sub(r"s$", "", way) if count == 1 else way
    return way


def gesture(moved: Moved, rng: np.random.Generator, split: str = "train") -> str:
    """A clause for a head gesture: "+nod twice"."""
    return times(wordings().gestures[moved.name].pick(rng, split), moved.count, rng)


def glance(moved: Moved, rng: np.random.Generator, split: str = "train") -> str:
    """A clause for a direction of the eyes."""
    return wordings().gaze.pick(rng, split).replace("{where}", wordings().where[moved.name].pick(rng, split))


def blinking(count: int, rng: np.random.Generator, split: str = "train") -> str:
    """A clause for a number of blinks, none included."""
    return times(wordings().blinks["some" if count else "none"].pick(rng, split), count, rng)


def tens(share: float) -> int:
    """A share in percent, rounded to ten; a little speech is never rounded to none."""
    return max(10, round(share * 10) * 10) if share > 0.02 else 0


def speaking(share: float, rng: np.random.Generator, split: str = "train") -> str:
    """A clause for a share of speech, none included."""
    say, percent = wordings(), tens(share)
    if percent in (0, 100):
        return say.speech["all" if percent else "none"].pick(rng, split)
    return say.speech["some"].pick(rng, split).replace("{share}", say.share.pick(rng, split).format(percent=percent))


def _joined(timed: list[tuple[float, str]], rng: np.random.Generator, split: str) -> str:
    """Clauses in order of time: "then" only where one begins clearly after the other."""
    timed = sorted(timed, key=lambda pair: pair[0])
    text = timed[0][1]
    for (before, _), (onset, clause) in itertools.pairwise(timed):
        text += (wordings().then if onset - before >= 0.3 else wordings().also).pick(rng, split) + clause
    return text


def prompt(labels: Labels, rng: np.random.Generator, *, split: str = "train") -> str:
    """A request for what the labels say: "a woman smiles broadly, then nods twice".

    ``split`` "test" uses the wordings kept from training.
    """
    say = wordings()
    pronoun = say.subjects.get(labels.subject, "they")
    noun = labels.subject
    timed = [(moved.onset, gesture(moved, rng, split)) for moved in labels.gestures]
    timed += [(moved.onset, glance(moved, rng, split)) for moved in labels.gazes]
    first = lexicon().word(labels.shown[0].word) if labels.shown and labels.shown[0].word else None
    frame = say.prompt.pick(rng, split, kept=1.0)
    if len(labels.shown) == 1 and first and first.adjective and timed and "{subject}" in frame and rng.random() < 0.25:
        noun = "person" if noun == "someone" else noun
        noun = f"{_degree(labels.level, rng, split, attributive=True)} {_said(first, rng)[1]} {noun}"
    elif labels.shown:
        timed += [(shown.onset, expression(shown, rng, split)) for shown in labels.shown]
    elif not timed or rng.random() < 0.5:
        timed.append((0.0, neutral(labels, rng, split)))
    if rng.random() < 0.15:
        timed.append((max(onset for onset, _ in timed), blinking(labels.blinks, rng, split)))
    text = _joined(timed, rng, split)
    text += " " + _talking(labels.speech_share, rng, split)
    form = re.search(r"{clauses:(\w+)}", frame)
    assert form is not None
    if "face" in frame:
        pronoun = "it"
    elif frame == "{clauses:base}":
        pronoun = "you"
    article = "" if noun == "someone" else "a "
    text = conjugate(text, {"they": "pronoun"}.get(form.group(1), form.group(1)), pronoun)
    frame = frame.replace("{subject}", article + noun).replace("{they}", PRONOUNS[pronoun][0])
    frame = frame.replace("{plain}", "person" if noun == "someone" else noun)
    text = tidy(frame.replace(form.group(0), text))
    return text[0].upper() + text[1:] + "." if rng.random() < 0.2 else text  # some people write whole sentences


def describe(labels: Labels, rng: np.random.Generator, style: Style = "full", *, split: str = "train") -> str:
    """All that a clip shows: "Strong joy: they smile broadly. They nod twice. They blink once. They are silent."

    The subject is a person of no named kind, since motion does not show one. ``full`` names family and level before
    each expression, ``plain`` tells it in sentences, ``brief`` in one line of participles. The `LENGTHS` need not say
    it all: a ``phrase`` has expressions and gestures, a ``sentence`` gaze and speech too, and ``timed`` tells when each
    begins and ends: "From 0.3 to 2.5 s they smile broadly. They blink once and stay silent." A ``label`` is one
    word and no more, as corpora of a few classes have: "happy".
    """
    if style == "label":
        return label(labels)
    if style in ("phrase", "sentence"):
        return _short(labels, rng, style, split)
    say = wordings()
    heads = [(moved.onset, gesture(moved, rng, split)) for moved in labels.gestures] or [
        (0.0, say.still.pick(rng, split))
    ]
    rest = [_joined(heads, rng, "train")]
    rest += [glance(moved, rng, split) for moved in labels.gazes[:1]]
    facts = [blinking(labels.blinks, rng, split), speaking(labels.speech_share, rng, split)]
    noun = say.description["subject" if style != "timed" else "anyone"].pick(rng, split)
    form, pronoun = ("pronoun" if noun == "they" else "third"), "they"

    def sentence(clause: str) -> str:
        return f"{noun} {conjugate(clause, form, pronoun)}."

    def named(shown: Shown) -> str:
        return (
            f"{shown.level} {say.families[shown.family][0].removeprefix('a ').removeprefix('an ').removeprefix('the ')}"
        )

    if style == "brief":
        heading = ", then ".join(named(shown) for shown in labels.shown) or say.families["neutral"][0]
        return tidy(", ".join([heading, *(conjugate(clause, "ing", pronoun) for clause in (*rest, *facts))]))
    shows = [(shown.onset, expression(shown, rng, split, plain=style != "timed")) for shown in labels.shown]
    if style == "timed":
        spans = [(shown.onset, shown.offset, clause) for shown, (_, clause) in zip(labels.shown, shows)]
        spans += [(moved.onset, moved.offset, gesture(moved, rng, split)) for moved in labels.gestures]
        spans += [(moved.onset, moved.offset, glance(moved, rng, split)) for moved in labels.gazes]
        told = [
            (say.timed.pick(rng, split), f"{start:.1f}", f"{stop:.1f}", clause) for start, stop, clause in sorted(spans)
        ]
        if not labels.shown:
            told = [("{sentence}", "", "", neutral(Labels(seconds=labels.seconds), rng, split)), *told]
        parts = []
        for way, start, stop, clause in (*told, ("{sentence}", "", "", " and ".join(facts))):
            parts.append(way.format(start=start, stop=stop, sentence=sentence(clause)))
            noun, form = "they", "pronoun"
    elif style == "plain":
        clauses = [
            _joined(shows, rng, "train") if shows else neutral(Labels(seconds=labels.seconds), rng, split),
            *rest,
        ]
        parts = [sentence(clause) for clause in clauses] + [sentence(" and ".join(facts))]
    else:
        parts = [f"{named(shown)}: {sentence(clause)}" for shown, (_, clause) in zip(labels.shown, shows)]
        if len(parts) == 2:
            parts = [f"first {parts[0]}", f"then {parts[1]}"]
        parts = parts or [f"{say.families['neutral'][0]}."]
        parts += [sentence(clause) for clause in (*rest, *facts)]
    return " ".join(part[0].upper() + part[1:] for part in map(tidy, parts))


def label(labels: Labels) -> str:
    """The name of what is shown most strongly, without how strongly: "happy", "wrinkle the nose"."""
    word = lexicon().word(labels.word or lexicon().of_family(labels.family)[0])
    side = max(labels.shown, key=lambda shown: shown.intensity).side if labels.shown else ""
    return str(word.adjective or word.verb).replace("{their}", "the").replace("{side}", side)


def _short(labels: Labels, rng: np.random.Generator, style: Style, split: str) -> str:
    """A phrase such as "smiling broadly, then nodding twice", or a sentence, with gaze and speech too."""
    say = wordings()
    timed = [(shown.onset, expression(shown, rng, split)) for shown in labels.shown]
    timed = timed or [(0.0, neutral(Labels(seconds=labels.seconds), rng, split))]
    timed += [(moved.onset, gesture(moved, rng, split)) for moved in labels.gestures]
    if style == "phrase":
        return tidy(conjugate(_joined(timed, rng, split), "ing", "they"))
    timed += [(moved.onset, glance(moved, rng, split)) for moved in labels.gazes]
    noun = say.description["anyone"].pick(rng, split)
    text = conjugate(_joined(timed, rng, split), "pronoun" if noun == "they" else "third", "they")
    text = f"{noun} {text} {_talking(labels.speech_share, rng, split)}."
    return tidy(text[0].upper() + text[1:])


def _talking(share: float, rng: np.random.Generator, split: str) -> str:
    """"while talking about 40 % of the time"; nothing for a silent person."""
    if share <= 0.02:
        return ""
    say, percent = wordings(), tens(share)
    part = "" if percent == 100 else say.share.pick(rng, split).format(percent=percent)
    return say.while_speaking.pick(rng, split).replace("{share}", part)

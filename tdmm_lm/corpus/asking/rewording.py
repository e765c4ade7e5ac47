"""Whether a language model's text can stand for another: what was lost, added or turned round, in words for counting.

What texts say of expression, head, eyes, blinks and speech is read by `reading.parse`; who it is and which side by
their own words.
"""

import re

from tdmm_lm.corpus import reading
from tdmm_lm.corpus.labels import Labels
from tdmm_lm.corpus.wordings import wordings

PRONOUNS = {
    "she": {"she", "her", "hers", "herself"}, "he": {"he", "him", "his", "himself"},
}
EXCUSES = re.compile(
    r"\b(as an ai|language model|i('m| am) (sorry|unable|not able)|i (cannot|can't|won't)|i apologi[sz]e|"
    r"cannot (assist|help|comply)|not able to (help|assist|identify|describe))\b"
)
TALK = re.compile(r"^\W*(sure|certainly|of course|okay|here('s| is| are)|reworded|rewording|paraphrase|answer)\b")
SIDES = re.compile(r"\b(left|right)")
LATER = r"(?:that|this|which|it|(?:an?|one) (?:\w+ )?(?:moment|while|second|beat|pause|bit))\b|[.,;]|$"
TURNED = re.compile(  # what turns the order of mention round, or may: "smiles after nodding", not "after a moment"
    rf"\b(?:(?:after|following)\b(?! *(?:{LATER}))|before\b|prior to\b|preceded by\b|but first\b|as soon as\b|"
    r"once (?:she|he|it|they|the)\b|having \w+ed\b)"
)
LEVELS = {"": "clear"}  # a level that is not said


def cleaned(text: str) -> str:
    """An answer without a model's thoughts, quotation marks and blanks around it, on one line."""
    text = re.sub(r"<think>.*?</think>", " ", text, flags=re.DOTALL)
    text = " ".join(text.split())
    for first, last in ('""', "''", "“”", "«»", "``", "**"):
        if len(text) > 1 and text[0] == first and text[-1] == last:
            text = text[1:-1].strip()
    return text


def unusable(text: str) -> str:
    """Why an answer is no description at all, whatever it should say; "" where it may be one."""
    lower = text.lower().replace("’", "'")
    if not lower.strip():
        return "empty"
    if EXCUSES.search(lower):
        return "refusal"
    if "<think>" in lower or TALK.search(lower) or "\ufffd" in text:
        return "chatter"
    if not re.search(r"[a-z]{2}", lower) or re.search(r"(.)\1{9}", text):
        return "nonsense"
    return ""


def changed(original: str, text: str, known: Labels | None = None) -> list[str]:
    """What a rewording does to the facts: ``lost_gesture``, ``added_blinks``, ``other_family``, ...; [] for nothing.

    ``other_order`` is another order of mention of all that is told, or the seconds of one thing told of another.
    With ``known`` labels, whatever the original says rightly must still be right (``wrong_...``).
    """
    before, after = reading.parse(original), reading.parse(text)
    faults = []
    for name, old, new, nothing in (
        ("family", before.families, after.families, ()),
        ("level", _levels(before), _levels(after), None),
        ("gesture", tuple(name for name, _ in before.gestures), tuple(name for name, _ in after.gestures), ()),
        ("count", _counts(before), _counts(after), None),
        ("gaze", _gazes(before), _gazes(after), ()),
        ("blinks", before.blinks, after.blinks, None),
        ("speech", before.speech_share, after.speech_share, None),
        ("person", _people(original), _people(text), frozenset()),
        ("side", _sides(original, before), _sides(text, after), ((), ())),
        ("span", sorted(before.spans), sorted(after.spans), []),
    ):
        if old != new:
            faults.append(f"{'lost' if new == nothing else 'added' if old == nothing else 'other'}_{name}")
    if _turned(original) != _turned(text) or _reordered(before, after):
        faults.append("other_order")
    if known is not None:
        right, still = reading.agrees(before, known), reading.agrees(after, known)
        told = {fault.partition("_")[2].replace("speech", "speech_share").replace("span", "spans") for fault in faults}
        faults += [f"wrong_{name}" for name in right if right[name] and not still[name] and name not in told]
    return faults


def contradicted(text: str, known: Labels, sure: float) -> list[str]:
    """Where a free description says otherwise than what was measured beyond doubt: ``other_family``, ``other_side``...

    A description may leave things out. An expression is beyond doubt from the intensity ``sure``; still frames show no
    counts of nods and blinks, so that only opposites count there.
    """
    said = reading.parse(text)
    faults = []
    shown = {one.family for one in known.shown if one.intensity >= sure}
    if shown and said.families and not shown & set(said.families):
        faults.append("other_family")
    moved = {one.name for one in known.gestures}
    opposite = {_mirrored(name) for name in moved} - moved
    if opposite & {name for name, _ in said.gestures}:
        faults.append("other_gesture")
    looked = {one.name for one in known.gazes}
    if said.gaze in {_mirrored(name) for name in looked} - looked:
        faults.append("other_gaze")
    if said.speech_share is not None and abs(said.speech_share - known.speech_share) > 0.8:
        faults.append("other_speech")
    return faults


def _mirrored(name: str) -> str:
    for one, other in (("left", "right"), ("up", "down")):
        if one in name:
            return name.replace(one, other)
        if other in name:
            return name.replace(other, one)
    return ""


def _levels(said: reading.Reading) -> tuple[str, ...]:
    return tuple(LEVELS.get(level, level) for level in said.levels)


def _counts(said: reading.Reading) -> tuple[int, ...]:
    return tuple(count for _, count in said.gestures)


def _people(text: str) -> frozenset[str]:
    """she or he, by nouns and pronouns."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    nouns = {pronoun: {noun.split()[-1] for noun, own in wordings().subjects.items() if own == pronoun}
             for pronoun in PRONOUNS}
    return frozenset(pronoun for pronoun, forms in PRONOUNS.items() if words & (forms | nouns[pronoun]))


def _gazes(said: reading.Reading) -> tuple[str, ...]:
    return tuple(told.name for told in said.order if told.kind == "gaze")


def _sides(text: str, said: reading.Reading) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words left and right that a text has, and the sides of its expressions in order."""
    return tuple(sorted(set(SIDES.findall(text.lower())))), tuple(told.side for told in said.order if told.side)


def _turned(text: str) -> list[str]:
    """The words that turn its order of mention round; "once she", of "once she nods"."""
    return TURNED.findall(text.lower())


def _reordered(before: reading.Reading, after: reading.Reading) -> bool:
    """Whether the same things are told in another order or at one another's seconds.

    What shares a clause has no order of its own: "a happy man nods" is "he nods happily".
    """
    kinds = ("family", "gesture", "gaze")
    old, new = ([[told for told in said.order if told.kind == kind] for kind in kinds] for said in (before, after))
    if [[told.name for told in kind] for kind in old] != [[told.name for told in kind] for kind in new]:
        return False  # then other things are told, which is a fault of its own
    clauses = {kind: iter([told.clause for told in same]) for kind, same in zip(kinds, old)}
    places = [next(clauses[told.kind]) for told in after.order]
    spans = [[[told.span for told in kind] for kind in told_of] for told_of in (old, new)]
    return places != sorted(places) or (sorted(before.spans) == sorted(after.spans) and spans[0] != spans[1])

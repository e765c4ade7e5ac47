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

    With ``known`` labels, whatever the original says rightly must still be right (``wrong_...``).
    """
    before, after = reading.parse(original), reading.parse(text)
    faults = []
    for name, old, new, nothing in (
        ("family", before.families, after.families, ()),
        ("level", _levels(before), _levels(after), None),
        ("gesture", tuple(name for name, _ in before.gestures), tuple(name for name, _ in after.gestures), ()),
        ("count", _counts(before), _counts(after), None),
        ("gaze", before.gaze, after.gaze, "front"),
        ("blinks", before.blinks, after.blinks, None),
        ("speech", before.speech_share, after.speech_share, None),
        ("person", _people(original), _people(text), frozenset()),
        ("side", _sides(original), _sides(text), frozenset()),
    ):
        if old != new:
            faults.append(f"{'lost' if new == nothing else 'added' if old == nothing else 'other'}_{name}")
    if known is not None:
        right, still = reading.agrees(before, known), reading.agrees(after, known)
        told = {fault.partition("_")[2].replace("speech", "speech_share") for fault in faults}
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


def _sides(text: str) -> frozenset[str]:
    return frozenset(SIDES.findall(text.lower()))

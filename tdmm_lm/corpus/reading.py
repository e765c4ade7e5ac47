"""Text becomes labels again: what a description or a prompt says of expression, head, eyes, blinks and speech.

A parser of keywords, not of grammar, so that it also grades what a model writes. It knows the lexicon's words in every
form, the families' names, and the gestures in the ways people say them.
"""

import re
from functools import lru_cache

from tdmm_lm.config import Settings
from tdmm_lm.corpus.labels import Labels
from tdmm_lm.corpus.lexicon import lexicon
from tdmm_lm.corpus.wordings import NUMBERS, TIMES, ing, third, wordings

THEIR = r"(?:their|her|his|its|your|the|one's)"
SIDE = {"left": r"left(?:wards?)?", "right": r"right(?:wards?)?", "up": r"up(?:wards?)?", "down": r"down(?:wards?)?"}
SPAN = re.compile(r"\b(?:from )?(\d+(?:\.\d+)?)(?: s(?:econds)?)? to (\d+(?:\.\d+)?) s(?:econds)?\b:?")
NEAR = 0.11  # seconds: a moment told to the tenth
NOT = re.compile(r"\b(not|no|never|without|isn't|doesn't|don't|aren't)\b")
EYES = re.compile(r"\b(glanc\w*|gaz\w*|eyes?)\b")


class Reading(Settings):
    """What a text says. ``families`` and ``gestures`` are in the text's order; what it does not say is None or empty.

    ``family`` and ``level`` are those of the expression said to be strongest (the first of equals), ``gesture`` and
    ``count`` of the first head gesture ("none" where none is mentioned); the count is 1 where none is said. ``spans``
    are the seconds "from 0.3 to 2.5 s". ``sides`` are left or right of one-sided expressions, where they are said.
    """

    family: str | None = None
    level: str = ""
    families: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    sides: tuple[str, ...] = ()
    gesture: str = "none"
    count: int = 0
    gestures: tuple[tuple[str, int], ...] = ()
    gaze: str = "front"
    blinks: int | None = None
    speech_share: float | None = None
    spans: tuple[tuple[float, float], ...] = ()


def _verb(clause: str) -> str:
    """A regular expression for every form of "puff out {their} cheeks"."""
    first, _, rest = clause.partition(" ")
    forms = "|".join(re.escape(form) for form in sorted({first, third(first), ing(first)}, key=len, reverse=True))
    rest = re.escape(rest).replace(r"\{their\}\ \{side\}", rf"(?:{THEIR} (?:left|right)|one(?: side)?)")
    rest = rest.replace(r"\{their\}", THEIR).replace(r"\{side\}", r"(?:left|right)")
    rest = rf"(?:\ {rest})?" if rest.startswith("with") else rf"\ {rest}" if rest else ""
    return rf"(?:{forms}){rest}"


@lru_cache(maxsize=1)
def _mentions() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """(family, pattern) of all that names an expression."""
    result: dict[str, list[str]] = {}
    for word in lexicon().words.values():
        forms = result.setdefault(word.family, [])
        verbs, rest = [word.verb], [word.adjective, word.noun]
        (rest if word.adjective else verbs).extend(word.synonyms)
        forms += [_verb(verb) for verb in verbs if verb]
        forms += [re.escape(form) for form in rest if form]
    for family, nouns in wordings().families.items():
        result[family] += [re.escape(re.sub(r"^(a|an|the) ", "", noun)) for noun in nouns]
    return tuple(
        (family, re.compile(rf"\b(?:{'|'.join(sorted(forms, key=len, reverse=True))})\b"))
        for family, forms in result.items()
    )


def _found(segment: str, said: str) -> list[tuple[int, int, str]]:
    """(start, end, family) of what names an expression in a clause, of names inside one another the longest.

    ``said`` is the part before a "not"; only a neutral face is looked for behind it too ("no expression").
    """
    every = [
        (match.start(), match.end(), family)
        for family, pattern in _mentions()
        if (match := pattern.search(segment if family == "neutral" else said))
    ]
    kept: list[tuple[int, int, str]] = []
    for start, stop, family in sorted(every, key=lambda name: name[0] - name[1]):  # "a smile with an open mouth"
        if all(stop <= begin or start >= end for begin, end, _ in kept):
            kept.append((start, stop, family))
    return sorted(kept)


@lru_cache(maxsize=1)
def _levels() -> tuple[tuple[str, re.Pattern[str]], ...]:
    say, result = wordings(), []
    for level in ("slight", "strong", "clear"):
        ways = [
            way for table in (say.adverbs, say.degrees, say.sizes, say.amounts) for way in table[level].train if way
        ]
        own = {"slight": "slightly", "strong": "strongly"}.get(level)
        ways += [way for word in lexicon().words.values() for way in vars(word).get(own, ()) if way] if own else []
        ways.append({"slight": "slight", "clear": "clear", "strong": "strong"}[level])
        result.append(
            (level, re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(set(ways), key=len, reverse=True)))})\b"))
        )
    return tuple(result)


@lru_cache(maxsize=1)
def _sided() -> frozenset[str]:
    """Families that show on one side alone."""
    return frozenset(word.family for word in lexicon().words.values() if word.sided)


def _side(segment: str, start: int, stop: int, family: str) -> str | None:
    """Left or right of an expression's mention, in it or after it ("winks with the left eye")."""
    if family not in _sided():
        return None
    found = re.search(r"\b(left|right)\b", segment[start:stop]) or re.search(r"\b(left|right)\b", segment[stop:])
    return found.group(1) if found else None


def _number(segment: str) -> int:
    """The count said in a clause, 1 where none is."""
    for table in (TIMES, NUMBERS):
        for count, ways in table.items():
            if any(re.search(rf"\b{way}\b", segment) for way in ways):
                return count
    found = re.search(r"\b(\d+)\b", segment)
    return int(found.group(1)) if found else 1


def _level(segment: str) -> str:
    return next((level for level, pattern in _levels() if pattern.search(segment)), "")


def _gesture(segment: str) -> str:
    """The head gesture of a clause, or "none"."""
    direction = next((name for name, way in SIDE.items() if re.search(rf"\b{way}\b", segment)), None)
    if re.search(r"\bnod(s|ding|ded)?\b", segment):
        return "nod"
    if re.search(r"\b(shak(e|es|ing)|shook)\b", segment):
        return "shake"
    if direction in ("left", "right") and re.search(r"\b(tilt|lean)(s|ing|ed)?\b", segment):
        return f"tilt_{direction}"
    lean = re.search(r"\blean(?:s|ing|ed)? (?:(forward|in)|back(?:wards?)?)\b", segment)
    if lean:
        return "lean_forward" if lean.group(1) else "lean_back"
    if EYES.search(segment):
        return "none"
    if direction in ("left", "right") and re.search(r"\bturn(s|ing|ed)?\b", segment):
        return f"turn_{direction}"
    if re.search(rf"\b(lift|rais|tip)\w* {THEIR} head\b", segment) or re.search(
        r"\blook(s|ing)? up(wards?)?\b", segment
    ):
        return "look_up"
    if re.search(rf"\b(lower|bow|drop)\w* {THEIR} head\b", segment) or re.search(
        r"\blook(s|ing)? down(wards?)?\b", segment
    ):
        return "look_down"
    return "none"


def _speech(segment: str) -> float | None:
    if re.search(r"\b(silent|silence)\b", segment):
        return 0.0
    if not re.search(r"\b(speak|talk)(s|ing)?\b", segment):
        return None
    if NOT.search(segment):
        return 0.0
    percent = re.search(r"(\d+) ?(%|percent)", segment)
    return int(percent.group(1)) / 100 if percent else 1.0


def parse(text: str) -> Reading:
    """What ``text`` says, by keywords. Text that says nothing known gives an empty `Reading`."""
    shown: list[tuple[str, str]] = []
    sides: list[str] = []
    gestures: list[tuple[str, int]] = []
    gaze, blinks, speech = "front", None, None
    spans = tuple((float(start), float(stop)) for start, stop in SPAN.findall(text.lower()))
    for segment in re.split(r"[.,;:!?\n]| then | and | while ", f" {SPAN.sub('', text.lower())} "):
        denied = NOT.search(segment)
        said = segment[: denied.start()] if denied else segment  # "nods without blinking", "without the nod"
        outside = said
        for start, stop, family in _found(segment, said):
            side = _side(segment, start, stop, family)
            sides += [side] if side else []
            outside = outside.replace(segment[start:stop], " ")  # the left eye of a wink is no glance to the left
            if not shown or shown[-1][0] != family:
                shown.append((family, _level(segment)))
            elif not shown[-1][1]:
                shown[-1] = (family, _level(segment))
        gesture = _gesture(said)
        if gesture != "none":
            gestures.append((gesture, _number(segment)))
        elif EYES.search(outside) and gaze == "front" and "blink" not in segment:
            gaze = next((name for name, way in SIDE.items() if re.search(rf"\b{way}\b", outside)), gaze)
        if "blink" in segment and blinks is None:
            blinks = 0 if NOT.search(segment) else _number(segment)
        speech = _speech(segment) if speech is None else speech
    if len(shown) > 1:  # a neutral face beside an expression is its frame, not one of two
        shown = [pair for pair in shown if pair[0] != "neutral"] or shown[:1]
    order = {"strong": 3, "clear": 2, "": 2, "slight": 1}
    main = max(shown, key=lambda pair: order[pair[1]]) if shown else (None, "")
    first = gestures[0] if gestures else ("none", 0)
    return Reading(
        family=main[0],
        level=main[1],
        families=tuple(pair[0] for pair in shown),
        levels=tuple(pair[1] for pair in shown),
        sides=tuple(sides),
        gesture=first[0],
        count=first[1],
        gestures=tuple(gestures),
        gaze=gaze,
        blinks=blinks,
        speech_share=speech,
        spans=spans,
    )


def agrees(reading: Reading, labels: Labels) -> dict[str, bool]:
    """Which statements of a description are right.

    ``family``: the families in order, all of them. ``gesture``: the gestures in order; ``count``: with their counts.
    ``level``: of the strongest expression; unsaid means clear, and a wink has none. ``blinks``: within one;
    ``speech_share``: within 10 points (both False where unsaid). ``spans``: every span told is an event's.
    """
    events = [(shown.onset, shown.offset) for shown in labels.shown]
    events += [(moved.onset, moved.offset) for moved in (*labels.gestures, *labels.gazes)]
    return {
        "family": reading.families == labels.families,
        "level": reading.level == labels.level
        or (reading.level == "" and labels.level == "clear")
        or labels.family == "wink",
        "gesture": tuple(name for name, _ in reading.gestures) == tuple(moved.name for moved in labels.gestures),
        "count": reading.gestures == tuple((moved.name, moved.count) for moved in labels.gestures),
        "gaze": reading.gaze == labels.gaze,
        "blinks": reading.blinks is not None and abs(reading.blinks - labels.blinks) <= 1,
        "speech_share": reading.speech_share is not None
        and abs(reading.speech_share - labels.speech_share) <= 0.1 + 1e-9,
        "spans": all(
            any(abs(start - onset) <= NEAR and abs(stop - offset) <= NEAR for onset, offset in events)
            for start, stop in reading.spans
        ),
    }


def contradictions(reading: Reading, labels: Labels) -> list[str]:
    """What a text says that is not so, by the keys of `agrees`; what it leaves out contradicts nothing."""
    said = {
        "family": bool(reading.families), "level": reading.level != "", "gesture": bool(reading.gestures),
        "count": bool(reading.gestures), "gaze": reading.gaze != "front", "blinks": reading.blinks is not None,
        "speech_share": reading.speech_share is not None, "spans": True,
    }
    return [key for key, right in agrees(reading, labels).items() if said[key] and not right]

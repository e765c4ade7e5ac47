"""Text becomes labels again: what a description or a prompt says of expression, head, eyes, blinks and speech.

A parser of keywords, not of grammar, so that it also grades what a model writes. It knows the lexicon's words in every
form, the families' names, and the gestures in the ways people say them.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal

from tdmm_lm.config import Settings
from tdmm_lm.corpus.labels import Labels
from tdmm_lm.corpus.lexicon import lexicon
from tdmm_lm.corpus.wordings import ing, third, wordings

THEIR = r"(?:their|her|his|its|your|the|one's)"
SIDE = {"left": r"left(?:wards?)?", "right": r"right(?:wards?)?", "up": r"up(?:wards?)?", "down": r"down(?:wards?)?"}
SPAN = re.compile(
    r"\b(?:from )?(\d+(?:\.\d+)?)(?: s(?:econds)?)?(?: to | until | ?[-–—] ?)(\d+(?:\.\d+)?) s(?:econds)?\b:?"
)
HERE = "\ue000"  # where a span stood
NEAR = 0.11  # seconds: a moment told to the tenth
NOT = re.compile(r"\b(not|no|never|without|isn't|doesn't|don't|aren't)\b")
EYES = re.compile(r"\b(glanc\w*|gaz\w*|eyes?)\b")
SILENT = re.compile(
    r"\b(silent|silently|silence|wordless|wordlessly|sa(y|ys|ying) nothing|without (saying )?a word|not speaking|"
    r"(stay|keep|remain)(s|ing)? quiet)\b"
)
COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
VAGUE = -9  # a count that is told, but not which: more than one away from any
VAGUELY = re.compile(
    r"\b(few|several|couple|many|multiple|numerous|various|handful|dozens?|repeated|repeatedly|continually|continuously|"
    r"constantly|often|frequently|(a|any) number of|more than|at least|double|triple|keeps? (on )?(nodd|shak|blink)ing|"
    r"some (\w+ ){0,2}(times|nods|shakes|blinks)|(hardly|barely|rarely|seldom|scarcely) (\w+ )?blink\w*|"
    rf"(once|twice|\d+|{'|'.join(COUNTS)}) or (twice|thrice|more|\d+|{'|'.join(COUNTS)}))\b"
)
STRENGTHS = {  # beside those the captions use, in other people's words
    "slight": ("tiny", "tiniest", "slightest", "faintest", "soft", "gentle", "gently", "weak", "weakly", "barely",
               "hardly", "scarcely", "hint of", "trace of", "touch of", "ghost of"),
    "strong": ("broad", "deep", "wide", "huge", "fierce", "hearty", "big", "enormous", "massive", "immense",
               "incredibly", "absolutely", "utterly"),
}


class Told(Settings):
    """One thing of a text's order. ``clause`` numbers the clauses; ``span`` are its seconds, ``side`` an expression's,
    where they are said."""

    kind: Literal["family", "gesture", "gaze"]
    name: str
    side: str = ""
    span: tuple[float, float] | None = None
    clause: int = 0


class Reading(Settings):
    """What a text says. ``families`` and ``gestures`` are in the text's order; what it does not say is None or empty.

    ``family`` and ``level`` are those of the expression said to be strongest (the first of equals), ``gesture`` and
    ``count`` of the first head gesture ("none" where none is mentioned); the count is 1 where none is said and `VAGUE`,
    as ``blinks`` may be, for "a few times". ``spans`` are the seconds "from 0.3 to 2.5 s". ``sides`` are left or right
    of one-sided expressions, where they are said. ``order`` has expressions, gestures and gazes as they are mentioned.
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
    order: tuple[Told, ...] = ()


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
        ways += [level, *STRENGTHS.get(level, ())]
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


def _number(clause: str) -> int:
    """The count said in a clause, 1 where none is, `VAGUE` where it is no number."""
    if VAGUELY.search(clause):
        return VAGUE
    for many in (" times?", ""):
        for count, word in enumerate(COUNTS, 1):
            once = {1: "|once", 2: "|twice", 3: "|thrice"}.get(count, "") if many else ""
            if re.search(rf"\b((?:{word}|{count}){many}{once})\b", clause):
                return count
    found = re.search(r"\b(\d+)\b", clause)
    return int(found.group(1)) if found else 1


def _level(segment: str) -> str:
    return next((level for level, pattern in _levels() if pattern.search(segment)), "")


def _gesture(clause: str) -> tuple[str, int]:
    """The head gesture of a clause, or "none", and where it stands."""
    direction = next((name for name, way in SIDE.items() if re.search(rf"\b{way}\b", clause)), None)
    sideways = direction in ("left", "right")
    if found := re.search(r"\bnod(s|ding|ded)?\b", clause):
        return "nod", found.start()
    if found := re.search(r"\b(shak(e|es|ing)|shook)\b", clause):
        return "shake", found.start()
    if sideways and (found := re.search(r"\b(tilt|lean)(s|ing|ed)?\b", clause)):
        return f"tilt_{direction}", found.start()
    if found := re.search(r"\blean(?:s|ing|ed)? (?:(forward|in)|back(?:wards?)?)\b", clause):
        return "lean_forward" if found.group(1) else "lean_back", found.start()
    if EYES.search(clause):
        return "none", 0
    if sideways and (found := re.search(r"\bturn(s|ing|ed)?\b", clause)):
        return f"turn_{direction}", found.start()
    if found := re.search(rf"\b(lift|rais|tip)\w* {THEIR} head\b|\blook(s|ing)? up(wards?)?\b", clause):
        return "look_up", found.start()
    if found := re.search(rf"\b(lower|bow|drop)\w* {THEIR} head\b|\blook(s|ing)? down(wards?)?\b", clause):
        return "look_down", found.start()
    return "none", 0


def _speech(segment: str) -> float | None:
    if SILENT.search(segment):
        return 0.0
    if not re.search(r"\b(speak|talk)(s|ing)?\b", segment):
        return None
    if NOT.search(segment):
        return 0.0
    percent = re.search(r"(\d+) ?(%|percent)", segment)
    return int(percent.group(1)) / 100 if percent else 1.0


def _clauses(text: str) -> Iterator[tuple[int, str, list[tuple[float, float]]]]:
    """(number of its sentence, clause, spans in it) of a text in small letters."""
    text = re.sub(r"\b(again and again|over and over|time and again)\b", "repeatedly", text.replace(HERE, " "))
    text = re.sub(r"\bbetween (\d+(?:\.\d+)?(?: s(?:econds)?)?) and (?=\d)", r"from \1 to ", text)
    spans = ((float(start), float(stop)) for start, stop in SPAN.findall(text))
    for sentence, said in enumerate(re.split(r"[.;!?\n]", f" {SPAN.sub(HERE, text)} ")):
        for clause in re.split(r"[,:]| then | and | while ", said):
            yield sentence, clause.replace(HERE, ""), [next(spans) for _ in range(clause.count(HERE))]


def _timed(order: Sequence[Told], clauses: Sequence[tuple[int, list[tuple[float, float]]]]) -> tuple[Told, ...]:
    """``order`` with spans: a clause's own, or those of a clause that has nothing else.

    ``clauses`` are (sentence, spans).
    """
    result = list(order)
    for number, (sentence, spans) in enumerate(clauses):
        places = [place for place, told in enumerate(order) if told.clause == number]
        if spans and not places:  # "They smile, from 0.3 to 1.6 s, then nod" or "From 0.3 to 1.6 s, they smile"
            near = [place for place, told in enumerate(result) if clauses[told.clause][0] == sentence]
            last = [place for place in near if result[place].clause < number][-1:]
            if last and result[last[0]].span is None:
                places = last
            else:
                places = [place for place in near if result[place].clause > number][:1]
        for place, span in zip(places, spans + spans[-1:] * len(places)):
            result[place] = result[place].model_copy(update={"span": span})
    return tuple(result)


def parse(text: str) -> Reading:
    """What ``text`` says, by keywords. Text that says nothing known gives an empty `Reading`."""
    shown: list[tuple[str, str]] = []
    sides: list[str] = []
    gestures: list[tuple[str, int]] = []
    gazes: list[str] = []
    blinks, speech = None, None
    order: list[Told] = []
    clauses = list(_clauses(text.lower()))
    for number, (_, segment, _) in enumerate(clauses):
        denied = NOT.search(segment)
        said = segment[: denied.start()] if denied else segment  # "nods without blinking", "without the nod"
        names = _found(segment, said)
        outside, around = said, segment
        for start, stop, _ in names:
            outside = outside.replace(segment[start:stop], " " * (stop - start))  # a wink's left eye is no glance left
            around = around[:start] + " " * (stop - start) + around[stop:]
        gesture, moved = _gesture(said)
        told: list[tuple[int, Told]] = []
        if gesture != "none":
            gestures.append((gesture, _number(segment)))
            told.append((moved, Told(kind="gesture", name=gesture, clause=number)))
        elif (eyes := EYES.search(outside)) and "blink" not in segment:
            where = next((name for name, way in SIDE.items() if re.search(rf"\b{way}\b", outside)), "front")
            if where not in ("front", *gazes[-1:]):
                gazes.append(where)
                told.append((eyes.start(), Told(kind="gaze", name=where, clause=number)))
        starts = [start for start, _, _ in names] + [start for start, _ in told]
        for start, stop, family in names:
            side = _side(segment, start, stop, family)
            sides += [side] if side else []
            if not shown or shown[-1][0] != family:
                shown.append((family, _level(around)))
                until = min((other for other in starts if other >= stop), default=len(segment))
                near = _side(segment[:until], start, stop, family) or ""  # the side that a head turns to is not its own
                told.append((start, Told(kind="family", name=family, side=near, clause=number)))
            elif not shown[-1][1]:
                shown[-1] = (family, _level(around))
        order += [one for _, one in sorted(told, key=lambda pair: pair[0])]
        if "blink" in segment and blinks is None:
            blinks = 0 if NOT.search(segment) or "unblink" in segment else _number(segment)
        speech = _speech(segment) if speech is None else speech
    if len(shown) > 1:  # a neutral face beside an expression is its frame, not one of two
        shown = [pair for pair in shown if pair[0] != "neutral"] or shown[:1]
        order = [one for one in order if one.name != "neutral"]
    rank = {"strong": 3, "clear": 2, "": 2, "slight": 1}
    main = max(shown, key=lambda pair: rank[pair[1]]) if shown else (None, "")
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
        gaze=gazes[0] if gazes else "front",
        blinks=blinks,
        speech_share=speech,
        spans=tuple(span for _, _, spans in clauses for span in spans),
        order=_timed(order, [(sentence, spans) for sentence, _, spans in clauses]),
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

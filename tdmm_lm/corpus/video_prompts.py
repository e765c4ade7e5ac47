"""Prompts for text-to-video generators, balanced exactly: what a face does, who does it, how it is filmed.

    python -c "from tdmm_lm.corpus import video_prompts as v; v.write(v.load(), 'runs/prompts.jsonl')"

Every word meets every subject equally often (`paired`); whatever else goes round is what was used least with the word,
then least with the subject. The first prompts of a longer list are those of a shorter one.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from tdmm_lm import bundle, config
from tdmm_lm.corpus.lexicon import Word, lexicon
from tdmm_lm.corpus.wordings import conjugate, tidy
from tdmm_lm.files import replacing
from tdmm_lm.observe import FAMILIES, GAZES, GESTURES, INTENSITIES

SHOWN = ("family", "level", "side", "micro_family", "blinks", "gesture", "count", "gaze")  # labels of what a face does
LEAST = 0.1  # of an intensity range that must lie in a level for the word to be asked for at that level


class Subject(config.Settings):
    """Who is seen. ``group`` and ``age`` are labels."""

    noun: str
    group: str
    age: str
    pronoun: Literal["she", "he", "they"]


class Level(config.Settings):
    """How an intensity is said: behind a verb, before an adjective."""

    adverb: str
    degree: str


class Micro(config.Settings):
    """Something small beside the expression; ``family``, ``blinks``, ``gesture`` and ``gaze`` say what it is."""

    clause: str = ""
    family: str = ""
    blinks: int = 0
    gesture: str = "none"
    count: int = 0
    gaze: str = "front"
    not_with: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _known(self) -> "Micro":
        unknown = {self.family, *self.not_with} - {"", *FAMILIES}
        if unknown:
            raise ValueError(f"expected families among {', '.join(FAMILIES)}, got {', '.join(sorted(unknown))}")
        if self.gesture not in GESTURES or self.gaze not in GAZES:
            raise ValueError(f"expected a known gesture and gaze, got {self.gesture!r} and {self.gaze!r}")
        return self


class Generator(config.Settings):
    """What is a generator's own in a prompt: its form, length and picture, and its ``share`` of the prompts."""

    share: float = Field(gt=0)
    frames: int = Field(ge=1)
    fps: float = Field(gt=0)
    size: tuple[int, int]  # width, height in pixels
    form: str
    negative: str = ""

    @model_validator(mode="after")
    def _whole(self) -> "Generator":
        for slot in ("{shot}", "{facial}"):
            if self.form.count(slot) != 1:
                raise ValueError(f"form: expected {slot} once, got {self.form!r}")
        return self

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


class Settings(config.Settings):
    """The whole YAML file; what its keys mean is explained there."""

    count: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)
    words: tuple[str, ...] | None = None
    refined: Path | None = None  # sentences reworded by `tdmm corpus paraphrase PROMPTS`: its paraphrases.jsonl
    subjects: tuple[Subject, ...] = Field(min_length=1)
    skin: tuple[str, ...] = Field(min_length=1)
    hair: tuple[str, ...] = Field(min_length=1)
    clothes: tuple[str, ...] = Field(min_length=1)
    backgrounds: tuple[str, ...] = Field(min_length=1)
    levels: dict[str, Level]
    micro: dict[str, Micro] = Field(min_length=1)
    shots: tuple[str, ...] = Field(min_length=1)
    generators: dict[str, Generator] = Field(min_length=1)

    @model_validator(mode="after")
    def _said(self) -> "Settings":
        if set(self.levels) != set(INTENSITIES):
            raise ValueError(f"levels: expected {', '.join(INTENSITIES)}, got {', '.join(self.levels)}")
        for name in self.words or ():
            lexicon().word(name)
        for name in self.generators:
            if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():  # they name files and keys
                raise ValueError(f"generators: expected names of letters, digits and dashes, got {name!r}")
        return self


@dataclass(frozen=True)
class Prompt:
    """A row. ``facial`` is the same for every generator; ``text`` is all that one is told. ``id`` names files.

    ``labels``: word, family, level ("" for a neutral face), side, micro with what it shows, subject, group, age, looks.
    """

    id: str
    number: int
    generator: str
    text: str
    negative: str
    facial: str
    frames: int
    fps: float
    size: tuple[int, int]
    seed: int
    labels: dict[str, Any]

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


def load(path: str | Path | None = None, assignments: list[str] | None = None) -> Settings:
    """The recipe, by default the bundled one."""
    return config.load(Settings, path or bundle.path("recipes/corpus/video_prompts.yaml"), assignments)


def levels_of(word: Word) -> tuple[str, ...]:
    """The levels at which a word may be asked for; ("",) for a neutral face."""
    if word.family == "neutral":
        return ("",)
    low, high = word.intensity
    spans = {name: min(high, stop) - max(low, start) for name, (start, stop) in INTENSITIES.items()}
    if word.strongly == ("",):  # takes no adverb, so that its level cannot be said
        return ("clear",)
    return tuple(name for name, span in spans.items() if span > LEAST) or (max(spans, key=lambda name: spans[name]),)


def paired(words: int, subjects: int, number: int) -> tuple[int, int]:
    """The ``number``-th pair of a walk over all pairs, diagonally.

    After any number of steps the words' counts differ by one at most, and so do the subjects'; every ``words`` times
    ``subjects`` steps each pair came once. Where both numbers have a common divisor a diagonal closes early, and the
    next begins one word further on.
    """
    return (number + number // math.lcm(words, subjects)) % words, number % subjects


def tells_side(word: Word) -> bool:
    """Whether `facial` says left or right of a word."""
    return not word.adjective and "{side}" in (word.verb or "")


def facial(name: str, level: str, side: str, micro: Micro, pronoun: str, levels: dict[str, Level]) -> str:
    """What the face does as one sentence, the same for every generator: "She smiles broadly and blinks twice."."""
    word = lexicon().word(name)
    if word.family == "neutral":
        clause = f"+keep a {word.adjective} face" if word.adjective else f"+{word.verb}"
    elif word.adjective:
        clause = f"+look {levels[level].degree} {word.adjective}"
    else:
        own = {"slight": word.slightly, "strong": word.strongly}.get(level, ())
        adverb = "" if word.strongly == ("",) else (own or (levels[level].adverb,))[0]
        clause = f"+{word.verb} {adverb}".replace("{side}", side)
    if micro.clause:
        clause += f" and {micro.clause}"
    subject = pronoun
    said = conjugate(clause, "pronoun", pronoun)
    return tidy(f"{subject.capitalize()} {said}.")


class _Rounds:
    """What was used how often, overall and together with a word or a subject."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.counts = rng, Counter[tuple[str, ...]]()

    def least(self, axis: str, values: Sequence[str], word: str, subject: str) -> str:
        """The value used least with the word, of these with the subject, of these at all, of these one by chance."""
        drawn = self.rng.random(len(values))

        def used(place: int) -> tuple[float, ...]:
            return (*(self.counts[key] for key in self._keys(axis, values[place], word, subject)), drawn[place])

        return self._taken(axis, values[min(range(len(values)), key=used)], word, subject)

    def share(self, axis: str, shares: dict[str, float], done: int, word: str, subject: str) -> str:
        """A value so that shares hold at any time to about one, of the eligible the one used least as above.

        ``done`` is the number of values drawn before.
        """
        total = sum(shares.values())
        due = {name: share / total * (done + 1) for name, share in shares.items()}
        late = [name for name in shares if self.counts[axis, name] < math.floor(due[name] + 1e-9)]
        open_ = late or [name for name in shares if self.counts[axis, name] < due[name] - 1e-9]
        drawn = dict(zip(shares, self.rng.random(len(shares))))

        def used(name: str) -> tuple[float, ...]:
            keys = self._keys(axis, name, word, subject)
            return (*(self.counts[key] / shares[name] for key in keys), drawn[name])

        return self._taken(axis, min(open_, key=used), word, subject)

    def _keys(self, axis: str, value: str, word: str, subject: str) -> tuple[tuple[str, ...], ...]:
        return (axis, value, "word", word), (axis, value, "subject", subject), (axis, value)

    def _taken(self, axis: str, value: str, word: str, subject: str) -> str:
        self.counts.update(self._keys(axis, value, word, subject))
        return value


def prompts(settings: Settings) -> Iterator[Prompt]:
    """All prompts in order; the same for the same settings.

    Raises:
        FileNotFoundError: no file of ``refined`` sentences.
        ValueError: a line in it that is no paraphrase.
    """
    rng = np.random.default_rng(settings.seed)
    names = settings.words or tuple(lexicon().words)
    rounds = _Rounds(rng)
    shares = {name: generator.share for name, generator in settings.generators.items()}
    even = len(set(shares.values())) == 1
    natural = _refined(settings.refined) if settings.refined else {}
    words: list[str] = []
    subjects: list[Subject] = []
    for number in range(settings.count):
        step = number % (len(names) * len(settings.subjects))
        if not step:  # every pair has come: another order, so that no word always follows the same
            words = [names[place] for place in rng.permutation(len(names))]
            subjects = [settings.subjects[place] for place in rng.permutation(len(settings.subjects))]
        first, second = paired(len(words), len(subjects), step)
        name, subject = words[first], subjects[second]
        word = lexicon().word(name)

        def least(axis: str, values: Iterable[str], name: str = name, noun: str = subject.noun) -> str:
            return rounds.least(axis, tuple(values), name, noun)

        level = least("level", levels_of(word))
        side = least("side", ("left", "right") if word.sided else ("both",))
        if not tells_side(word):  # either side is right; drawn all the same, so that films made before keep their ids
            side = "both"
        fitting = [key for key, micro in settings.micro.items() if word.family not in (micro.family, *micro.not_with)]
        micro = least("micro", fitting or ("none",))
        small = settings.micro.get(micro, Micro())
        looks = {"skin": least("skin", settings.skin), "hair": least("hair", settings.hair)}
        looks |= {"clothes": least("clothes", settings.clothes)}
        shot, background = least("shot", settings.shots), least("background", settings.backgrounds)
        generator = (
            least("generator", shares) if even else rounds.share("generator", shares, number, name, subject.noun)
        )
        own = settings.generators[generator]
        said = facial(name, level, side, small, subject.pronoun, settings.levels)
        ways = natural.get(said, (said,))
        said = ways[number % len(ways)]
        who = f"a {subject.noun} with {looks['skin']} and {looks['hair']}, wearing {looks['clothes']}"
        text = own.form.replace("{facial}", said).replace(
            "{shot}", tidy(shot.replace("{subject}", who).replace("{background}", background))
        )
        labels = {
            "word": name, "family": word.family, "level": level, "side": side, "micro": micro,
            "micro_family": small.family, "blinks": small.blinks, "gesture": small.gesture, "count": small.count,
            "gaze": small.gaze, "subject": subject.noun, "group": subject.group, "age": subject.age, **looks,
        }
        seed = int(np.random.default_rng([settings.seed, number]).integers(2**31))
        yield _named(number, generator, text, own, said, seed, labels)


def _refined(path: Path) -> dict[str, tuple[str, ...]]:
    """What a language model made of each sentence, where it kept what was said."""
    if not path.is_file():
        raise FileNotFoundError(f"refined: {path}: expected the paraphrases of prompts, found no file.")
    found: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line)
            original, text, kept = row["original"], row["text"], row["kept"]
            if not isinstance(original, str) or not isinstance(text, str) or not text.strip():
                raise TypeError
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"refined: {path}:{number}: expected a paraphrase, got {line[:60]!r}.") from None
        if kept:
            found.setdefault(original, []).append(text)
    return {original: tuple(texts) for original, texts in found.items()}


def _named(
    number: int, generator: str, text: str, own: Generator, said: str, seed: int, labels: dict[str, Any]
) -> Prompt:
    """With an id that no other request shares: films of a changed prompt are never taken for those of the old one."""
    whole = json.dumps([text, own.negative, own.frames, own.fps, own.size, seed])
    name = f"{number:06d}-{generator}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    return Prompt(name, number, generator, text, own.negative, said, own.frames, own.fps, own.size, seed, labels)


def write(settings: Settings, path: str | Path) -> int:
    """Write all prompts as JSON lines; returns how many."""
    with replacing(path) as beside:
        return save(prompts(settings), beside)


def save(rows: Iterable[Prompt], path: Path) -> int:
    """Write prompts as JSON lines; returns how many."""
    with path.open("w") as file:
        return sum(1 for prompt in rows if file.write(json.dumps(asdict(prompt)) + "\n"))


def read(path: str | Path) -> Iterator[Prompt]:
    """The prompts of a file of `write`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is no prompt.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file of prompts, found none.")
    with path.open() as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                found = Prompt(**{**row, "size": tuple(row["size"])})
                _ = [found.labels[key] for key in SHOWN]
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(f"{path}: line {number}: expected a prompt, got something else ({error}).") from None
            yield found

"""Motion2Language (TDMM-LM, section 5; T18): motions nobody trained on, and what the endpoint says of them.

Judge-free columns compare what the text says, by its keywords, with exact labels of a performance or with what
`observe` measures on a recording.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from tdmm_lm import bundle, codec, config, formats, rigs
from tdmm_lm.corpus import caption, labels, prompts, reading, recordings
from tdmm_lm.corpus.labels import Labels
from tdmm_lm.corpus.perform import perform
from tdmm_lm.eval import presenting, summaries
from tdmm_lm.eval.suites import Answered, Column, Item, LeftOut, OfSamples, Vectors
from tdmm_lm.motion import MotionClip
from tdmm_lm.observe import run as observing

SHARE = "share"
Motion = tuple[str, str, MotionClip, Labels]  # id, cluster, what is shown, what is true
FILMS = (".mp4", ".mpg", ".mov", ".avi", ".mkv", ".webm")
COLUMNS = {
    "family": Column(SHARE, "higher", "all expressions named, in their order, and no other"),
    "level": Column(SHARE, "higher", "how strong the strongest is: slight, clear, strong"),
    "side": Column(SHARE, "higher", "of texts that tell the side of an expression: the right one"),
    "gesture": Column(SHARE, "higher", "all head gestures named, in their order, and no other"),
    "count": Column(SHARE, "higher", "all nods and shakes counted right"),
    "gaze": Column(SHARE, "higher", "where the eyes went"),
    "blinks_within_1": Column(SHARE, "higher", "number of blinks, one more or less allowed"),
    "speech_within_10": Column(SHARE, "higher", "share of the time with speech, within ten points"),
    "spans": Column(SHARE, "higher", "of texts that tell seconds: all within .11 s"),
    "contradictions": Column("a text", "lower", "statements that are not so"),
    "words": Column("words", "none", "length of the text"),
    "tokens_per_second": Column("tokens", "lower", "prompt tokens read for a second of motion (T10)"),
}
SETS = {
    "bleu_1": Column("share", "higher", "pycocoevalcap, against three captions of the labels"),
    "bleu_4": Column("share", "higher", "the same, four-grams"),
    "rouge_l": Column("share", "higher", "longest common subsequence"),
    "cider": Column("CIDEr", "higher", "TF-IDF n-grams, 0 to 10"),
}
KEYS = {"blinks_within_1": "blinks", "speech_within_10": "speech_share"}  # columns by the names of `reading.agrees`


class Data(config.Settings):
    """What is shown. ``source``: performances of the test split; recordings of $TDMM_DATA that are held out; or all
    videos of one face in ``folder``, whose truth is what `observe` measures on the captured geometry.

    ``natural``: of videos, the film itself is shown, not the geometry captured from it (T18's second table).
    """

    source: Literal["performances", "recordings", "videos"] = "performances"
    folder: str | None = None
    natural: bool = False
    n: int = Field(500, ge=1)
    words: list[str] | None = None  # of the lexicon; null: all
    question: str = "Describe this motion."
    present: presenting.Way = "file"
    codec: str = "assets/lm/codec_face"  # for `present: tokens`: a bundled name or a path
    baseline: Literal["constant", "nearest"] | None = None  # instead of the endpoint; see `local`
    longest_seconds: float = Field(default=10.0, gt=0)  # of recordings; longer ones are cut
    options: dict[str, object] = Field(default={"modalities": ["text"]})  # of a request, beside the endpoint's own


def items(data: Data, seed: int) -> Iterator[Item | LeftOut]:
    """
    Raises:
        ValueError: recordings without $TDMM_DATA, an unknown word, videos without a folder, performances as films.
    """
    if data.natural and (data.source != "videos" or data.present not in ("sheet", "video")):
        raise ValueError("data.natural: expected source: videos and present: sheet or video, got others.")
    network = codec.load(bundle.either(data.codec)) if data.present == "tokens" else None
    rng = np.random.default_rng(seed)
    for motion in _motions(data, seed):
        if isinstance(motion, LeftOut):
            yield motion
            continue
        name, cluster, clip, truth = motion
        question = {"type": "text", "text": data.question}
        shown = (
            presenting.natural(Path(str(data.folder)) / name, data.present, data.longest_seconds) if data.natural
            else presenting.parts(clip, data.present, network)
        )
        content = [*shown, question]
        references = tuple(caption.describe(truth, rng, "full", split="test") for _ in range(3))
        yield Item(
            name, cluster, [{"role": "user", "content": content}], dict(data.options), references[0],
            (truth, references), clip,
        )


def _motions(data: Data, seed: int) -> Iterator[Motion | LeftOut]:
    if data.source == "performances":
        for i in range(data.n):
            score = prompts.sample(seed * 1_000_003 + i, split="test", words=data.words)
            known = labels.of_score(score)
            yield f"performance-{seed * 1_000_003 + i}", known.word or known.family, perform(score), known
        return
    if data.source == "videos":
        yield from _films(data)
        return
    folder = bundle.data()
    if folder is None:
        raise ValueError("data.source: recordings: expected $TDMM_DATA to name the folder of real data, it is unset.")
    found = 0
    for name, read in recordings.SOURCES.items():
        for sample in read(Path(folder)):
            if sample.split != "test" or found == data.n:
                continue
            clip = _cut(sample.clips["face"], data.longest_seconds)
            seen = labels.of_observation(observing.run(clip, rigs.load(clip.rig)))
            found += 1
            yield f"{name}-{sample.id}", sample.speaker or sample.id, clip, seen


def _films(data: Data) -> Iterator[Motion | LeftOut]:
    """Videos in the order of their names; one in which no face is found is left out."""
    if data.folder is None or not Path(data.folder).is_dir():
        raise ValueError(f"data.folder: expected a folder of videos, got {data.folder}.")
    found = 0
    for path in sorted(Path(data.folder).iterdir()):
        if path.suffix.lower() not in FILMS or found == data.n:
            continue
        try:
            clip = formats.read(path)
        except (ValueError, OSError) as error:
            yield LeftOut(path.name, str(error).removeprefix(f"{path}: "))
            continue
        if data.natural and data.present == "video" and clip.seconds > data.longest_seconds:
            yield LeftOut(path.name, f"expected at most {data.longest_seconds:g} s of film, got {clip.seconds:.1f}.")
            continue
        clip, found = _cut(clip, data.longest_seconds), found + 1
        yield path.name, path.stem, clip, labels.of_observation(observing.run(clip, rigs.load(clip.rig)))


def _cut(clip: MotionClip, seconds: float) -> MotionClip:
    most = round(seconds * clip.fps)
    return MotionClip(clip.values[:most], clip.fps, clip.modality, clip.rig, clip.shape)


def scored(item: Item, answer: Answered, data: Data) -> dict[str, float | None]:
    """Columns of one answer; a fault has none right."""
    truth: Labels = item.truth[0]
    read = caption.parse(answer.text)
    right = reading.agrees(read, truth)
    sided = {shown.side for shown in truth.shown if shown.side != "both"}
    result: dict[str, float | None] = {
        name: float(right[KEYS.get(name, name)]) for name in COLUMNS if KEYS.get(name, name) in right
    }
    if data.source != "performances":  # a talker's passing looks are nobody's expression
        result |= {"family": None, "level": None, "count": None}
    return result | {
        "side": float(set(read.sides) <= sided) if read.sides else None,
        "spans": result["spans"] if read.spans else None,
        "contradictions": float(len(reading.contradictions(read, truth))),
        "words": float(len(answer.text.split())),
        "tokens_per_second": answer.tokens_in / truth.seconds if answer.tokens_in else None,
    }


def sets(items: Sequence[Item], answers: Sequence[Answered], data: Data) -> dict[str, OfSamples]:
    """Caption metrics over all samples (a text that is missing counts as the empty text)."""
    from tdmm_lm.eval import texts

    return texts.drawn([answer.text for answer in answers], [item.truth[1] for item in items], tuple(SETS))


def candidate(item: Item, answer: Answered) -> tuple[str, str]:
    """The answer, and the exact description beside it."""
    return answer.text, item.reference


def told(item: Item, answer: Answered) -> tuple[str, str] | None:
    """The true family and the one said, for a table of confusions."""
    return item.truth[0].family, caption.parse(answer.text).family or "nothing"


KNOWN = 2000  # performances of the train split that baselines know


@cache
def _known() -> tuple[Float[np.ndarray, "known features"], tuple[str, ...]]:
    """Summaries of training performances, divided by their spread, and a description of each."""
    rng = np.random.default_rng(1)
    rows, texts = [], []
    for number in range(KNOWN):
        score = prompts.sample(number, split="train")
        rows.append(summaries.of(perform(score)))
        texts.append(caption.describe(labels.of_score(score), rng, "full"))
    return np.stack(rows), tuple(texts)


@cache
def _constant() -> str:
    """The description that is right most often: of 200, the one whose statements agree with most of 1,000 labels."""
    rng = np.random.default_rng(2)
    truths = [labels.of_score(prompts.sample(number, split="train")) for number in range(1000)]
    texts = [caption.describe(truth, rng, "full") for truth in truths[:200]]
    read = [caption.parse(text) for text in texts]
    return texts[int(np.argmax([sum(sum(reading.agrees(one, truth).values()) for truth in truths) for one in read]))]


def local(item: Item, data: Data) -> Answered | None:
    """Baselines: one and the same description, the best of its kind; or that of the nearest training performance."""
    if data.baseline is None or item.clip is None:
        return None
    if data.baseline == "constant":
        return Answered(_constant())
    rows, texts = _known()
    spread = rows.std(0) + 1e-6
    away = np.abs((rows - summaries.of(item.clip)) / spread).mean(1)
    return Answered(texts[int(away.argmin())])


def vectors(items: Sequence[Item], answers: Sequence[Answered], data: Data) -> Vectors | None:
    """Nothing to draw."""
    return None

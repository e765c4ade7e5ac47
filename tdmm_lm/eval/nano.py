"""What the bundled nano model can do, in figures: performances it never met, prompts in new words, real people.

`described` and `performed` measure both directions on the corpus's held-out split; `recorded` compares descriptions of
real recordings with what `observe` measures on the same source. No model grades itself.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tdmm_lm import bundle, codec, config, formats, report, rigs
from tdmm_lm.corpus import caption, edits, labels, perform, prompts, reading
from tdmm_lm.corpus import recordings as sources
from tdmm_lm.corpus.building import recipe
from tdmm_lm.corpus.score import Score
from tdmm_lm.eval import wording
from tdmm_lm.lm import generate
from tdmm_lm.motion import MotionClip
from tdmm_lm.observe import Observation
from tdmm_lm.observe import run as observing
from tdmm_lm.progress import track

Figures = dict[str, dict[str, Any]]
Hits = dict[str, list[float]]  # of each sample 1 (True) or 0; nan where it says nothing
TAUGHT = "recipes/corpus/nano.yaml"  # what the bundled model was trained on


@dataclass(frozen=True)
class Bench:
    """The model under test with its codec and the rig that its motion drives."""

    lm: generate.LM
    network: codec.Codec
    rig: rigs.Rig


def load(folder: Path | None = None) -> Bench:
    """The bundled model, or the one in ``folder``."""
    lm = generate.load(folder or bundle.path("assets/lm"))
    return Bench(lm, lm.codec(), rigs.load("head"))


def taught() -> tuple[str, ...] | None:
    """The words of the corpus that the bundled model learned from; None: all of the lexicon's."""
    asked = recipe.sources(config.load(recipe.Settings, bundle.path(TAUGHT)))["performed"][1]
    return asked.words or None


def share(hits: Sequence[float], **more: Any) -> dict[str, Any]:
    """A share as a figure, with Wilson's 95 % interval; nan does not count."""
    hits = [hit for hit in hits if not math.isnan(hit)]
    if not hits:
        return report.figure(None, "share", n=0, **more)
    n, z = len(hits), 1.959964
    p = sum(hits) / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    interval = (round(float(middle - half), 12), round(float(middle + half), 12))  # 0 and 1 exactly at the ends
    return report.figure(p, "share", n=n, interval=interval, **more)


def described(bench: Bench, *, n: int = 500) -> Figures:
    """Motion2Language on ``n`` performances of the test split (unseen scores).

    Families and gestures must be right in their order, all of them, as keywords in the description say. The peer of
    ``well_worded`` is captions from the labels.
    """
    scores = unseen(n, taught())
    texts = _descriptions(bench, scores)
    worded, ideal = (
        [wording.well_worded(text) for text in track(some, "reading")] for some in (texts, wording.exact(scores))
    )
    best = float(np.mean(ideal))
    figures = {name: share(hits) for name, hits in _described(texts, scores).items()}
    return figures | {
        "well_worded": share(worded, peer="exact captions", peer_value=best, ratio=float(np.mean(worded)) / best)
    }


def performed(bench: Bench, *, n: int = 500) -> Figures:
    """Language2Motion on ``n`` prompts in wordings kept from training: what `observe` finds in the performed motion.

    The peer is the same observation of the exact performance of the same score: what the observer can find at best.
    """
    scores = unseen(n, taught(), first=n)
    found = performed_hits(bench, scores)
    known = [labels.of_score(score) for score in scores]
    ideal = [observing.run(perform.perform(score), bench.rig) for score in track(scores, "observing the exact")]
    best = {key: float(np.mean(hits)) for key, hits in _asked_for(ideal, known).items()}
    result = {
        key: share(hits, peer="exact performance", peer_value=best[key], ratio=float(np.mean(hits)) / best[key])
        for key, hits in found.items() if key in best
    }
    return result | {key: share(hits) for key, hits in found.items() if key not in best}


def edited(bench: Bench, *, n: int = 300) -> Figures:
    """Exact performances with an instruction in words kept from training, and what `observe` finds after it: the
    expression and the gesture that are to be there, changed or not; ``edited_word`` where the expression is to change.
    """
    rng = np.random.default_rng(1)
    scores = unseen(n, taught(), first=2 * n)
    texts, after = zip(*(edits.edit(score, rng, split="test") for score in scores))
    codes = [codec.tokenize(bench.network, perform.perform(score), bench.rig) for score in track(scores, "performing")]
    made = generate.edit_batch(bench.lm, codes, texts, [len(one) for one in codes])
    seen = [
        observing.run(codec.detokenize(bench.network, one, bench.rig), bench.rig) for one in track(made, "observing")
    ]
    known = [labels.of_score(score) for score in after]
    hits = _asked_for(seen, known)
    changed = [labels.of_score(score).family != one.family for score, one in zip(scores, known)]
    return {
        "edited_family": share(hits["performed_family"]), "edited_gesture": share(hits["performed_gesture"]),
        "edited_word": share([hit for hit, new in zip(hits["performed_family"], changed) if new]),
    }


def unseen(n: int, words: tuple[str, ...] | None, *, first: int = 0) -> list[Score]:
    """Scores of the test split that ask for ``words`` (None: any of the lexicon), from seed ``first`` on."""
    return [prompts.sample(first + seed, split="test", words=words) for seed in range(n)]


def described_hits(bench: Bench, scores: Sequence[Score]) -> Hits:
    """Of each performance, whether its description is right, by the keys of `described`."""
    return _described(_descriptions(bench, scores), scores)


def _descriptions(bench: Bench, scores: Sequence[Score]) -> list[str]:
    codes = [codec.tokenize(bench.network, perform.perform(score), bench.rig) for score in track(scores, "performing")]
    return generate.describe_batch(bench.lm, codes)


def _described(texts: Sequence[str], scores: Sequence[Score]) -> Hits:
    read = [reading.agrees(caption.parse(text), labels.of_score(score)) for text, score in zip(texts, scores)]
    keys = {
        "family": "family_accuracy",
        "gesture": "gesture_accuracy",
        "count": "count_accuracy",
        "level": "level_accuracy",
        "gaze": "gaze_accuracy",
        "blinks": "blinks_within_1",
        "speech_share": "speech_within_10",
    }
    return {name: [one[key] for one in read] for key, name in keys.items()}


def performed_hits(bench: Bench, scores: Sequence[Score]) -> Hits:
    """Of each score, whether what the model performs for a prompt of it is as asked, by the keys of `performed`.

    Of those that ask for nods or shakes ``performed_counted`` is whether they get them as often as asked, and
    ``performed_count`` the same of those that get them at all; nan elsewhere.
    """
    rng = np.random.default_rng(0)
    known = [labels.of_score(score) for score in scores]
    asked = [caption.prompt(truth, rng, split="test") for truth in known]
    frames = [round(score.seconds * bench.network.code_fps) for score in scores]
    codes = generate.perform_batch(bench.lm, asked, frames)
    seen = [
        observing.run(codec.detokenize(bench.network, one, bench.rig), bench.rig) for one in track(codes, "observing")
    ]
    hits: Hits = _asked_for(seen, known)
    counting = [len(truth.gestures) == 1 and truth.gesture in ("nod", "shake") for truth in known]
    for key, where in (
        ("performed_counted", counting),
        ("performed_count", [asks and got for asks, got in zip(counting, hits["performed_gesture"])]),
    ):
        hits[key] = [
            float(one.gesture == truth.gesture and one.count == truth.count) if here else math.nan
            for one, truth, here in zip(seen, known, where)
        ]
    return hits


def _asked_for(seen: Sequence[Observation], known: Sequence[labels.Labels]) -> Hits:
    """A prompt with two expressions asks for the stronger, one with two gestures for either."""
    wanted = [[move.name for move in truth.gestures] or ["none"] for truth in known]
    return {
        "performed_family": [one.family == truth.family for one, truth in zip(seen, known)],
        "performed_gesture": [one.gesture in names for one, names in zip(seen, wanted)],
    }


def recordings(folder: Path, *, split: str | None = None) -> Iterator[MotionClip]:
    """The real clips of the data folder; split ``test``: every fifth GRID sentence and FACEGOOD's held-out take."""
    for source in sources.SOURCES.values():
        yield from (sample.clips["face"] for sample in source(folder) if split in (None, sample.split))


def read(bench: Bench, folder: Path) -> Figures:
    """Every face video (captured) and every recording of the folder: tokenised, described, observed.

    One that cannot be read raises; one described in words that say nothing known of a face does not count.
    """
    videos = sorted((folder / "grid_s1" / "video").glob("*.mpg"))
    clips = [formats.read(path) for path in track(videos, "capturing")] + list(recordings(folder))
    codes = [codec.tokenize(bench.network, clip) for clip in track(clips, "tokenising")]
    texts = generate.describe_batch(bench.lm, codes)
    seen = [observing.run(clip, rigs.load(clip.rig)) for clip in track(clips, "observing")]
    good = [caption.parse(text).family is not None and one.seconds > 0 for text, one in zip(texts, seen)]
    return {"recordings_read": share(good), "videos_captured": report.figure(len(videos), "videos")}


def recorded(bench: Bench, clips: Sequence[MotionClip]) -> Figures:
    """Descriptions of real recordings against `observe` on the source, beside the best constant description."""
    seen = [observing.run(clip, rigs.load(clip.rig)) for clip in track(clips, "observing recordings")]
    constant: dict[str, Any] = {
        "real_blinks_within_1": max(np.mean([abs(k - truth.blinks) <= 1 for truth in seen]) for k in range(6)),
        "real_speech_within_10": max(
            np.mean([abs(k / 10 - truth.speech_share) <= 0.1 for truth in seen]) for k in range(11)
        ),
        "real_head_agreement": _commonest([truth.gesture for truth in seen]),
        "real_gaze_agreement": _commonest([truth.gaze for truth in seen]),
    }
    result = {
        key: share(
            hits, peer="constant caption", peer_value=float(constant[key]),
            ratio=float(np.mean(hits)) / float(constant[key]),
        )
        for key, hits in recorded_hits(bench, clips, seen).items()
    }
    most = float(np.mean(list(constant.values())))
    return result | {"constant_caption_baseline": report.figure(most, "share", n=len(seen))}


def recorded_hits(
    bench: Bench, clips: Sequence[MotionClip], seen: Sequence[Observation]
) -> Hits:
    """Of each recording, whether its description says what was ``seen`` in its source, by the keys of `recorded`."""
    codes = [codec.tokenize(bench.network, clip) for clip in clips]
    said = [caption.parse(text) for text in generate.describe_batch(bench.lm, codes)]
    both = list(zip(said, seen, strict=True))
    return {
        "real_blinks_within_1": [
            one.blinks is not None and abs(one.blinks - truth.blinks) <= 1 for one, truth in both
        ],
        "real_speech_within_10": [
            one.speech_share is not None and abs(one.speech_share - truth.speech_share) <= 0.1 + 1e-9
            for one, truth in both
        ],
        "real_head_agreement": [one.gesture == truth.gesture for one, truth in both],
        "real_gaze_agreement": [one.gaze == truth.gaze for one, truth in both],
    }


def _commonest(values: Sequence[str]) -> float:
    return max(values.count(value) for value in set(values)) / len(values)


def parameters(bench: Bench) -> Figures:
    """The size of the language model."""
    return {"lm_parameters": report.figure(bench.lm.model.num_parameters(), "parameters")}

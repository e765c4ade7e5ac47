"""What the bundled nano model can do, in figures: performances it never met, prompts in new words, real people.

`described` and `performed` measure both directions on the corpus's held-out split; `recorded` compares descriptions of
real recordings with what `observe` measures on the same source. No model grades itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tdmm_lm import bundle, codec, config, formats, report, rigs
from tdmm_lm.corpus import caption, labels, perform, prompts, reading
from tdmm_lm.corpus import recordings as sources
from tdmm_lm.corpus.building import recipe
from tdmm_lm.lm import generate
from tdmm_lm.motion import MotionClip
from tdmm_lm.observe import Observation
from tdmm_lm.observe import run as observing
from tdmm_lm.progress import track

Figures = dict[str, dict[str, Any]]
TAUGHT = "recipes/corpus/first.yaml"  # what the bundled model was trained on


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


def share(hits: Sequence[bool], **more: Any) -> dict[str, Any]:
    """A share as a figure, with Wilson's 95 % interval."""
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

    Families and gestures must be right in their order, all of them, as keywords in the description say.
    """
    words = taught()
    scores = [prompts.sample(seed, split="test", words=words) for seed in range(n)]
    known = [labels.of_score(score) for score in scores]
    codes = [codec.tokenize(bench.network, perform.perform(score), bench.rig) for score in track(scores, "performing")]
    texts = generate.describe_batch(bench.lm, codes)
    read = [reading.agrees(caption.parse(text), truth) for text, truth in zip(texts, known)]
    keys = {
        "family": "family_accuracy",
        "gesture": "gesture_accuracy",
        "count": "count_accuracy",
        "level": "level_accuracy",
        "gaze": "gaze_accuracy",
        "blinks": "blinks_within_1",
        "speech_share": "speech_within_10",
    }
    return {name: share([one[key] for one in read]) for key, name in keys.items()}


def performed(bench: Bench, *, n: int = 500) -> Figures:
    """Language2Motion on ``n`` prompts in wordings kept from training: what `observe` finds in the performed motion.

    The peer is the same observation of the exact performance of the same score: what the observer can find at best.
    A prompt with two expressions asks for the stronger, one with two gestures for either.
    """
    rng = np.random.default_rng(0)
    words = taught()
    scores = [prompts.sample(n + seed, split="test", words=words) for seed in range(n)]
    known = [labels.of_score(score) for score in scores]
    asked = [caption.prompt(truth, rng, split="test") for truth in known]
    frames = [round(score.seconds * bench.network.code_fps) for score in scores]
    codes = generate.perform_batch(bench.lm, asked, frames)
    seen = [
        observing.run(codec.detokenize(bench.network, one, bench.rig), bench.rig) for one in track(codes, "observing")
    ]
    ideal = [observing.run(perform.perform(score), bench.rig) for score in track(scores, "observing the exact")]

    def hits(found: list[Observation], key: str) -> list[bool]:
        if key == "family":
            return [one.family == truth.family for one, truth in zip(found, known)]
        wanted = [[move.name for move in truth.gestures] or ["none"] for truth in known]
        return [one.gesture in names for one, names in zip(found, wanted)]

    result = {}
    for key in ("family", "gesture"):
        best = float(np.mean(hits(ideal, key)))
        value = hits(seen, key)
        result[f"performed_{key}"] = share(
            value, peer="exact performance", peer_value=best, ratio=float(np.mean(value)) / best
        )
    counted = [
        (one.count, truth.count)
        for one, truth in zip(seen, known)
        if len(truth.gestures) == 1 and truth.gesture in ("nod", "shake") and one.gesture == truth.gesture
    ]
    result["performed_count"] = share([found == wanted for found, wanted in counted])
    return result


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
    codes = [codec.tokenize(bench.network, clip) for clip in clips]
    said = [caption.parse(text) for text in generate.describe_batch(bench.lm, codes)]
    blinks = [one.blinks is not None and abs(one.blinks - truth.blinks) <= 1 for one, truth in zip(said, seen)]
    speech = [
        one.speech_share is not None and abs(one.speech_share - truth.speech_share) <= 0.1 + 1e-9
        for one, truth in zip(said, seen)
    ]
    head = [one.gesture == truth.gesture for one, truth in zip(said, seen)]
    gaze = [one.gaze == truth.gaze for one, truth in zip(said, seen)]
    constant = {
        "blinks": max(np.mean([abs(k - truth.blinks) <= 1 for truth in seen]) for k in range(6)),
        "speech": max(np.mean([abs(k / 10 - truth.speech_share) <= 0.1 for truth in seen]) for k in range(11)),
        "head": max(np.mean([truth.gesture == name for truth in seen]) for name in {truth.gesture for truth in seen}),
        "gaze": max(np.mean([truth.gaze == name for truth in seen]) for name in {truth.gaze for truth in seen}),
    }

    def against(value: list[bool], key: str) -> dict[str, Any]:
        peer = float(constant[key])
        return share(value, peer="constant caption", peer_value=peer, ratio=float(np.mean(value)) / peer)

    return {
        "real_blinks_within_1": against(blinks, "blinks"),
        "real_speech_within_10": against(speech, "speech"),
        "real_head_agreement": against(head, "head"),
        "real_gaze_agreement": against(gaze, "gaze"),
        "constant_caption_baseline": report.figure(float(np.mean(list(constant.values()))), "share", n=len(seen)),
    }


def parameters(bench: Bench) -> Figures:
    """The size of the language model."""
    return {"lm_parameters": report.figure(bench.lm.model.num_parameters(), "parameters")}

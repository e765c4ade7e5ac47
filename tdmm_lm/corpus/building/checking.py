"""A data set verified: every row against its score, its texts, its sound and its neighbours, and the card against all.

    tdmm corpus check runs/corpus
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tdmm_lm.corpus import caption, labels, reading, table
from tdmm_lm.corpus.building import card, counting, recipe
from tdmm_lm.corpus.labels import Labels
from tdmm_lm.corpus.perform import perform
from tdmm_lm.corpus.score import Score
from tdmm_lm.corpus.sources import SHARED
from tdmm_lm.progress import track

if TYPE_CHECKING:
    from tdmm_lm.codec import Codec

EXACT = ("families", "family", "gesture", "count", "nods", "gaze", "blinks", "level", "words")  # labels of a score
SAME = 1e-3  # of a clip's channels, made again: float16's precision
SLACK_FRAMES = 1.0  # by which sound may differ from its clip


@dataclass
class Seen:
    """What must be one's own: ids of a row; scores and speakers of a split."""

    ids: set[bytes] = field(default_factory=set)
    owners: dict[bytes, str] = field(default_factory=dict)


def check(folder: Path) -> str:
    """Counts of a data set, after every row was verified.

    Labels and clips of performances are made again from their scores and must be the same; every description must read
    back as its labels; no id twice, no score in two splits, no speaker in two but where its provenance says so;
    sound decodes and is as long as its clip; a licence everywhere; codes in the codec's range; and the card's numbers
    are the rows'.

    Raises:
        ValueError: the first thing that is wrong, and how.
        FileNotFoundError: no data set there.
    """
    files = table.shards(folder)
    said = folder / card.STATS
    stats = counting.of(_verified(folder, files), table.rejected(folder))
    if not said.is_file():
        raise ValueError(f"{said}: expected the numbers of a finished build, found none; build it to the end.")
    kept = json.loads(said.read_text())
    wrong = [key for key in {**stats, **kept} if kept.get(key) != json.loads(json.dumps(stats.get(key)))]
    if wrong:
        raise ValueError(f"{said}: expected what the rows come to, got other {', '.join(wrong)}; build again.")
    lines = [
        f"{folder}: {stats['rows']} rows, {stats['distinct_texts_and_prompts']} distinct texts and prompts; labels, "
        "clips, texts, sound, splits and counts agree."
    ]
    for key in ("splits", "sources", *counting.COUNTED, "rejected"):
        if stats[key]:
            lines.append(f"  {key}: " + ", ".join(f"{name or 'none'} {count}" for name, count in stats[key].items()))
    return "\n".join(lines)


def _verified(folder: Path, files: list[Path]) -> Iterator[dict[str, Any]]:
    """All rows, each as soon as it has passed."""
    codec, seen = _codec(folder), Seen()
    for file in track(files, "shards"):
        for row in table.verified(file):
            verify(row, seen, codec, split=file.name.partition("-")[0])
            yield row


def verify(row: dict[str, Any], seen: Seen, codec: "Codec | None", *, split: str) -> None:
    """One row.

    Raises:
        ValueError: the first thing that is wrong with it.
    """
    where = row["id"]
    if row["split"] != split:
        raise ValueError(f"{where}: expected the split {split} of its file, got {row['split']!r}.")
    if not row["licence"]:
        raise ValueError(f"{where}: expected a licence, got none.")
    _alone(row, seen)
    for name in table.STORED:
        if row[name] is not None:
            table.clip_of(row, name)
    if row["labels"] is not None:
        known = Labels.model_validate(row["labels"])
        if row["score"]:
            _same(row, known)
        _texts(row, known)
    elif row["described"]:
        raise ValueError(f"{where}: expected labels behind its {row['described']} descriptions, got none.")
    wave = table.sound_of(row)
    clip = row["face"] or row["body"]
    if wave is not None and clip is not None:
        seconds, frames = clip["frames"] / clip["fps"], len(wave) / table.AUDIO_RATE * clip["fps"]
        if abs(frames - clip["frames"]) > SLACK_FRAMES:
            heard = len(wave) / table.AUDIO_RATE
            raise ValueError(f"{where}: expected sound as long as its clip, {seconds:.2f} s, got {heard:.2f} s.")
    for codes in (row["codes"], row["edit"] and row["edit"]["codes"]):
        _codes(where, codes, codec)


def _alone(row: dict[str, Any], seen: Seen) -> None:
    """No id twice; no score in two splits, and no speaker but where its provenance says so."""
    name = hashlib.blake2b(row["id"].encode(), digest_size=8).digest()
    if name in seen.ids:
        raise ValueError(f"{row['id']}: expected an id once, got it twice.")
    seen.ids.add(name)
    shared = not row["speaker"] or json.loads(row["provenance"]).get(SHARED)
    speaker = None if shared else f"speaker {row['source']}/{row['speaker']}"
    for what, told in (("score", row["score"]), (f"speaker {row['speaker']}", speaker)):
        if told:
            owner = seen.owners.setdefault(hashlib.blake2b(told.encode(), digest_size=8).digest(), row["split"])
            if owner != row["split"]:
                raise ValueError(
                    f"{row['id']}: expected its {what} in one split, found it in {owner} and {row['split']}."
                )


def _same(row: dict[str, Any], known: Labels) -> None:
    """Raises ValueError where a performance's row is not what its score says."""
    score = Score.model_validate_json(row["score"])
    truth = labels.of_score(score)
    wrong = [fact for fact in EXACT if _of(truth, fact) != _of(known, fact)]
    if wrong:
        raise ValueError(f"{row['id']}: expected the labels of its score, got another {', '.join(wrong)}.")
    if row["face"]:
        made, kept = perform(score).values, table.clip_of(row).values
        difference = np.abs(made - kept).max() if made.shape == kept.shape else np.inf
        if not difference <= SAME:
            raise ValueError(f"{row['id']}: expected its score's motion, got one that differs by {difference:.4f}.")


def _of(known: Labels, fact: str) -> Any:
    return known.families if fact == "families" else known.model_dump()[fact]


def _texts(row: dict[str, Any], known: Labels) -> None:
    for text in row["texts"][len(row["texts"]) - row["described"] :]:
        if text == caption.label(known):
            continue
        said = caption.parse(text)
        right = reading.agrees(said, known)
        wrong = {key for key in ("family", "gesture", "count") if not right[key]}  # even the shortest say these
        wrong |= set(reading.contradictions(said, known))
        if wrong - {"level"}:
            raise ValueError(
                f"{row['id']}: expected a text that says its labels, got {', '.join(sorted(wrong))} wrong in {text!r}."
            )


def _codec(folder: Path) -> "Codec | None":
    """The codec that the folder's recipe names."""
    path = folder / "recipe.json"
    name = json.loads(path.read_text())["codec"] if path.is_file() else None
    if name is None:
        return None
    from tdmm_lm import codec

    return codec.load(recipe.codec_folder(name))


def _codes(where: str, codes: list[int] | None, codec: "Codec | None") -> None:
    if codes is None:
        return
    if codec is None:
        raise ValueError(f"{where}: expected no codes, since recipe.json names no codec, got {len(codes)}.")
    if not codes or len(codes) % codec.books or not 0 <= min(codes) <= max(codes) < codec.codebook_size:
        raise ValueError(
            f"{where}: expected {codec.books} codes a frame from 0 to {codec.codebook_size - 1}, got {len(codes)} from "
            f"{min(codes, default=0)} to {max(codes, default=0)}."
        )

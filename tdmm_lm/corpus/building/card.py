"""The card of a built data set: `README.md` and `stats.json`, written from its rows, and pictures of them.

The YAML at the head of the README is what `datasets.load_dataset(FOLDER)` reads: which files are which split.
"""

import json
from pathlib import Path
from typing import Any

from tdmm_lm.corpus import table
from tdmm_lm.corpus.building import counting, histograms, recipe

STATS, CARD, PICTURES = "stats.json", "README.md", "pictures"
COLUMNS = {
    "id": "the same for the same recipe",
    "split": "train, dev or test; no score is in two, and no speaker but where the provenance says `speakers_shared`",
    "source, licence, speaker": "where it comes from and under what terms; speaker is empty where nobody knows",
    "texts, described": "what the clip shows; the last `described` of them were made from the labels",
    "prompts": "requests for it, of performances",
    "labels": "family, word, intensity, level, timed expressions, head gestures, glances, blinks, share of speech: "
    "exact for performances, observed for recordings; null for bodies",
    "score": "what was performed, as JSON: `tdmm animate` performs it again",
    "face, body": "motion: `values` row by row (face float16, body float32), `frames`, `fps`, `rig`, `shape`",
    "audio": "FLAC, mono, 16 kHz, as long as the clip",
    "codes": "the codec's, frame by frame, books flattened",
    "edit": "an instruction, the score after it and its codes",
    "provenance": "JSON: the file and the seconds of it, or the generator",
}
CALLED = {"words": "Words", "gesture": "Head gestures", "gaze": "Gaze", "level": "Levels", "blinks": "Blinks"}


def write(out: Path, settings: recipe.Settings) -> dict[str, Any]:
    """Count the rows and write card, pictures and numbers; returns the numbers (`tdmm_lm.corpus.building.counting`).

    Raises:
        ValueError: no room on the disk.
    """
    stats = counting.of(table.rows(out, counting.COLUMNS), table.rejected(out))
    pictures = histograms.draw(stats, out / PICTURES)
    text = readme(stats, pictures, recipe.told(settings), [path.name for path in table.shards(out)])
    with table.writing(out / CARD) as path:
        path.write_text(text)
    with table.writing(out / STATS) as path:
        path.write_text(json.dumps(stats, indent=1) + "\n")
    return stats


def readme(stats: dict[str, Any], pictures: dict[str, str], said: dict[str, Any], files: list[str]) -> str:
    """The card's text."""
    splits = [split for split in recipe.SPLITS if any(name.startswith(f"{split}-") for name in files)]
    lines = ["---", "pretty_name: Motion and text, built by tdmm_lm", *_licence(stats)]
    lines += ["configs:", "- config_name: default", "  default: true", "  data_files:"]
    for split in splits:
        lines += [f"  - split: {split}", f"    path: {split}-*.parquet"]
    if stats["rejected"]:
        lines += ["- config_name: rejected", "  data_files:", "  - split: rejected"]
        lines += [f"    path: {table.REJECTS}/*.parquet"]
    lines += [
        "---", "", "# Human motion with its words", "",
        f"{stats['rows']:,} clips, {stats['hours']:.2f} hours ({stats['hours_of_sound']:.2f} with sound), "
        f"{stats['texts']:,} descriptions and {stats['prompts']:,} prompts, {stats['distinct_texts_and_prompts']:,} of "
        f"them distinct. {_held(stats)} Built by `tdmm corpus build` from `recipe.json`; the numbers here are counted "
        "from the rows (`stats.json`), and `tdmm corpus check` counts them again.", "",
        "| split | clips | hours |", "|---|---|---|",
        *(f"| {key} | {stats['splits'].get(key, 0):,} | {stats['hours_by_split'][key]:.2f} |" for key in splits), "",
        "## Where it comes from", "", "| source | clips |", "|---|---|",
        *(f"| {source} | {count:,} |" for source, count in stats["sources"].items()), "",
        "| licence | clips |", "|---|---|",
        *(f"| {name} | {count:,} |" for name, count in stats["licences"].items()), "",
    ]
    speakers = stats["speakers"]
    lines += [f"Speakers known by name: {len(speakers)}, of {sum(speakers.values()):,} clips.", ""]
    if stats["rejected"]:
        told = ", ".join(f"{reason} {count:,}" for reason, count in stats["rejected"].items())
        lines += [f"Left out, with reasons and figures in `{table.REJECTS}/`: {told}.", ""]
    lines += [
        "## How to load it", "", "```python", "from datasets import load_dataset", "",
        'rows = load_dataset("FOLDER", split="train")  # streaming=True reads on the way',
        "from tdmm_lm.corpus import table",
        "clip = table.clip_of(rows[0])  # a MotionClip; table.sound_of(rows[0]) is its sound", "",
        "from datasets import Audio  # the sound as `datasets` decodes it; needs torchcodec",
        'rows = rows.cast_column("audio", Audio(sampling_rate=16000))', "```", "",
        "| column | |", "|---|---|", *(f"| {name} | {means} |" for name, means in COLUMNS.items()), "",
        "## What is in it", "",
    ]
    for name, shows in pictures.items():
        lines += [f"![{shows}]({PICTURES}/{name})", ""]
    for key, called in CALLED.items():
        if stats[key]:
            told = ", ".join(f"{name or 'none'} {count:,}" for name, count in stats[key].items())
            lines += [f"{called}: {told}.", ""]
    return "\n".join([*lines, "## Recipe", "", "```json", json.dumps(said, indent=2), "```", ""])


def _held(stats: dict[str, Any]) -> str:
    told = [f"{stats[f'rows_with_{name}']:,} with {what}" for name, what in (
        ("face", "a face's motion"), ("body", "a body's motion"), ("audio", "sound")
    ) if stats[f"rows_with_{name}"]]
    return f"{', '.join(told)}.".capitalize() if told else "No motion is kept: scores and codes stand for it."


def _licence(stats: dict[str, Any]) -> list[str]:
    """The hub's own name of the licence, where all rows have one that has one."""
    if list(stats["licences"]) == ["Apache-2.0"]:
        return ["license: apache-2.0"]
    return ["license: other", "license_name: by-row", "license_details: every row names its own"]

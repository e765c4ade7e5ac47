"""The table of a data set: its columns in Parquet, rows written and read, and a row as the house's `Sample`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from tdmm_lm.files import replacing
from tdmm_lm.motion import MotionClip
from tdmm_lm.sample import Sample

_SHOWN = pa.struct(
    [
        ("family", pa.string()),
        ("word", pa.string()),
        ("intensity", pa.float32()),
        ("level", pa.string()),
        ("side", pa.string()),
        ("onset", pa.float32()),
        ("apex", pa.float32()),
        ("offset", pa.float32()),
    ]
)
_MOVED = pa.struct([("name", pa.string()), ("count", pa.int32()), ("onset", pa.float32()), ("offset", pa.float32())])
_LABELS = pa.struct(
    [
        ("seconds", pa.float32()),
        ("subject", pa.string()),
        ("shown", pa.list_(_SHOWN)),
        ("gestures", pa.list_(_MOVED)),
        ("gazes", pa.list_(_MOVED)),
        ("blinks", pa.int32()),
        ("speech_share", pa.float32()),
        ("family", pa.string()),
        ("word", pa.string()),
        ("words", pa.list_(pa.string())),
        ("intensity", pa.float32()),
        ("level", pa.string()),
        ("gesture", pa.string()),
        ("count", pa.int32()),
        ("nods", pa.int32()),
        ("gaze", pa.string()),
    ]
)
_FACE = pa.struct([("values", pa.binary()), ("frames", pa.int32()), ("fps", pa.float32()), ("rig", pa.string())])
_CODES = pa.list_(pa.int32())
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("licence", pa.string()),
        ("texts", pa.list_(pa.string())),
        ("prompts", pa.list_(pa.string())),
        ("labels", _LABELS),
        ("score", pa.string()),  # JSON; null for recordings
        ("face", _FACE),  # the clip, values as float16 row by row; null where the recipe leaves clips out
        ("codes", _CODES),  # frame by frame, books flattened; null without a codec
        ("edit", pa.struct([("instruction", pa.string()), ("score", pa.string()), ("codes", _CODES)])),
    ]
)


def write(made: Iterator[dict[str, Any]], path: Path) -> None:
    """Rows into one file, streaming; the file is there when it is whole."""
    with replacing(path) as beside, pa.parquet.ParquetWriter(beside, SCHEMA, compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for row in made:
            batch.append(row)
            if len(batch) == 256:
                writer.write_table(pa.Table.from_pylist(batch, SCHEMA))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, SCHEMA))


def packed(clip: MotionClip) -> dict[str, Any]:
    """A clip as the column ``face`` holds it, in float16."""
    return {"values": clip.values.astype(np.float16).tobytes(), "frames": clip.frames, "fps": clip.fps, "rig": clip.rig}


def clip_of(row: dict[str, Any]) -> MotionClip:
    """The motion of a row, to float16's precision.

    Raises:
        ValueError: the recipe left clips out.
    """
    face = row["face"]
    if face is None:
        raise ValueError(f"{row['id']}: expected a clip, got a row of a recipe with clips: false.")
    values = np.frombuffer(face["values"], np.float16).reshape(face["frames"], -1).astype(np.float32)
    return MotionClip(values, face["fps"], "face", face["rig"])


def sample_of(row: dict[str, Any]) -> Sample:
    """A row as the house's `Sample`."""
    return Sample(
        row["id"],
        tuple(row["texts"]),
        {"face": clip_of(row)},
        row["split"],
        row["source"],
        row["licence"],
        row["labels"],
    )


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """All rows of a data set, shard by shard.

    Raises:
        FileNotFoundError: no shard there.
    """
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise FileNotFoundError(
            f"{folder}: expected a data set's *.parquet, found none; `tdmm corpus build` makes one."
        )
    for file in files:
        for batch in pa.parquet.ParquetFile(file).iter_batches(256):
            yield from batch.to_pylist()

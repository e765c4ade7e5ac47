"""The table of a data set: its columns in Parquet, shards written and read, and a row as the house's `Sample`.

A shard's bytes depend on its rows alone: row groups have a fixed size and nothing writes a time. Every page carries a
checksum, which `verified` has Parquet look at.
"""

import errno
import hashlib
import io
import json
import os
import types
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from jaxtyping import Float
from pydantic import BaseModel

from tdmm_lm.corpus.labels import Labels
from tdmm_lm.files import replacing
from tdmm_lm.motion import MotionClip
from tdmm_lm.sample import Sample
from tdmm_lm.video import AUDIO_RATE

GROUP = 64  # rows a row group: few enough that a reader holds little, sound included
MADE_OF = b"tdmm_items"  # keys of a shard's footer: the fingerprint of the items it was made of, and how many
REJECTIONS = b"tdmm_rejected"  # rows of the same name lie in `REJECTS`
AGAIN = "remove it and build again: only it is made anew"
REJECTS = "rejected"  # folder beside the shards, so that nobody takes its rows for the data set's
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
STORED: dict[str, np.dtype] = {"face": np.dtype("<f2"), "body": np.dtype("<f4")}  # bodies walk far from the origin


def column(kind: Any) -> pa.DataType:
    """The Parquet type of a settings field: models become structs, tuples lists, floats single precision."""
    plain: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int32(), float: pa.float32(), bool: pa.bool_()}
    if kind in plain:
        return plain[kind]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return pa.struct([(name, column(field.annotation)) for name, field in kind.model_fields.items()])
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return pa.string()
    if origin in (Union, types.UnionType):
        return column(next(one for one in inside if one is not type(None)))
    assert origin is tuple, kind
    return pa.list_(column(inside[0]))


_CLIP = pa.struct([
    ("values", pa.binary()), ("frames", pa.int32()), ("fps", pa.float32()), ("rig", pa.string()),
    ("shape", pa.binary()),
])
_CODES = pa.list_(pa.int32())
SCHEMA = pa.schema([
    ("id", pa.string()),
    ("split", pa.string()),
    ("source", pa.string()),
    ("licence", pa.string()),
    ("speaker", pa.string()),  # "" where nobody knows
    ("texts", pa.list_(pa.string())),
    ("described", pa.int32()),  # so many of the texts, the last, were made from the labels; the others were given
    ("prompts", pa.list_(pa.string())),
    ("labels", column(Labels)),  # null for bodies, which nothing here observes
    ("score", pa.string()),  # JSON; null for what was not performed
    ("face", _CLIP),  # values as float16 row by row; null where the recipe leaves clips out, or there is no face
    ("body", _CLIP),  # the same as float32
    ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),  # FLAC, as `datasets.Audio` has it
    ("codes", _CODES),  # frame by frame, books flattened; null without a codec
    ("edit", pa.struct([("instruction", pa.string()), ("score", pa.string()), ("codes", _CODES)])),
    ("provenance", pa.string()),  # JSON: the file, the seconds of it, the generator
])
REJECTED = pa.schema([
    ("id", pa.string()), ("source", pa.string()), ("split", pa.string()), ("reason", pa.string()),
    ("detail", pa.string()), ("figures", pa.string()),  # JSON: name -> number
])


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """`replacing`, flushed to the disk before it takes its name; a full disk is the user's to mend.

    Raises:
        ValueError: no room left. Nothing is left behind, and what was there stays.
    """
    try:
        with replacing(path) as beside:
            yield beside
            with beside.open("rb") as file:
                os.fsync(file.fileno())
    except OSError as error:
        if error.errno in FULL:
            raise ValueError(
                f"{path}: expected room to write it, got {os.strerror(error.errno or 0).lower()}; make room and start "
                "again: finished shards stay."
            ) from None
        raise


def write(made: Iterable[dict[str, Any]], path: Path, schema: pa.Schema = SCHEMA, *, made_of: str = "") -> int:
    """Rows into one file, streaming; the file is there when it is whole. Returns how many there were.

    Raises:
        ValueError: no room left on the disk.
    """
    with writing(path) as beside:
        return fill(made, beside, schema, made_of=made_of)


def fill(
    made: Iterable[dict[str, Any]], path: Path, schema: pa.Schema = SCHEMA, *, made_of: str = "",
    refused: Sized | None = None,
) -> int:
    """The same into a path that is nobody's yet; ``refused`` is counted when the rows are through."""
    count, batch = 0, []
    named = schema.with_metadata({MADE_OF: made_of.encode()})
    with pa.parquet.ParquetWriter(path, named, compression="zstd", write_page_checksum=True) as writer:
        for row in made:
            batch.append(row)
            if len(batch) == GROUP:
                writer.write_table(pa.Table.from_pylist(batch, named), row_group_size=GROUP)
                count, batch = count + GROUP, []
        if batch:  # a file without rows has no row group: `datasets` stumbles over an empty one
            writer.write_table(pa.Table.from_pylist(batch, named), row_group_size=GROUP)
        if refused is not None:
            writer.add_key_value_metadata({REJECTIONS: str(len(refused))})
    return count + len(batch)


def fingerprint(items: Iterable[Any]) -> str:
    """Of a shard's items: what their order, splits and contents come to."""
    told = json.dumps([[item.id, item.split, item.what] for item in items], sort_keys=True)
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def made_of(path: Path) -> tuple[str, int] | None:
    """(fingerprint of its items, rows) of a shard on disk; None where it cannot be read."""
    try:
        found = pa.parquet.read_metadata(path)
    except (pa.ArrowInvalid, OSError):
        return None
    return (found.metadata or {}).get(MADE_OF, b"").decode(), found.num_rows


def missed(path: Path) -> str | None:
    """What is wrong with what a whole shard's items were rejected for; None where all of it lies in `REJECTS`."""
    told = pa.parquet.read_metadata(path).metadata or {}
    if REJECTIONS not in told:
        return None  # a shard of somebody's own
    beside, count = path.parent / REJECTS / path.name, int(told[REJECTIONS])
    found = made_of(beside) if beside.exists() else (told.get(MADE_OF, b"").decode(), 0)
    if found == (told.get(MADE_OF, b"").decode(), count):
        return None
    got = "a broken file" if found is None else f"{found[1]}"
    return f"{beside}: expected the {count} rejections of {path.name}, got {got}"


def packed(clip: MotionClip) -> dict[str, Any]:
    """A clip as the columns ``face`` and ``body`` hold it."""
    return {
        "values": clip.values.astype(STORED[clip.modality]).tobytes(), "frames": clip.frames, "fps": clip.fps,
        "rig": clip.rig, "shape": clip.shape.astype("<f4").tobytes() or None,
    }


def clip_of(row: dict[str, Any], modality: str = "face") -> MotionClip:
    """The motion of a row, a face's to float16's precision.

    Raises:
        ValueError: there is no such clip in the row.
    """
    held = row[modality]
    if held is None:
        raise ValueError(f"{row['id']}: expected a {modality} clip, got none; `clips: false` leaves them out.")
    values = np.frombuffer(held["values"], STORED[modality]).reshape(held["frames"], -1).astype(np.float32)
    return MotionClip(values, held["fps"], modality, held["rig"], np.frombuffer(held["shape"] or b"", "<f4"))


def flac(wave: Float[np.ndarray, " samples"], name: str) -> dict[str, Any]:
    """Mono sound at 16 kHz as the column ``audio`` holds it, 16 bits a sample."""
    import soundfile

    held = io.BytesIO()
    soundfile.write(held, np.clip(wave, -1, 1), AUDIO_RATE, format="FLAC", subtype="PCM_16")
    return {"bytes": held.getvalue(), "path": f"{name.replace('/', '-')}.flac"}


def sound_of(row: dict[str, Any]) -> Float[np.ndarray, " samples"] | None:
    """A row's sound, mono float32 at 16 kHz, or None where there is none.

    Raises:
        ValueError: it does not decode, or is of another kind.
    """
    if row["audio"] is None:
        return None
    import soundfile

    try:
        wave, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{row['id']}: expected sound that decodes, got {error.error_string}") from None
    if rate != AUDIO_RATE or wave.shape[1] != 1:
        raise ValueError(f"{row['id']}: expected mono at {AUDIO_RATE} Hz, got {wave.shape[1]} channels at {rate} Hz.")
    return wave[:, 0]


def sample_of(row: dict[str, Any]) -> Sample:
    """A row as the house's `Sample`."""
    return Sample(
        row["id"], tuple(row["texts"]), {name: clip_of(row, name) for name in STORED if row[name] is not None},
        row["split"], row["source"], row["licence"], row["labels"] or {}, sound_of(row), row["speaker"] or "",
        json.loads(row["provenance"] or "{}"),
    )


def shards(folder: Path) -> list[Path]:
    """The files of a data set's rows, in order.

    Raises:
        FileNotFoundError: none there.
    """
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise FileNotFoundError(
            f"{folder}: expected a data set's *.parquet, found none; `tdmm corpus build` makes one."
        )
    return files


def rows(folder: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """All rows of a data set, shard by shard, a row group at a time; ``columns`` reads no others.

    Raises:
        FileNotFoundError: no shard there.
    """
    for file in shards(folder):
        yield from _rows(file, columns)


def verified(file: Path) -> Iterator[dict[str, Any]]:
    """A shard's rows, checksums looked at.

    Raises:
        ValueError: a file that is cut off or damaged, or one of other columns.
    """
    try:
        found = pa.parquet.read_schema(file)
        if not found.equals(SCHEMA):
            wrong = [f.name for f in SCHEMA if f.name not in found.names or not found.field(f.name).equals(f)]
            wrong += [name for name in found.names if name not in SCHEMA.names]
            raise ValueError(f"{file}: expected this version's columns, got others ({', '.join(wrong)}); {AGAIN}.")
        yield from _rows(file, None, checked=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{file}: expected a whole Parquet file, got {_line(error)}; {AGAIN}.") from None
    if (lost := missed(file)) is not None:
        raise ValueError(f"{lost}; {AGAIN.replace('it', file.name, 1)}.")


def rejected(folder: Path) -> Iterator[dict[str, Any]]:
    """What did not become rows, in order: id, source, split, reason, detail, figures (a JSON text).

    Raises:
        ValueError: a file that is cut off or damaged.
    """
    for file in sorted((folder / REJECTS).glob("*.parquet")):
        try:
            yield from _rows(file, None, checked=True)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{file}: expected a whole Parquet file, got {_line(error)}; {AGAIN}.") from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _rows(file: Path, columns: list[str] | None, *, checked: bool = False) -> Iterator[dict[str, Any]]:
    with pa.parquet.ParquetFile(file, page_checksum_verification=checked) as opened:
        for batch in opened.iter_batches(GROUP, columns=columns):
            yield from batch.to_pylist()

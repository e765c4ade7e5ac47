"""Live Link Face's CSV: one row a frame with 52 ARKit weights, the head's and the eyes' angles.

Angles are radians in Unreal's left-handed sense, composed yaw, then pitch, then roll. Against ours (Y up, facing Z+,
`tdmm_lm.rotations.euler_yxz_to_matrix`) yaw and roll change sign and pitch does not: positive HeadYaw turns to the
person's own right, positive HeadPitch looks down, positive HeadRoll tilts towards their own left shoulder. Measured on
public recordings of the app: `eyeLookOutLeft - eyeLookInLeft` correlates with LeftEyeYaw at -1.00, `eyeLookDown -
eyeLookUp` with pitch at +1.00. The eye angles there say what the eyeLook shapes say (`EYE_REACH`); those shapes are
authoritative, so the angles are not read, and are written from the shapes. The file has no translation.

Timecodes are HH:MM:SS:FF.fff; the app counts FF at 60 a second, whatever its rate, and adds the fraction of a frame.
"""

import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from tdmm_lm import files, rotations
from tdmm_lm.formats import evenly
from tdmm_lm.motion import MotionClip, face
from tdmm_lm.rigs import Rig

SUFFIXES = (".csv",)
MODALITIES = ("face",)
ARKIT_RIGS = ("head", "ict")  # rigs of this package whose expressions are `face.ARKIT`
SHAPES = tuple(name[0].upper() + name[1:] for name in face.ARKIT)
HEAD = ("HeadYaw", "HeadPitch", "HeadRoll")
EYES = ("LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll", "RightEyeYaw", "RightEyePitch", "RightEyeRoll")
COLUMNS = ("Timecode", "BlendShapeCount", *SHAPES, *HEAD, *EYES)
SIGNS = np.array([-1, 1, -1], np.float32)  # of yaw, pitch, roll against ours

TIMECODE_FPS = 60  # FF's own rate in files of the app and of `write`
EYE_REACH = (0.606, 0.50)  # radians of yaw and of pitch at a weight of one; median over public recordings of the app
GAP_SECONDS = 0.25  # missing rows up to here are interpolated, more is an error
COMMON_FPS = (24000 / 1001, 24, 25, 30000 / 1001, 30, 48, 50, 60000 / 1001, 60, 90, 100, 120)
MOST_BYTES = 512 * 2**20


def sniff(head: bytes, path: Path) -> bool:
    first = head.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].lower()
    cells = [cell.strip() for cell in first.split(b",")]
    return b"timecode" in cells or b"eyeblinkleft" in cells


def read(path: str | Path, *, fps: float | None = None) -> MotionClip:
    """A clip for the bundled head at the file's own rate, which its timecodes tell (``fps`` is not needed).

    Columns are found by name in any order and case; the eye angles may be missing. Rows are kept as they are where
    they lie within half a frame of an even grid; dropped frames up to `GAP_SECONDS` are interpolated. So are rows with
    a BlendShapeCount of 0, which the app writes while it sees no face.

    Raises:
        ValueError: a column is missing, a cell is no finite number, a timecode is malformed or does not grow, a gap is
            longer than `GAP_SECONDS`, or over half of the rows have no face; the message names column and row.
    """
    header, rows = _table(Path(path))
    places = {name.strip().lower(): i for i, name in enumerate(header)}
    missing = [name for name in ("Timecode", *SHAPES, *HEAD) if name.lower() not in places]
    if missing:
        listed = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise ValueError(f"{path}: expected the columns of a Live Link Face recording, missing: {listed}.")
    columns = [places[name.lower()] for name in (*SHAPES, *HEAD)]
    count = places.get("blendshapecount")
    seconds = _seconds([row[places["timecode"]] if row else "" for _, row in rows], [line for line, _ in rows], path)

    numbers = np.zeros((len(rows), len(columns)), np.float32)
    seen = np.ones(len(rows), bool)
    for i, (line, row) in enumerate(rows):
        if count is not None and len(row) > count and row[count].strip() == "0":
            seen[i] = False
            continue
        if len(row) < len(header):
            raise ValueError(f"{path}: line {line}: expected {len(header)} cells, got {len(row)}.")
        for k, column in enumerate(columns):
            try:
                numbers[i, k] = float(row[column])
            except ValueError:
                where = f"{path}: line {line}: {header[column]}"
                raise ValueError(f"{where}: expected a number, got {row[column][:20]!r}.") from None
        if not np.isfinite(numbers[i]).all():
            worst = header[columns[int(np.argwhere(~np.isfinite(numbers[i]))[0, 0])]]
            raise ValueError(f"{path}: line {line}: {worst}: expected a finite number, got one that is not.")
    if 2 * seen.sum() < len(rows):
        raise ValueError(f"{path}: expected a face in at least half of the rows, got {seen.sum()} of {len(rows)}.")

    euler = torch.from_numpy(numbers[:, len(SHAPES):] * SIGNS)
    head = rotations.matrix_to_axis_angle(rotations.euler_yxz_to_matrix(euler)).numpy()
    rate, frames = _rate(seconds, [line for line, _ in rows], path)
    parts = {"expression": numbers[:, : len(SHAPES)], "head": head}
    clip = face.assemble(parts, fps=rate, rig=ARKIT_RIGS[0])
    even = frames == len(rows) and np.abs(seconds - np.arange(frames) / rate).max() < 0.5 / rate
    if even and seen.all():
        return clip
    times = np.arange(frames) / rate if even else seconds
    return MotionClip(evenly(clip.values[seen], times[seen], rate, frames), rate, clip.modality, clip.rig)


def write(clip: MotionClip, path: str | Path, *, rig: Rig | None = None) -> None:
    """The clip's ARKit weights and head angles, one row a frame, timecodes from zero; translation has no column.

    Raises:
        ValueError: the clip's rig has no ARKit shapes.
    """
    expressions = rig.expressions if rig is not None else face.ARKIT if clip.rig in ARKIT_RIGS else ()
    if not set(expressions) & set(face.ARKIT):
        raise ValueError(f"{path}: expected a rig with ARKit shapes, got {clip.rig!r}; convert it with --rig head.")
    weights = np.zeros((clip.frames, len(SHAPES)), np.float32)  # a shape that the rig lacks is never moved by it
    expression = face.part(clip, "expression")
    if expression.shape[1] != len(expressions):
        raise ValueError(f"{path}: expected {len(expressions)} expression weights, got {expression.shape[1]}.")
    for k, name in enumerate(face.ARKIT):
        if name in expressions:
            weights[:, k] = expression[:, expressions.index(name)]
    matrix = rotations.axis_angle_to_matrix(torch.from_numpy(face.part(clip, "head").astype(np.float64)))
    angles = rotations.matrix_to_euler_yxz(matrix).numpy() * SIGNS
    table = np.concatenate([weights, angles, _eye_angles(weights)], 1)
    with files.replacing(path) as beside, beside.open("w", newline="") as file:
        file.write(",".join(COLUMNS) + "\n")
        for i, row in enumerate(table):
            cells = ",".join(f"{number:.10f}" for number in row)
            file.write(f"{_timecode(i, clip.fps)},{len(COLUMNS) - 2},{cells}\n")


def _eye_angles(weights: Float[np.ndarray, "frames 52"]) -> Float[np.ndarray, "frames 6"]:
    """Both eyes' yaw, pitch and roll from the eyeLook shapes, in the file's sense."""

    def of(name: str) -> np.ndarray:
        return weights[:, face.ARKIT.index(name)].astype(np.float64)

    columns = []
    for side, own_right in (("Left", -1), ("Right", 1)):  # outwards is the person's left for the left eye
        yaw = own_right * EYE_REACH[0] * (of(f"eyeLookOut{side}") - of(f"eyeLookIn{side}"))
        pitch = EYE_REACH[1] * (of(f"eyeLookDown{side}") - of(f"eyeLookUp{side}"))
        columns += [yaw, pitch, yaw * pitch]  # the app's own roll is .97 to .99 of this product
    return np.stack(columns, 1)


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header and the rows that are not blank, each with its line number.

    Raises:
        ValueError: too large, no text, or without a single row.
    """
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path}: expected at most {MOST_BYTES >> 20} MB, got {path.stat().st_size >> 20} MB.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            rows = [(lines.line_num, row) for row in lines if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: expected a CSV of text, got something else ({error}).") from None
    if not rows:
        raise ValueError(f"{path}: expected rows under the header, got none.")
    return header, rows


def _seconds(timecodes: list[str], lines: list[int], path: str | Path) -> Float[np.ndarray, " rows"]:
    """Seconds since the first row; a step over midnight goes on counting."""
    whole, frames = np.zeros(len(timecodes)), np.zeros(len(timecodes))
    for i, (text, line) in enumerate(zip(timecodes, lines, strict=True)):
        parts = text.strip().replace(";", ":").split(":")  # drop-frame timecode is written with a semicolon
        try:
            hours, minutes, seconds = (int(part) for part in parts[:3])
            frames[i] = float(parts[3])
        except (ValueError, IndexError):
            raise ValueError(f"{path}: line {line}: Timecode: expected HH:MM:SS:FF.fff, got {text[:24]!r}.") from None
        within = 0 <= hours < 24 and 0 <= minutes < 60 and 0 <= seconds < 60 and 0 <= frames[i] < 1000
        if len(parts) != 4 or not within:
            raise ValueError(f"{path}: line {line}: Timecode: expected HH:MM:SS:FF.fff, got {text[:24]!r}.")
        whole[i] = 3600 * hours + 60 * minutes + seconds
    if whole[-1] < whole[0]:
        whole[whole < whole[0]] += 86400
    base = _base(whole, frames)
    times = (whole - whole[0]) + (frames - frames[0]) / base
    back = np.flatnonzero(np.diff(times) <= 0)
    if len(back):
        raise ValueError(f"{path}: line {lines[back[0] + 1]}: Timecode: expected a later time than the row above, got "
                         f"{timecodes[back[0] + 1].strip()} after {timecodes[back[0]].strip()}.")
    return times


def _base(whole: np.ndarray, frames: np.ndarray) -> int:
    """How many FF make a second: what keeps the step across second boundaries equal to the step inside seconds."""
    same = np.diff(whole) == 0
    over = np.diff(whole) == 1
    if not over.any() or not same.any():
        return TIMECODE_FPS if frames.max() < TIMECODE_FPS else int(frames.max()) + 1
    step = np.median(np.diff(frames)[same])
    return max(int(frames.max()) + 1, round(float(np.median(step - np.diff(frames)[over]))))


def _rate(seconds: Float[np.ndarray, " rows"], lines: list[int], path: str | Path) -> tuple[float, int]:
    """The file's own rate and its frames on an even grid at that rate.

    A rate within a timecode's precision of a common one is that one.

    Raises:
        ValueError: one row only, or a gap longer than `GAP_SECONDS`.
    """
    if len(seconds) < 2:
        raise ValueError(f"{path}: expected at least two rows, whose timecodes tell the rate, got one.")
    steps = np.diff(seconds)
    step = float(np.median(steps))
    wide = np.flatnonzero(steps > max(GAP_SECONDS, 1.5 * step))
    if len(wide):
        raise ValueError(f"{path}: line {lines[wide[0] + 1]}: Timecode: expected the next row within {GAP_SECONDS} s, "
                         f"got a gap of {steps[wide[0]]:.2f} s; cut the recording there.")
    frames = 1 + round(float(np.round(steps / step).clip(1).sum()))
    rate = (frames - 1) / float(seconds[-1])
    slack = 1 / (1000 * TIMECODE_FPS * float(seconds[-1])) + 1e-9  # both ends are rounded to .001 of a frame
    near = min(COMMON_FPS, key=lambda common: abs(common - rate))
    if abs(near - rate) <= slack * near:
        return near, frames
    rounded = round(rate, 3)
    return (rounded if abs(rounded - rate) <= slack * rate else rate), frames


def _timecode(frame: int, fps: float) -> str:
    """When a frame lies, in thousandths of a sixtieth of a second."""
    ticks = round(Fraction(frame) * 1000 * TIMECODE_FPS / Fraction(fps).limit_denominator(1001))
    seconds, rest = divmod(ticks, 1000 * TIMECODE_FPS)
    hours, rest_seconds = divmod(seconds, 3600)
    return f"{hours % 24:02d}:{rest_seconds // 60:02d}:{rest_seconds % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"

"""BVH in and out: reads anyone's skeleton through upc-pymotion, writes our 22 joints from their rotations.

Whose names are known stands in `tdmm_lm.joint_names`, how a skeleton becomes ours in `tdmm_lm.geometry.hierarchy`. BVH
states no unit: it is told by the skeleton's height (there) and said in a warning where it is neither metres nor
centimetres; `units` overrules it. Files are written in centimetres, Y up, in a T-pose at rest, angles in the order
Y X Z. A frame time that was rounded means the whole rate that it rounds (.0083333 is 120 Hz).
"""

import re
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tdmm_lm import files
from tdmm_lm.geometry import hierarchy
from tdmm_lm.joint_names import MOST_JOINTS
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import Rig, skeleton

SUFFIXES = (".bvh",)
MODALITIES = ("body",)
CENTIMETRES = 0.01
MOST_BYTES = 512 * 2**20
MOST_PLACES = 4_000_000  # frames x joints: an hour of 31 joints at 30 Hz is 3.3 million
TIPS = {"head": (0, 0.18, 0), "foot": (0, 0, 0.06), "wrist": (0.08, 0, 0)}  # metres; ends of the last bones, left side
_AXES = "XYZ"
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?")


@dataclass
class _Joint:
    name: str
    parent: int
    offset: tuple[str, ...] = ()
    channels: list[str] | None = None


def sniff(head: bytes, path: Path) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:9].upper() == b"HIERARCHY"


def read(path: str | Path, *, fps: float | None = None, units: float | None = None) -> MotionClip:
    """A body clip with the file's own skeleton; ``units`` is the length of one of the file's units in metres.

    ``fps`` counts only where the file's frame time is zero.

    Raises:
        ValueError: no BVH, cut off, damaged, too large, no frames, an impossible rate, or not a body's skeleton.
    """
    path = Path(path)
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path}: expected at most {MOST_BYTES >> 20} MB, got {path.stat().st_size >> 20} MB.")
    try:
        with tempfile.TemporaryDirectory() as folder:
            with path.open(encoding="utf-8-sig", errors="replace") as file:
                joints = list(_joints(file))
                frames, time = _timing(file)
                rate = _rate(time, fps)
                if frames * len(joints) > MOST_PLACES:
                    raise ValueError(f"expected at most {MOST_PLACES // len(joints)} frames, got {frames}; split it.")
                plain = Path(folder) / "plain.bvh"
                with plain.open("w") as out:
                    _plain(joints, file, frames, out)
            moving = _loaded(plain, joints)
        clip, said = hierarchy.clip(moving, fps=rate, metres=units)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if said:
        warnings.warn(f"{path}: {said}.", stacklevel=2)
    return clip


def _joints(file: TextIO) -> Iterator[_Joint]:
    """The hierarchy, up to and with the line MOTION; braces may share lines, names may have blanks."""
    joints: list[_Joint] = []
    open_: list[int] = []  # of joints; -1 for an end site
    last = None
    for line in file:
        for text in re.split(r"(?<=[{}])|(?=[{}])", line):
            words = text.split()
            if not words or words == ["HIERARCHY"]:
                continue
            word = words[0].upper()
            if word == "MOTION":
                if open_ or not joints:
                    raise ValueError(f"expected a closed hierarchy before MOTION, got {len(open_)} open braces.")
                bare = [joint.name[:30] for joint in joints if not joint.offset or joint.channels is None]
                if bare:
                    raise ValueError(f"expected an offset and channels for every joint, got none for {bare[0]}.")
                yield from joints
                return
            if word in ("ROOT", "JOINT"):
                if len(joints) >= MOST_JOINTS:
                    raise ValueError(f"expected at most {MOST_JOINTS} joints, got more.")
                if not open_ and joints:
                    raise ValueError(f"expected one skeleton, got a second root {' '.join(words[1:])[:30]!r}.")
                joints.append(_Joint(" ".join(words[1:]), next((k for k in reversed(open_) if k >= 0), -1)))
                last = len(joints) - 1
            elif word == "END":
                last = -1
            elif word == "{":
                if last is None:
                    raise ValueError("expected a joint before each opening brace, got none.")
                open_.append(last)
                last = None
            elif word == "}":
                if not open_:
                    raise ValueError("expected a brace opened for each that closes, got one too many.")
                open_.pop()
            elif word == "OFFSET" and open_ and len(words) == 4:
                if not all(_NUMBER.fullmatch(number) for number in words[1:]):
                    raise ValueError(f"OFFSET: expected three numbers, got {text.strip()[:40]!r}.")
                if open_[-1] >= 0:
                    joints[open_[-1]].offset = tuple(words[1:])
            elif word == "CHANNELS" and open_ and open_[-1] >= 0:
                joints[open_[-1]].channels = _channels(words[1:], joints[open_[-1]].name)
            else:
                raise ValueError(f"expected a hierarchy of joints, got the line {text.strip()[:40]!r}.")
    raise ValueError("expected MOTION after the hierarchy, got the end: the file is cut off.")


def _channels(words: list[str], name: str) -> list[str]:
    """Channels as (axis, kind), e.g. Yrotation -> Yr."""
    found = [word[0].upper() + word[1].lower() for word in words[1:] if word[1:].lower() in ("rotation", "position")]
    known = all(channel[0] in _AXES for channel in found) and len(set(found)) == len(found)
    if not known or words[:1] != [str(len(found))] or len(words) != len(found) + 1:
        got = " ".join(words)[:60]
        raise ValueError(f"joint {name[:30]}: expected a count and channels like Xposition, Zrotation, got {got!r}.")
    return found


def _timing(file: TextIO) -> tuple[int, str]:
    """The number of frames and the frame time as it is written."""
    held: dict[str, str] = {}
    for line in file:
        key, _, value = line.partition(":")
        if key.strip():
            held[key.strip().lower()] = value.strip()
        if "frame time" in held:
            break
    frames, time = held.get("frames", ""), held.get("frame time", "")
    if not frames.isdecimal() or len(frames) > 12 or not int(frames):
        raise ValueError(f"Frames: expected one or more, got {frames[:20] or 'none'}.")
    return int(frames), time


def _rate(time: str, fps: float | None) -> float:
    """Hz; the whole number that a rounded frame time stands for."""
    try:
        seconds = float(time)
    except ValueError:
        raise ValueError(f"Frame Time: expected seconds, got {time[:20] or 'none'}.") from None
    if seconds == 0 and fps is not None:
        return fps
    if not 1e-3 * (1 - 1e-6) <= seconds <= 1:
        raise ValueError(f"Frame Time: expected 0.001 to 1 s, got {time[:20]}; where it is 0, give fps (--fps).")
    whole = round(1 / seconds)
    digits = len(time.partition(".")[2].partition("e")[0])
    close = abs(1 / whole - seconds) <= 10.0**-digits and abs(whole * seconds - 1) < 0.005
    return float(whole) if close else 1 / seconds


def _plain(joints: list[_Joint], file: TextIO, frames: int, out: TextIO) -> None:
    """The file as pymotion takes it: names without blanks, three angles a joint, places (if any) before them."""
    children: list[list[int]] = [[k for k, joint in enumerate(joints) if joint.parent == j] for j in range(len(joints))]
    order: list[int | None] = []  # for each plain channel the file's column, or none
    fill: list[str] = []
    starts = np.cumsum([0] + [len(joint.channels or []) for joint in joints])

    def joint_lines(number: int) -> Iterator[str]:
        joint = joints[number]
        held = joint.channels or []
        axes = [channel[0] for channel in held if channel[1] == "r"]
        axes += [axis for axis in _AXES if axis not in axes]  # an angle that is not there is zero
        placed = number == 0 or any(channel[1] == "p" for channel in held)
        plain = ([f"{axis}p" for axis in _AXES] if placed else []) + [f"{axis}r" for axis in axes]
        for channel in plain:
            order.append(int(starts[number]) + held.index(channel) if channel in held else None)
            fill.append(joint.offset[_AXES.index(channel[0])] if channel[1] == "p" else "0")
        named = " ".join(f"{channel[0]}{'position' if channel[1] == 'p' else 'rotation'}" for channel in plain)
        yield f"{'JOINT' if number else 'ROOT'} j{number}\n{{\nOFFSET {' '.join(joint.offset)}\n"
        yield f"CHANNELS {len(plain)} {named}\n"
        for child in children[number]:
            yield from joint_lines(child)
        if not children[number]:
            yield "End Site\n{\nOFFSET 0 0 0\n}\n"
        yield "}\n"

    out.writelines(("HIERARCHY\n", *joint_lines(0), f"MOTION\nFrames: {frames}\nFrame Time: 1\n"))
    wanted, same = int(starts[-1]), order == list(range(int(starts[-1])))
    count = 0
    for line in file:
        words = line.split()
        if not words:
            continue
        count += 1
        if count > frames:
            raise ValueError(f"expected {frames} frames as its header says, got more.")
        if len(words) != wanted:
            raise ValueError(f"frame {count - 1}: expected {wanted} numbers, got {len(words)}{_cut(file)}.")
        out.write((line.strip() if same else " ".join(
            fill[k] if column is None else words[column] for k, column in enumerate(order)
        )) + "\n")
    if count != frames:
        raise ValueError(f"expected {frames} frames as its header says, got {count}: the file is cut off.")


def _cut(file: TextIO) -> str:
    return "" if next(file, None) is not None else ": the file is cut off"


def _loaded(plain: Path, joints: list[_Joint]) -> hierarchy.Hierarchy:
    try:
        from pymotion.io.bvh import BVH
    except ImportError as error:
        raise ValueError(f"BVH input needs upc-pymotion ({error}); pip install upc-pymotion.") from None
    loader = BVH()
    try:
        loader.load(str(plain))
    except ValueError as error:
        raise ValueError(f"expected numbers in every frame ({error}).") from None
    degrees, places, offsets = (loader.data[name] for name in ("rotations", "positions", "offsets"))
    bad = ~(np.isfinite(degrees) & np.isfinite(places)).all((1, 2))
    if bad.any():
        raise ValueError(f"frame {int(np.flatnonzero(bad)[0])}: expected finite numbers, got NaN or infinity.")
    parents = [joint.parent for joint in joints]
    turns = np.empty((*degrees.shape, 3))
    for joint, order in enumerate(loader.data["rot_order"]):  # several times as fast as the library's own quaternions
        turns[:, joint] = Rotation.from_euler("".join(order).upper(), degrees[:, joint], degrees=True).as_matrix()
    all_places, all_turns = hierarchy.world(parents, places, turns)
    # a joint with places of its own has those instead of its offset
    rest = np.concatenate([offsets[:1], places[:, 1:].mean(0)])
    unturned = np.tile(np.eye(3), (len(joints), 1, 1))
    rest, _ = hierarchy.world(parents, rest, unturned)
    return hierarchy.Hierarchy([joint.name for joint in joints], parents, rest, unturned, all_places, all_turns)


def write(clip: MotionClip, path: str | Path, *, rig: Rig | None = None) -> None:
    """The clip's own skeleton and rotations as they are, in centimetres and degrees; ``rig`` is not needed.

    Raises:
        ValueError: no body clip.
    """
    if clip.modality != "body":
        raise ValueError(f"{path}: expected a body clip, which BVH holds, got a {clip.modality} clip.")
    offsets = skeleton.of(clip).offsets.astype(float) / CENTIMETRES
    degrees = np.degrees(_angles(body.local_rotations(clip).double().numpy()))
    order: list[int] = []

    def joint_lines(joint: int, indent: str) -> Iterator[str]:
        order.append(joint)
        places = "6 Xposition Yposition Zposition" if joint == 0 else "3"
        yield f"{indent}{'JOINT' if joint else 'ROOT'} {body.JOINTS[joint]}\n{indent}{{\n"
        yield f"{indent}\tOFFSET {_numbers(offsets[joint])}\n"
        yield f"{indent}\tCHANNELS {places} Yrotation Xrotation Zrotation\n"
        for child in skeleton.CHILDREN[joint]:
            yield from joint_lines(child, indent + "\t")
        if not skeleton.CHILDREN[joint]:
            side, _, part = body.JOINTS[joint].rpartition("_")
            tip = np.array(TIPS[part]) * [-1 if side == "right" else 1, 1, 1] / CENTIMETRES
            yield f"{indent}\tEnd Site\n{indent}\t{{\n{indent}\t\tOFFSET {_numbers(tip)}\n{indent}\t}}\n"
        yield f"{indent}}}\n"

    header = ["HIERARCHY\n", *joint_lines(0, ""), "MOTION\n"]
    places = body.translation(clip).astype(float) / CENTIMETRES
    rows = np.concatenate([places, degrees[:, order].reshape(clip.frames, -1)], 1)
    with files.replacing(path) as beside, beside.open("w", newline="\n") as file:
        file.writelines([*header, f"Frames: {clip.frames}\n", f"Frame Time: {1 / clip.fps:.10f}\n"])
        np.savetxt(file, rows, "%.6f")


def _numbers(values: Float[np.ndarray, " 3"]) -> str:
    return " ".join(f"{value:.6f}" for value in values)


def _angles(matrix: Float[np.ndarray, "frames joints 3 3"]) -> Float[np.ndarray, "frames joints 3"]:
    """Yaw, pitch, roll in radians (`tdmm_lm.rotations.euler_yxz_to_matrix`) without jumps of a whole turn.

    Where pitch nears a right angle yaw is ill-defined; roll and pitch are measured on what is left after that very yaw,
    so that together they are the rotation all the same.
    """
    yaw = np.arctan2(matrix[..., 0, 2], matrix[..., 2, 2])
    cos, sin = np.cos(yaw), np.sin(yaw)
    left = cos[..., None] * matrix[..., 0, :] - sin[..., None] * matrix[..., 2, :]  # first row of Rx @ Rz
    roll = np.arctan2(-left[..., 1], left[..., 0])
    pitch = np.arctan2(-matrix[..., 1, 2], sin * matrix[..., 0, 2] + cos * matrix[..., 2, 2])
    return np.unwrap(np.stack([yaw, pitch, roll], -1), axis=0)

"""Video in: MediaPipe's FaceLandmarker on every frame -> ARKit weights, head rotation and translation.

The head's rotation and translation are those of MediaPipe's canonical face in its camera's space, which has our axes
(Y up, the face looking along Z+ into the camera, the person's own left at +X). Translation is metres as MediaPipe
estimates them, moved from the canonical face's origin to the rig's root joint and counted from the clip's median, so
that a clip rests where its rig does. MediaPipe takes every camera for one of 63 degrees: through a longer lens, depth
comes out too small (by half at 35 degrees, measured) and a face off the picture's middle seems turned towards it.
On rendered heads it sees .9 of a turn or tilt, .9 of looking up, .7 of looking down. Gaze stays in the eyeLook shapes.
"""

import itertools
import threading
import warnings
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from tdmm_lm import bundle, quiet, rotations
from tdmm_lm import video as media
from tdmm_lm.formats import evenly
from tdmm_lm.motion import MotionClip, face

SUFFIXES = ()  # pictures are written by `tdmm_lm.render`
MODALITIES = ("face",)
RIG = "head"  # what a capture drives: the bundled head, whose shapes have ARKit's names
MODEL = "face_landmarker.task"
CANONICAL_EYES = np.array([0.0, 0.02625, 0.03466])  # metres from the canonical face's origin to between its eyes
ROOT_TO_EYES = np.array([0.0, 0.14608, 0.0991])  # metres from the head's root joint to between its eyes
LONG_GAP_SECONDS = 0.5  # frames without a face are filled in from both sides; longer gaps are warned of
WORKERS = 2  # trackers at work, each on every other chunk of the video and with a decoder of its own
CHUNK = 100  # frames; shorter videos have one worker
WARM = 12  # frames before its chunk that a tracker looks at to find the face again and to settle
MAGIC = (
    (4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (4, b"wide"), (0, b"\x1aE\xdf\xa3"), (0, b"\x00\x00\x01\xba"),
    (0, b"\x00\x00\x01\xb3"), (0, b"RIFF"), (0, b"OggS"), (0, b"FLV"), (0, b"\x30\x26\xb2\x75"), (0, b"GIF8"),
    (0, b"\x89PNG"), (0, b"\xff\xd8\xff"), (0, b"ID3"), (0, b"fLaC"),
)  # containers; of those with sound alone `read` says so
ENDINGS = (".mp4", ".m4v", ".mov", ".mpg", ".mpeg", ".avi", ".mkv", ".webm", ".wmv", ".flv", ".ts", ".3gp", ".ogv")


def sniff(head: bytes, path: Path) -> bool:
    return any(head[at : at + len(magic)] == magic for at, magic in MAGIC) or path.suffix.lower() in ENDINGS


def read(path: str | Path, *, fps: float | None = None) -> MotionClip:
    """`capture` with the model that is on this machine; a video says its own rate."""
    return capture(path)


write = None


def landmarker(model: str | Path | None = None) -> Path:
    """The FaceLandmarker model: the one given, else below ``$TDMM_DATA``, else in the cache.

    Raises:
        FileNotFoundError: it is in none of these places; the message says how to get it.
    """
    data = bundle.data()
    places = [Path(model)] if model else [*([data / "face_landmarker" / MODEL] if data else []), bundle.cache() / MODEL]
    for place in places:
        if place.is_file():
            return place
    looked = " or ".join(map(str, places))
    raise FileNotFoundError(f"{looked}: expected MediaPipe's face landmarker, found none; run `tdmm doctor --fetch`.")


def capture(
    path: str | Path, model: str | Path | None = None, progress: Callable[[int], None] | None = None
) -> MotionClip:
    """The face of a video as a clip for the bundled head, at the video's rate and with a row for each of its frames.

    Streams: a few frames are in memory at a time. Frames without a face are filled in between their neighbours; a
    video of uneven rate is put on an even grid at its average rate. The same file gives the same clip on any number of
    cores. ``progress`` is called with the number of frames done.

    Raises:
        FileNotFoundError: no such video, or no landmarker model.
        ValueError: empty, cut off, no video, no face in over half of the frames, or mediapipe is missing.
    """
    path = Path(path)
    model = landmarker(model)
    refuse_text(path)
    declared = media.info(path).fps
    times, table, seen = _looked(path, model, progress or (lambda frames: None))
    if 2 * len(seen) < len(times):
        found = f"{len(seen)} of {len(times)}"
        raise ValueError(f"{path}: expected a face in at least half of the frames, got {found}.")
    fps = _rate(times, declared)
    grid = np.arange(len(times)) / fps
    if np.abs(times - grid).max() < 0.5 / fps:
        times = grid
    _warn_of_gaps(path, times, seen)
    return clip_of(table, times[seen], fps=fps, frames=1 + round(times[-1] * fps))


def clip_of(
    table: Float[np.ndarray, "seen 68"],
    seconds: Float[np.ndarray, " seen"],
    *,
    fps: float,
    frames: int,
    shape: Float[np.ndarray, " identity"] | None = None,
) -> MotionClip:
    """Rows of `Face.row` taken at ``seconds`` as a clip of the bundled head: frame i lies at i / fps seconds.

    Between rows weights and translation go linearly, turns by slerp; beyond the ends the nearest row is held.
    Translation is counted from the rows' median.
    """
    matrices = table[:, len(face.ARKIT) :].reshape(-1, 4, 4)
    turn = torch.from_numpy(matrices[:, :3, :3].astype(np.float32))
    parts = {
        "expression": table[:, : len(face.ARKIT)],
        "head": rotations.matrix_to_axis_angle(turn).numpy(),
        "translation": _root(matrices),
    }
    rows = face.assemble(parts, fps=fps, rig=RIG).values
    return MotionClip(evenly(rows, seconds, fps, frames), fps, "face", RIG, np.zeros(0) if shape is None else shape)


def _looked(
    path: Path, model: Path, progress: Callable[[int], None]
) -> tuple[Float[np.ndarray, " frames"], Float[np.ndarray, "seen 68"], Int[np.ndarray, " seen"]]:
    """Seconds of every frame; what a `_Tracker` says of those with a face, and which they are."""
    stop, one_at_a_time, counted = threading.Event(), threading.Lock(), itertools.count(1)

    def work(worker: int, kept: ExitStack) -> tuple["array[float]", "array[float]", list[int]]:
        seconds, rows, seen, track = array("d"), array("f"), list[int](), None
        for index, (time, frame) in enumerate(media.read(path, lambda index: _phase(index, worker) != "skip")):
            if stop.is_set():
                break
            seconds.append(time)
            if frame is None:
                continue
            if track is None:
                with one_at_a_time:
                    track = kept.enter_context(_Tracker(model))
            row = track(frame, time)
            if _phase(index, worker) == "warm":
                continue
            if row is not None:
                seen.append(index)
                rows.frombytes(row.tobytes())
            with one_at_a_time:
                progress(next(counted))
        return seconds, rows, seen

    def worked(worker: int) -> tuple["array[float]", "array[float]", list[int]]:
        try:
            with ExitStack() as kept:
                return work(worker, kept)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(worked, worker) for worker in range(WORKERS)]
        try:
            made = [future.result() for future in futures]
        finally:
            stop.set()
    seen = np.sort(np.concatenate([np.array(numbers, np.int64) for _, _, numbers in made]))
    table = np.empty((len(seen), len(face.ARKIT) + 16), np.float32)
    for _, rows, numbers in made:
        table[np.searchsorted(seen, numbers)] = np.frombuffer(rows, np.float32).reshape(-1, table.shape[1])
    return np.array(made[0][0]), table, seen


def _phase(index: int, worker: int) -> Literal["look", "warm", "skip"]:
    """What a worker does with a frame: chunks go round, and before each come frames to warm up on."""
    if index // CHUNK % WORKERS == worker:
        return "look"
    return "warm" if (index + WARM) // CHUNK % WORKERS == worker else "skip"


def _root(matrices: Float[np.ndarray, "frames 4 4"]) -> Float[np.ndarray, "frames 3"]:
    """Translation of the rig's root joint, metres, from poses of the canonical face in centimetres.

    Both heads have their eyes at the same place, so the root joint lies at CANONICAL_EYES - ROOT_TO_EYES in canonical
    coordinates; posed it lies at R of that, plus t.
    """
    arm = CANONICAL_EYES - ROOT_TO_EYES  # from the canonical origin to the root joint
    moved = matrices[:, :3, :3] @ arm + matrices[:, :3, 3] / 100
    return moved - np.median(moved, 0)


def _rate(seconds: Float[np.ndarray, " frames"], declared: float) -> float:
    """The declared rate where the frames' times agree with it within a hundredth, else the measured one."""
    if len(seconds) < 2 or seconds[-1] <= 0:
        return declared
    measured = (len(seconds) - 1) / float(seconds[-1])
    return declared if abs(measured - declared) <= 0.01 * declared else measured


def _warn_of_gaps(path: Path, seconds: Float[np.ndarray, " frames"], seen: Int[np.ndarray, " seen"]) -> None:
    known = np.concatenate([[-1], seen, [len(seconds)]])
    for left, right in itertools.pairwise(known):
        if right - left > 1 and seconds[right - 1] - seconds[left + 1] > LONG_GAP_SECONDS:
            span = f"{seconds[left + 1]:.1f} to {seconds[right - 1]:.1f} s"
            warnings.warn(f"{path}: no face from {span}; its motion is filled in.", stacklevel=3)


def refuse_text(path: Path) -> None:
    """Playlists are text that names other files and addresses; libav would open them."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a video file, found none.")
    with path.open("rb") as file:
        head = file.read(512)
    if head and all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        raise ValueError(f"{path}: expected a video, got a text file.")


@dataclass(frozen=True)
class Face:
    """A face in one picture.

    ``row`` has the weights in the order of `face.ARKIT`, then the head's matrix row by row. ``landmarks`` are
    MediaPipe's 478 places: x to the right from 0 to 1 over the width, y down from 0 to 1 over the height, z away from
    the camera in the units of x.
    """

    row: Float[np.ndarray, " 68"]
    landmarks: Float[np.ndarray, "478 3"]


def tracker(model: str | Path | None = None) -> "_Tracker":
    """A tracker for one video, as a context: call ``look(picture, seconds)`` with its pictures in order.

    It remembers where the face was, so every video needs one of its own. Raises what `landmarker` raises, and
    ValueError where mediapipe is missing or the model is something else.
    """
    return _Tracker(landmarker(model))


class _Tracker:
    """MediaPipe's landmarker over one video: call it with frames in order; use it as a context."""

    def __init__(self, model: Path) -> None:
        try:
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision
        except ImportError as error:
            raise ValueError(f'video input needs mediapipe ({error}); pip install "tdmm-lm[capture]".') from None
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model)), running_mode=vision.RunningMode.VIDEO, num_faces=1,
            output_face_blendshapes=True, output_facial_transformation_matrixes=True,
        )
        self._image, self._format = mediapipe.Image, mediapipe.ImageFormat.SRGB
        try:
            with quiet.stderr():
                self._network = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            what = " ".join(str(error).split())[:80]
            raise ValueError(f"{model}: expected MediaPipe's face landmarker, got something else ({what}).") from None
        self._milliseconds = -1
        self._order: list[int] | None = None

    def __enter__(self) -> "_Tracker":
        return self

    def __exit__(self, *error: object) -> None:
        self._network.close()

    def __call__(self, frame: UInt8[np.ndarray, "height width 3"], seconds: float) -> Float[np.ndarray, " 68"] | None:
        """The row of `look` alone."""
        found = self._found(frame, seconds)
        return None if found is None else self._row(found)

    def look(self, frame: UInt8[np.ndarray, "height width 3"], seconds: float) -> Face | None:
        """The face in the next picture; None where there is none."""
        found = self._found(frame, seconds)
        if found is None:
            return None
        places = np.array([(place.x, place.y, place.z) for place in found.face_landmarks[0]], np.float32)
        return Face(self._row(found), places)

    def _found(self, frame: UInt8[np.ndarray, "height width 3"], seconds: float) -> Any:
        self._milliseconds = max(self._milliseconds + 1, round(1000 * seconds))  # must grow
        # MediaPipe misreads rows with padding, which is how libav lays them out
        image = self._image(image_format=self._format, data=np.ascontiguousarray(frame))
        found = self._network.detect_for_video(image, self._milliseconds)
        return found if found.face_blendshapes else None

    def _row(self, found: Any) -> Float[np.ndarray, " 68"]:
        scores = found.face_blendshapes[0]
        if self._order is None:
            names = [score.category_name for score in scores]
            self._order = [names.index(name) if name in names else -1 for name in face.ARKIT]  # it has no tongueOut
        weights = [0.0 if place < 0 else scores[place].score for place in self._order]
        matrix = np.asarray(found.facial_transformation_matrixes[0]).reshape(-1)
        return np.concatenate([weights, matrix]).astype(np.float32)

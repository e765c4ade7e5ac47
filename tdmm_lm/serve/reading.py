"""A stranger's file -> a motion clip, read in a limited child process (`tdmm_lm.serve.workers`).

Any format of `tdmm_lm.formats`, told by its content. Videos are probed first: how large, how long, which codec, counted
on the packets and not on what the header says; only then are their frames decoded.
"""

import tempfile
from pathlib import Path
from typing import Any

from tdmm_lm import flame_file, formats, rigs
from tdmm_lm.formats import video
from tdmm_lm.formats.arkit_csv import ARKIT_RIGS
from tdmm_lm.motion import MotionClip, body, face
from tdmm_lm.serve.errors import ApiError, busy
from tdmm_lm.serve.settings import Settings
from tdmm_lm.serve.workers import Workers

RIGS = ("head", "ict", "flame", "skeleton")  # bundled, and what the formats say of files of other tools
EXPRESSIONS = {**dict.fromkeys(ARKIT_RIGS, len(face.ARKIT)), "flame": flame_file.EXPRESSIONS}  # without loading them
HIGHEST_FPS = 120  # of a video
USUAL_FPS = 30  # the whole video's pixels are bounded by the largest frame at this rate
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif"  # no playlists, no pictures
)
CODECS = (
    "h264", "hevc", "av1", "libdav1d", "vp8", "vp9", "libvpx-vp9", "mpeg4", "mpeg2video", "mpeg1video", "h263",
    "mjpeg", "gif", "theora", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "wmv3", "vc1", "flv", "prores",
)
Refusal = dict[str, Any]  # status, code, message: what a child answers instead of a clip


async def clip(path: Path, name: str, workers: Workers, settings: Settings) -> MotionClip:
    """The clip in a file; ``name`` is what its sender calls it (its ending counts where the content says nothing).

    Raises:
        ApiError: 400 unreadable, 413 too large or too long, 422 cannot be used (no face, another rig, too hard to
            read), 503 this server reads no videos or has no process left; one line each, with a stable code.
    """
    limits, shown = settings.limits, _shown(name)
    if path.is_symlink() or not path.is_file():
        raise ApiError(400, f"{shown}: expected a file, found none.", code="unreadable_motion")
    size = path.stat().st_size
    if not size:
        raise ApiError(400, f"{shown}: expected a motion or video file, got an empty one.", code="empty_file")
    if size > limits.file_mb << 20:
        message = f"{shown}: expected at most {limits.file_mb} MB, got {size >> 20} MB."
        raise ApiError(413, message, code="file_too_large")
    suffix = Path(name).suffix[:8].lower()
    ending = suffix if suffix[1:].isascii() and suffix[1:].isalnum() else ""
    known = (*RIGS, *settings.rigs)
    try:
        answer = await workers.call(
            read, path.absolute(), ending, limits.video_seconds, limits.video_pixels, list(known)
        )
        if isinstance(answer, float) and 0 <= answer <= 2 * limits.video_seconds:  # a video that may be looked at
            answer = await workers.call(capture, path.absolute(), ending, seconds=limits.read_seconds + answer)
    except ValueError as error:
        line = str(error).replace(f"upload{ending}", shown)
        raise ApiError(400, line if line.startswith(shown) else f"{shown}: {line}", code="unreadable_motion") from None
    except TimeoutError:
        line = f"{shown}: expected a file that is read within {limits.read_seconds:g} s, took longer; shorten it."
        raise ApiError(422, line, code="reading_took_too_long") from None
    except MemoryError:
        line = f"{shown}: expected a file that is read in {limits.read_memory_mb} MB of memory, needs more; shorten it."
        raise ApiError(422, line, code="reading_took_too_much") from None
    except ChildProcessError:
        raise busy("This server cannot start a process to read the file; try again.") from None
    except RuntimeError:
        line = f"{shown}: expected a motion or video file, got one that is damaged."
        raise ApiError(400, line, code="unreadable_motion") from None
    if isinstance(answer, dict):
        raise _refused(answer, shown)
    if not isinstance(answer, MotionClip):
        raise ApiError(400, f"{shown}: expected a motion, got none.", code="unreadable_motion")
    return _fitting(answer, shown, known, settings)


def _refused(answer: Refusal, shown: str) -> ApiError:
    status = answer.get("status") if answer.get("status") in (400, 413, 422, 503) else 400
    message, code = f"{shown}: {answer.get('message')}"[:600], str(answer.get("code"))[:40]
    return ApiError(int(status or 400), message, code=code)


def _fitting(found: MotionClip, shown: str, known: tuple[str, ...], settings: Settings) -> MotionClip:
    """The clip, if it may be kept. Checked here again, since the child may no longer be ours."""
    limits = settings.limits
    if found.seconds > limits.clip_seconds:
        line = f"{shown}: expected at most {limits.clip_seconds:g} s of motion, got {found.seconds:.1f} s; cut it."
        raise ApiError(413, line, code="motion_too_long")
    if found.values.nbytes + found.shape.nbytes > limits.file_mb << 20:
        line = f"{shown}: expected at most {limits.file_mb} MB as numbers, got {found.values.nbytes >> 20} MB; cut it."
        raise ApiError(413, line, code="motion_too_long")
    if found.modality not in ("face", "body"):
        line = f"{shown}: modality: expected face or body, got {_shown(found.modality)!r}."
        raise ApiError(400, line, code="unreadable_motion")
    if found.rig not in known or (found.rig == "skeleton") != (found.modality == "body"):
        line = f"{shown}: rig: expected one of {', '.join(dict.fromkeys(known))}, got {_shown(found.rig)!r}."
        raise ApiError(422, line, code="unknown_rig")
    least = body.CHANNELS if found.modality == "body" else face.POSE_CHANNELS + 1
    if found.values.shape[1] < least or (found.modality == "body" and found.values.shape[1] > least):
        line = f"{shown}: expected {least} channels of a {found.modality} clip, got {found.values.shape[1]}."
        raise ApiError(400, line, code="unreadable_motion")
    return found


def _shown(name: str) -> str:
    """A name from outside, fit for a line of text."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in " ".join(name.split()))
    return plain[:80] or "file"


# In the child ---------------------------------------------------------------------------------------------------------


def read(
    path: Path, ending: str, video_seconds: float, video_pixels: int, known: list[str]
) -> MotionClip | float | Refusal:
    """A clip; of a video that may be looked at its seconds; or why neither.

    Raises:
        ValueError: the formats' own.
    """
    file = _named(path, ending)
    try:
        reader = formats.recognised(file)
        if reader is video:
            return _probed(file, video_seconds, video_pixels)
        found: MotionClip = reader.read(file)
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(_bare(error, file)) from None
    if found.modality == "face" and found.rig in known and found.rig != "skeleton":
        wanted = face.POSE_CHANNELS + (EXPRESSIONS.get(found.rig) or len(rigs.load(found.rig).expressions))
        if found.values.shape[1] != wanted:
            got = found.values.shape[1]
            return _refusal(400, "unreadable_motion", f"expected {wanted} channels for rig {found.rig}, got {got}.")
    return found


def capture(path: Path, ending: str) -> MotionClip | Refusal:
    """The face in a video. Raises ValueError as `tdmm_lm.formats.video.capture` does."""
    file = _named(path, ending)
    try:
        video.landmarker()
        import mediapipe  # noqa: F401
    except (FileNotFoundError, ImportError):
        line = "this server reads no videos; send a motion file (npz, csv, bvh, glb), made with `tdmm capture`."
        return _refusal(503, "video_unavailable", line)
    try:
        return video.capture(file)
    except (ValueError, FileNotFoundError) as error:
        line = _bare(error, file)
        if "expected a face in" in line:
            return _refusal(422, "no_face", line.partition(": ")[2])
        raise ValueError(line) from None


def _named(path: Path, ending: str) -> Path:
    """The file under a name of ours with its sender's ending, in the child's own folder."""
    link = Path(tempfile.gettempdir()) / f"upload{ending}"
    if not link.exists():
        link.symlink_to(path)
    return link


def _bare(error: Exception, file: Path) -> str:
    return str(error).replace(str(file), file.name)


def _refusal(status: int, code: str, message: str) -> Refusal:
    return {"status": status, "code": code, "message": message}


def _probed(file: Path, most_seconds: float, most_pixels: int) -> float | Refusal:
    """Seconds of a video within the limits, counted on its packets; nothing but what libav probes is decoded.

    Raises:
        ValueError: no video in a container that is known, or one without a picture.
    """
    import av

    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file", "codec_whitelist": ",".join((
        *CODECS, "aac", "mp3", "mp3float", "opus", "libopus", "vorbis", "ac3", "pcm_s16le", "pcm_s16be",
    ))}
    video.refuse_text(file)
    try:
        container = av.open(str(file), options=options)
    except (av.error.FFmpegError, ValueError):
        raise ValueError(f"{file}: expected a video (mp4, webm, mov), got something else or a damaged one.") from None
    with container:
        moving = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not moving:
            return _refusal(400, "unreadable_motion", "expected a video, got a file without moving pictures.")
        stream = moving[0]
        coder = stream.codec_context
        if coder is None or coder.name not in CODECS:
            got = "an unknown one" if coder is None else coder.name
            return _refusal(400, "unreadable_motion", f"expected a usual codec (H.264, VP9, AV1 ...), got {got}.")
        pixels = coder.width * coder.height
        if pixels > most_pixels:
            size = f"{coder.width}x{coder.height}"
            line = f"expected at most {most_pixels} pixels a frame, got {size}; scale it down."
            return _refusal(413, "video_too_large", line)
        base = float(stream.time_base or 0)
        first, last, count = None, 0.0, 0
        most_frames = int(most_seconds * HIGHEST_FPS)
        declared = float(stream.duration or 0) * base
        try:
            for packet in container.demux(stream):
                if packet.size:
                    count += 1
                if packet.pts is not None:
                    time = packet.pts * base
                    first = time if first is None else min(first, time)
                    last = max(last, time)
                if count > most_frames or (first is not None and last - first > most_seconds):
                    break
        except av.error.FFmpegError as error:
            raise ValueError(f"{file}: expected a whole video, got a damaged one ({error.strerror}).") from None
        seconds = max(0.0 if first is None else last - first, declared, count / HIGHEST_FPS)
        if seconds > most_seconds or count > most_frames:
            limit, got = f"{most_seconds:g} s and {most_frames} frames", f"at least {seconds:.1f} s, {count} frames"
            line = f"expected at most {limit} of video, got {got}; cut it."
            return _refusal(413, "video_too_long", line)
        if pixels * count > most_pixels * most_seconds * USUAL_FPS:
            return _refusal(413, "video_too_large", f"expected less video, got {count} frames of {pixels} pixels.")
        if not count or not pixels:
            return _refusal(400, "unreadable_motion", "expected a video, got a video stream without a single frame.")
        return seconds

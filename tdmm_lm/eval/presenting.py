"""How a motion is put before a chat model: as a file, as motion tokens, as pictures of the geometry, or as a video.

Our gateway reads files. An engine without the gateway (vLLM on the exported folder) reads tokens. Vision-language
models see the rendered head: TDMM-LM's baselines "on rendered geometry" (T18).
"""

import base64
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tdmm_lm import codec, rigs
from tdmm_lm.corpus.asking import watching
from tdmm_lm.formats import npz
from tdmm_lm.lm import vocab
from tdmm_lm.motion import MotionClip

Way = Literal["file", "tokens", "sheet", "video"]
FRAMES, TILE, COLUMNS = 8, 256, 4  # of a contact sheet
VIDEO_SIZE = 256
SIDE = 512  # pixels of a film's frame, at most


def parts(clip: MotionClip, way: Way, network: codec.Codec | None = None) -> list[dict[str, Any]]:
    """Parts of a message's content in OpenAI's shapes; text parts hold tokens.

    Raises:
        ValueError: tokens without a codec, or a motion that cannot be drawn.
    """
    if way == "file":
        with tempfile.TemporaryDirectory() as folder:
            npz.write(clip, path := Path(folder) / "motion.npz")
            data = base64.b64encode(path.read_bytes()).decode()
        return [{"type": "file", "file": {"filename": "motion.npz", "file_data": data}}]
    if way == "tokens":
        if network is None:
            raise ValueError("present: tokens: expected the folder of the codec (codec:), got none.")
        return [{"type": "text", "text": vocab.text(codec.tokenize(network, clip), clip.modality)}]
    if way == "sheet":
        return [{"type": "image_url", "image_url": {"url": _url(sheet(clip), "image/png")}}]
    with tempfile.TemporaryDirectory() as folder:
        film(clip, path := Path(folder) / "motion.mp4")
        data = base64.b64encode(path.read_bytes()).decode()
    return [{"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{data}"}}]


def natural(path: Path, way: Way, seconds: float | None = None) -> list[dict[str, Any]]:
    """The same of a film as it is: eight frames of its first ``seconds``, or all of it as the file has it.

    Raises:
        ValueError: a video without frames.
    """
    if way == "video":
        media = f"video/{path.suffix.lower().lstrip('.')}"
        return [{"type": "video_url", "video_url": {"url": _url(path.read_bytes(), media)}}]
    _, frames = watching.stills(path, 0.0, seconds, FRAMES)
    return [{"type": "image_url", "image_url": {"url": watching.data_url(frame, SIDE)}} for frame in frames]


def stills(clip: MotionClip, count: int = FRAMES) -> list[MotionClip]:
    """Single frames in the middles of equal parts of a clip."""
    places = ((np.arange(count) + 0.5) * clip.frames / count).astype(int)
    return [MotionClip(clip.values[[place]], clip.fps, clip.modality, clip.rig, clip.shape) for place in places]


def sheet(clip: MotionClip) -> bytes:
    """A PNG of eight moments with their seconds, on the rig that the face clip drives."""
    from tdmm_lm.render import mesh

    rig = rigs.load(clip.rig)
    middles = (np.arange(FRAMES) + 0.5) * clip.frames / FRAMES / clip.fps
    rows = [(f"{second:.1f} s", still) for second, still in zip(middles, stills(clip))]
    with tempfile.TemporaryDirectory() as folder:
        mesh.contact_sheet(rows, rig, path := Path(folder) / "sheet.png", columns=COLUMNS, tile=TILE)
        return path.read_bytes()


def film(clip: MotionClip, path: Path, *, size: int = VIDEO_SIZE) -> None:
    """An mp4 of the rendered head, or of a body as its skeleton."""
    from tdmm_lm.render import mesh, skeleton

    if clip.modality == "body":
        skeleton.write(clip, path, size=(size, size))
    else:
        mesh.write(clip, path, rigs.load(clip.rig), size=(size, size))


def _url(data: bytes, media: str) -> str:
    return f"data:{media};base64,{base64.b64encode(data).decode()}"

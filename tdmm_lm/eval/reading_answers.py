"""The motion of an answer: a file that it links to, or motion tokens in its text, as a clip.

An endpoint is a stranger: its clips drive bundled rigs alone (another name could be any folder, or any module), are
faces and have an end.
"""

import functools
import tempfile
from pathlib import Path

from tdmm_lm import bundle, codec, rigs
from tdmm_lm.corpus.asking.patience import Failed
from tdmm_lm.formats import npz
from tdmm_lm.lm import vocab
from tdmm_lm.motion import MotionClip, face

LONGEST_SECONDS = 60.0


def of_tokens(text: str) -> MotionClip | None:
    """Motion tokens in a text, decoded by the bundled model's codec onto the bundled head; None where none are.

    Raises:
        Failed: broken_tokens, too_long.
    """
    try:
        found = [part for part in vocab.split(text) if not isinstance(part, str)]
        if not found:
            return None
        modality, codes = found[0]
        network = _codec(modality)
        if len(codes) > LONGEST_SECONDS * network.code_fps:
            raise Failed("too_long", f"expected at most {LONGEST_SECONDS:g} s of motion, got {len(codes)} codes")
        return codec.detokenize(network, codes, rigs.load("head"))
    except (ValueError, FileNotFoundError) as error:
        raise Failed("broken_tokens", str(error)) from None


def of_file(data: bytes) -> MotionClip:
    """A clip from the bytes of an npz file.

    Raises:
        Failed: broken_motion, strange_rig, too_long.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "motion.npz"
        path.write_bytes(data)
        try:
            clip = npz.read(path)
        except (OSError, ValueError) as error:
            raise Failed("broken_motion", str(error).replace(folder, "")) from None
    if clip.modality != "face" or clip.rig not in rigs.BUNDLED:
        wanted = f"expected a face on {' or '.join(rigs.BUNDLED)}"
        raise Failed("strange_rig", f"{wanted}, got {clip.modality[:20]!r} on {clip.rig[:40]!r}")
    try:
        width = len(rigs.load(clip.rig).expressions) + face.POSE_CHANNELS
    except FileNotFoundError as error:
        raise Failed("strange_rig", str(error)) from None
    if clip.values.shape[1] != width:
        raise Failed("broken_motion", f"expected {width} channels on {clip.rig}, got {clip.values.shape[1]}")
    if clip.seconds > LONGEST_SECONDS:
        raise Failed("too_long", f"expected at most {LONGEST_SECONDS:g} s of motion, got {clip.seconds:.1f}")
    return clip


@functools.cache
def _codec(modality: str) -> codec.Codec:
    return codec.load(bundle.path(f"assets/lm/codec_{modality}"))

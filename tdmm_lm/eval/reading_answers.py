"""The motion of an answer: a file that it links to, or motion tokens in its text, as a clip."""

import functools
import tempfile
from pathlib import Path

from tdmm_lm import bundle, codec, rigs
from tdmm_lm.corpus.asking.patience import Failed
from tdmm_lm.formats import npz
from tdmm_lm.lm import vocab
from tdmm_lm.motion import MotionClip


def of_tokens(text: str) -> MotionClip | None:
    """Motion tokens in a text, decoded by the bundled model's codec onto the bundled head; None where none are.

    Raises:
        Failed: broken_tokens.
    """
    try:
        found = [part for part in vocab.split(text) if not isinstance(part, str)]
        if not found:
            return None
        modality, codes = found[0]
        return codec.detokenize(_codec(modality), codes, rigs.load("head"))
    except (ValueError, FileNotFoundError) as error:
        raise Failed("broken_tokens", str(error)) from None


def of_file(data: bytes) -> MotionClip:
    """A clip from the bytes of an npz file.

    Raises:
        Failed: broken_motion.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "motion.npz"
        path.write_bytes(data)
        try:
            return npz.read(path)
        except (OSError, ValueError) as error:
            raise Failed("broken_motion", str(error).replace(folder, "")) from None


@functools.cache
def _codec(modality: str) -> codec.Codec:
    return codec.load(bundle.path(f"assets/lm/codec_{modality}"))

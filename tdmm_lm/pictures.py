"""The README's pictures, made by the code: ``python -m tdmm_lm.pictures``; expressions, words, frames of the demo."""

import shutil
import sys
from pathlib import Path

import numpy as np

from tdmm_lm import rigs
from tdmm_lm.corpus import perform
from tdmm_lm.corpus.lexicon import lexicon
from tdmm_lm.corpus.score import Expression, Score
from tdmm_lm.motion import MotionClip
from tdmm_lm.observe import Side
from tdmm_lm.render import mesh

WORDS = ("smile", "frown", "glare", "astonished", "terrified", "revolted", "kiss", "wink")


def expressions(path: Path, *, rig: str = "head") -> None:
    """Neutral and eight words at their apex, as they are performed."""
    _chart(("neutral", *WORDS), path, rig=rig, columns=3, tile=320)


def words(path: Path, *, rig: str = "head") -> None:
    """Every word of the lexicon at its apex, with its name; sided ones on the person's left."""
    _chart(tuple(lexicon().words), path, rig=rig, columns=14, tile=150)


def _chart(names: tuple[str, ...], path: Path, *, rig: str, columns: int, tile: int) -> None:
    head = rigs.load(rig)
    rows = []
    for word in names:
        side: Side = "left" if lexicon().word(word).sided else "both"
        shown = (Expression(word=word, intensity=1, onset=0.2, attack=0.3, side=side),)
        clip = perform.perform(Score(seconds=2, expressions=shown, seed=3))
        apex = clip.values[int(0.6 * clip.fps)][None].copy()
        apex[:, -18:] = 0  # straight ahead
        rows.append((word.replace("_", " "), MotionClip(apex.astype(np.float32), clip.fps, "face", rig)))
    mesh.contact_sheet(rows, head, path, columns=columns, tile=tile)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures")
    expressions(folder / "expressions.png")
    words(folder / "words.png")
    if Path("out/demo/contact_sheet.png").is_file():
        shutil.copyfile("out/demo/contact_sheet.png", folder / "demo.png")

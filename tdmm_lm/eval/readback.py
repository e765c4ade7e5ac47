"""Is what the corpus performs seen by someone who knows nothing of it? MediaPipe looks at rendered pictures.

`words` drives the lexicon's words at full intensity; a word is read where one of its shapes is among the three largest
changes against the neutral picture. Which words MediaPipe can read at all was settled on the scanned head, whose shapes
are a real person's: `eval/readable_words.yaml`, written by ``python -m tdmm_lm.eval.readback``. `gestures` renders
moving heads to video, captures them, and lets `observe` say what it sees. `observed` asks `observe` about every word.
"""

import tempfile
from pathlib import Path

import numpy as np
import yaml

from tdmm_lm import bundle, config, rigs
from tdmm_lm.corpus import labels
from tdmm_lm.corpus.lexicon import lexicon, weights
from tdmm_lm.corpus.perform import limit, perform
from tdmm_lm.corpus.score import Expression, Score
from tdmm_lm.eval.legible import SIZE, Reader
from tdmm_lm.files import replacing
from tdmm_lm.formats import video
from tdmm_lm.motion import face
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.observe import Side, run
from tdmm_lm.progress import track
from tdmm_lm.render import mesh

LIST = "eval/readable_words.yaml"
DRIVEN = 0.3  # of full intensity: shapes that take part less are not what a word is about
LARGEST = 3


class Readable(config.Settings):
    """The file `LIST`."""

    words: tuple[str, ...]


def readable() -> tuple[str, ...]:
    """The words that MediaPipe reads on the scanned head."""
    return config.load(Readable, bundle.path(LIST)).words


def words(rig: rigs.Rig, reader: Reader, names: tuple[str, ...]) -> dict[str, bool]:
    """For each word, at full intensity and on the left where it has sides: is a driven shape among the largest changes?

    A face that is not found reads nothing.
    """
    shown = [weights(word, "left" if word.sided else "both") for word in map(lexicon().word, names)]
    driven = limit(np.concatenate([np.zeros((1, len(ARKIT))), np.array(shown, float)]))
    clip = face.assemble({"expression": driven.astype(np.float32)}, fps=25, rig=rig.name)
    pictures = mesh.frames(clip, rig, size=SIZE)
    neutral = reader.scores(next(pictures))
    result = {}
    for name, target, picture in zip(names, driven[1:], track(pictures, "reading words", len(names))):
        scores = reader.scores(picture)
        result[name] = False
        if neutral and scores:
            changes = {shape: scores[shape] - neutral[shape] for shape in scores if shape in ARKIT}
            largest = sorted(changes, key=lambda shape: -abs(changes[shape]))[:LARGEST]
            result[name] = any(target[ARKIT.index(shape)] >= DRIVEN and changes[shape] > 0 for shape in largest)
    return result


def gestures(scores: list[Score], rig: rigs.Rig) -> list[tuple[str, int, str, int]]:
    """Of each performance, rendered to video and captured: gesture and count as performed, and as seen."""
    result = []
    with tempfile.TemporaryDirectory() as folder:
        for score in track(scores, "reading gestures"):
            path = Path(folder) / "one.mp4"
            mesh.write(perform(score), path, rig, size=(320, 320))
            truth, seen = labels.of_score(score), run.run(video.capture(path), rigs.load(video.RIG))
            result.append((truth.gesture, truth.count, seen.gesture, seen.count))
    return result


def observed(rig: rigs.Rig, intensities: tuple[float, ...] = (0.5, 0.6, 0.75, 0.95)) -> list[tuple[str, float, str]]:
    """Every word of the lexicon at intensities above slight: the word, the intensity, and the family `observe` sees."""
    result = []
    for number, (name, word) in enumerate(track(list(lexicon().words.items()), "observing words")):
        for place, asked in enumerate(intensities):
            intensity = max(asked, word.intensity[0])
            side: Side = "left" if word.sided else "both"
            shown = Expression(word=name, intensity=intensity, onset=0.3, attack=0.35, hold=1.6, side=side)
            clip = perform(Score(seconds=3.2, expressions=(shown,), seed=100 * number + place))
            result.append((name, intensity, run.run(clip, rig).family))
    return result


def main() -> None:
    """Write `LIST` anew."""
    reader = Reader(video.landmarker())
    try:
        found = words(rigs.load("ict"), reader, tuple(lexicon().words))
    finally:
        reader.close()
    names = [name for name, seen in found.items() if seen]
    head = (
        "# Words of the lexicon that MediaPipe reads on the scanned head: a shape driven is among the three largest\n"
        "# changes. Fixed before the bundled head was looked at. Written by python -m tdmm_lm.eval.readback\n"
    )
    with replacing(bundle.path(LIST)) as path:
        path.write_text(head + yaml.safe_dump({"words": names}, default_flow_style=None, width=110))
    print(f"{len(names)} of {len(found)} words")


if __name__ == "__main__":
    main()

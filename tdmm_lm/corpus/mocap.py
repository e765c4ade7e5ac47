"""Real bodies as rows: the CMU motion capture database, read from BVH files as they are."""

import csv
from collections.abc import Iterator
from pathlib import Path

from tdmm_lm.formats import bvh
from tdmm_lm.motion import MotionClip
from tdmm_lm.sample import Sample

CMU_LICENCE = "free to use, not to be resold: CMU Graphics Lab Motion Capture Database (NSF EIA-0196217)"
CMU_METRES = 0.056444  # of one of the files' units
CMU_HELD_OUT = {"05": "test", "08": "test", "03": "dev"}  # subjects; all others are for training


def cmu(folder: Path, split: str | None = None) -> Iterator[Sample]:
    """83 clips of 7 subjects at 120 Hz with CMU's own short descriptions. Frame 0 is an added T-pose and left out.

    ``split`` reads only the subjects of one.

    Raises:
        ValueError: a file that is no body's motion.
    """
    with (folder / "cmu_mocap" / "captions.tsv").open(newline="") as file:
        captions = {row["clip"]: row["cmu_description"] for row in csv.DictReader(file, delimiter="\t")}
    for path in sorted((folder / "cmu_mocap" / "bvh").glob("*.bvh")):
        belongs = CMU_HELD_OUT.get(path.stem.split("_")[0], "train")
        if split in (None, belongs):
            clip = bvh.read(path, units=CMU_METRES)
            clip = MotionClip(clip.values[1:], clip.fps, clip.modality, clip.rig, clip.shape)
            yield Sample(f"cmu/{path.stem}", (captions[path.stem],), {"body": clip}, belongs, "CMU mocap", CMU_LICENCE)

"""KIT Motion-Language in HumanML3D's processing (Plappert et al. 2016, Guo et al. 2022): bodies at 12.5 fps, captions.

    FOLDER/new_joint_vecs/00001.npy    (frames, 251): HumanML3D's layout for 21 joints
    FOLDER/texts/00001.txt             caption#tokens#from#to
    FOLDER/train.txt, val.txt, test.txt   ids; M00001 is 00001 mirrored

What is lost on the way to our body: hands, toes' own turns and turns of a bone about itself, which were not in the
features. The second spine joint and the collars do not exist there; they are put on the lines between their
neighbours. Lengths are thousandths of a height, not millimetres: clips are scaled so that legs are as long as the
default skeleton's, and the people's own sizes are unknown.

Left and right: KIT calls joints 5 to 7 and 11 to 15 left, and the published mean of all features has them at -X of a
body that faces +Z, which is a body's right: the places are mirror images. They are mirrored back here (as TEMOS, whose
authors work with the same places, does), so that a left hand in a caption is the left hand of the clip. A file whose
left lies at +X is refused, since it was made by another script. Checked on the published mean, not on the corpus.

    sources: {kit_ml: {folder: KIT-ML}}
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from tdmm_lm import config
from tdmm_lm.corpus.sources import Item, Rejected, humanml3d
from tdmm_lm.geometry import humanml3d as features
from tdmm_lm.motion import MotionClip, body
from tdmm_lm.rigs import skeleton
from tdmm_lm.sample import Sample

SOURCE = "KIT-ML"
LICENCE = "KIT Motion-Language Dataset (Plappert et al. 2016), terms at https://motion-annotation.humanoids.kit.edu"
FPS = 12.5
WIDTH = 251
JOINTS = (
    "root", "BP", "BT", "BLN", "BUN", "LS", "LE", "LW", "RS", "RE", "RW", "LH", "LK", "LA", "LMrot", "LF", "RH", "RK",
    "RA", "RMrot", "RF",
)
PLACES = slice(0, 4 + 3 * (len(JOINTS) - 1))  # yaw, step, height, places: as HumanML3D's rows begin
OURS = {  # ours by KIT's; spine2 and the collars lie between others
    "pelvis": "root", "spine1": "BP", "spine3": "BT", "neck": "BLN", "head": "BUN",
    "left_hip": "LH", "left_knee": "LK", "left_ankle": "LA", "left_foot": "LF", "left_shoulder": "LS",
    "left_elbow": "LE", "left_wrist": "LW", "right_hip": "RH", "right_knee": "RK", "right_ankle": "RA",
    "right_foot": "RF", "right_shoulder": "RS", "right_elbow": "RE", "right_wrist": "RW",
}
SEE = "get the processed corpus (new_joint_vecs/ with 251 numbers a frame) by https://github.com/EricGuo5513/HumanML3D"


class Settings(config.Settings):
    """The standard evaluation keeps clips of 24 to 199 frames, which the defaults keep too."""

    folder: Path
    mirrored: bool = True
    least_seconds: float = Field(default=1.92, gt=0)
    most_seconds: float = Field(default=16.0, gt=0)


def items(settings: Settings, seed: int) -> Iterator[Item]:
    """One a motion, train, dev, test after one another in the order of the lists; ``seed`` changes nothing.

    Raises:
        FileNotFoundError: the folder, its motions, texts or lists are missing.
        ValueError: the folder holds the original recordings, or an id stands in two lists.
    """
    del seed  # the order is the corpus's
    _check(settings.folder)
    for name, split in humanml3d.listed(settings.folder, mirrored=settings.mirrored):
        yield Item(f"kit_ml/{name}", split, {"name": name})


def samples(item: Item, settings: Settings) -> Iterator[Sample | Rejected]:
    """The whole motion with its captions, then each captioned part of it."""
    name = str(item.what["name"])
    file = f"{humanml3d.VECTORS}/{name}.npy"
    moving = humanml3d.load(settings.folder / file, item.id, SOURCE)
    if isinstance(moving, Rejected):
        yield moving
        return
    if moving.shape[1:] != (WIDTH,):
        wanted = f"{file}: expected (frames, {WIDTH}), got {moving.shape}"
        hint = "; 263 is HumanML3D itself" if moving.shape[1:] == (features.WIDTH,) else ""
        yield Rejected(item.id, SOURCE, "wrong_shape", f"{wanted}{hint}.")
        return
    for part in humanml3d.parts(settings.folder / "texts" / f"{name}.txt", item.id, SOURCE):
        if isinstance(part, Rejected):
            yield part
            continue
        span, texts = part
        rows = humanml3d.within(moving, span, FPS)
        ident = item.id + ("" if span == (0, 0) else f"@{span[0]:g}-{span[1]:g}")
        wrong = humanml3d.length(ident, SOURCE, len(rows) / FPS, settings.least_seconds, settings.most_seconds)
        if wrong is not None:
            yield wrong
            continue
        places = recovered(torch.from_numpy(rows))
        if not _mirror_image(places):
            said = f"{file}: expected KIT's left joints at the body's right, as published, got them at its left."
            yield Rejected(ident, SOURCE, "other_sides", said)
            continue
        try:
            clip, metres = clip_of(places)
        except ValueError as error:
            yield Rejected(ident, SOURCE, "bad_motion", str(error))
            continue
        origin = humanml3d.origin(file, name, span) | {"metres_per_unit": metres, "mirrored_back": True}
        labels = {"mirrored": name.startswith("M")}
        yield Sample(ident, texts, {"body": clip}, item.split, SOURCE, LICENCE, labels, provenance=origin)


def recovered(rows: Float[Tensor, "rows 251"]) -> Float[Tensor, "rows 21 3"]:
    """World places of KIT's joints as published: its own units and sides, Y up."""
    wide = rows.new_zeros(len(rows), features.WIDTH)
    wide[:, PLACES] = rows[:, PLACES]  # the rows begin as HumanML3D's do, with one joint fewer
    return features.recover_joints(wide)[:, : len(JOINTS)]


def clip_of(places: Float[Tensor, "frames 21 3"]) -> tuple[MotionClip, float]:
    """A body clip with the people's proportions, left and right put right, and the metres of one unit.

    Raises:
        ValueError: a bone without length.
    """
    places = places * places.new_tensor([-1, 1, 1])
    at = {ours: places[:, JOINTS.index(kit)] for ours, kit in OURS.items()}
    at["spine2"] = (at["spine1"] + at["spine3"]) / 2
    rest = skeleton.load()
    share = _collar_share(rest)
    for side in ("left", "right"):
        at[f"{side}_collar"] = at["neck"] + share * (at[f"{side}_shoulder"] - at["neck"])
    ours = torch.stack([at[name] for name in body.JOINTS], 1)
    legs = [body.JOINTS.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("knee", "ankle")]
    bones = ours[:, legs] - ours[:, [body.PARENTS[joint] for joint in legs]]
    unit = float(bones.norm(dim=-1).mean(0).sum())
    if unit < 1e-6:
        raise ValueError("kit_ml: expected legs with a length, got none.")
    metres = float(rest.lengths[legs].sum()) / unit
    ours = ours * metres
    return skeleton.fit(ours, fps=FPS, rest=skeleton.measured(ours)), metres


def _collar_share(rest: skeleton.Skeleton) -> float:
    """How far out from the middle to the shoulder the default skeleton has its collars."""
    collar, shoulder = (float(rest.offsets[body.JOINTS.index(f"left_{name}"), 0]) for name in ("collar", "shoulder"))
    return collar / (collar + shoulder)


def _mirror_image(places: Float[Tensor, "frames 21 3"]) -> bool:
    """Whether what is called left lies right of a body whose toes point forward, over the clip's mean."""
    ankles, toes, hips = (
        [JOINTS.index(f"{side}{joint}") for side in "LR"] for joint in ("A", "F", "H")
    )
    ahead = (places[:, toes] - places[:, ankles]).mean(1)
    across = places[:, hips[0]] - places[:, hips[1]]
    left = torch.stack([ahead[:, 2], -ahead[:, 0]], -1)  # Y x ahead, in x and z
    return float((left * across[:, [0, 2]]).sum(-1).mean()) < 0


def _check(folder: Path) -> None:
    wanted = (humanml3d.VECTORS, "texts", *humanml3d.SPLITS.values())
    missing = [name for name in wanted if not (folder / name).exists()]
    if not missing:
        return
    if folder.is_dir() and any(folder.glob("*_mmm.xml")):
        raise ValueError(
            f"{folder}: expected {humanml3d.VECTORS}/ and texts/, found the original recordings (*_mmm.xml, "
            f"*_annotations.json), whose joints have to be computed first; {SEE}."
        )
    below = f"{humanml3d.VECTORS}/, texts/, {', '.join(humanml3d.SPLITS.values())}"
    raise humanml3d.lacking(folder, SOURCE, missing=", ".join(missing), below=below, see=SEE)

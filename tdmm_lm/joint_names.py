"""Which joint of anyone's skeleton is which of ours: one table of words for the usual naming schemes.

Known and tested: MotionBuilder and CMU, Mixamo (with prefix), SMPL and HumanML3D, 3ds Max Biped, Unreal, LAFAN1,
Xsens (BVH and MVN), VRM and Unity, OptiTrack, Poser, CMU's ASF. A name is read as words: prefixes and separators go, a
side is found anywhere, what remains is looked up. The trunk is found by where it lies, between pelvis and shoulders.
"""

import re
from collections.abc import Sequence

from tdmm_lm.motion import body

REQUIRED = tuple(
    name for name in body.JOINTS
    if name in ("pelvis", "head") or name.endswith(("hip", "knee", "ankle", "shoulder", "elbow", "wrist"))
)
MOST_JOINTS = 500

_SIDES = {"left": "left", "l": "left", "lft": "left", "right": "right", "r": "right", "rgt": "right"}
_LIMBS = {  # in this order, the first word that a skeleton has; a joint that is taken is not taken twice
    "knee": ("knee", "leg", "lowerleg", "lowleg", "calf", "shin", "tibia", "shinbend"),
    "hip": ("upleg", "upperleg", "thigh", "thighbend", "femur", "hip"),
    "ankle": ("ankle", "foot"),
    "foot": ("toebase", "toe", "toes", "toe0", "ball", "foot"),
    "shoulder": ("upperarm", "uparm", "uarm", "arm", "shldr", "shldrbend", "humerus", "shoulder"),
    "collar": ("collar", "clavicle", "collarbone", "thorax", "shoulder"),
    "elbow": ("elbow", "forearm", "lowerarm", "lowarm", "farm", "forearmbend", "radius"),
    "wrist": ("wrist", "hand"),
}
_MIDDLE = {"pelvis": ("hips", "pelvis", "hip", "root"), "head": ("head",)}
_NECK = re.compile(r"(neck|cervical|upperneck|lowerneck)\d*(lower|upper)?")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]*|[a-z]+|\d+")


def mapped(names: Sequence[str], parents: Sequence[int]) -> dict[str, int]:
    """For each of our joints that the skeleton has the number of its own; a parent comes before its children.

    The spine's three, the neck, collars and feet may be missing. Of more than three trunk joints the first, the last
    and the one nearest the middle are taken, of several neck joints the first.

    Raises:
        ValueError: a joint of `REQUIRED` is not found or hangs where it should not; they are named.
    """
    if len(names) > MOST_JOINTS:
        raise ValueError(f"skeleton: expected at most {MOST_JOINTS} joints, got {len(names)}.")
    words = _words(names)
    found: dict[str, int] = {}
    for name, known in _MIDDLE.items():
        place = _first(words, "", known, found)
        if place is not None:
            found[name] = place
    for side in ("left", "right"):
        for part, known in _LIMBS.items():
            place = _first(words, side, known, found)
            if place is not None:
                found[f"{side}_{part}"] = place
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        listed = ", ".join(name[:30] for name in names[:12]) + (", …" if len(names) > 12 else "")
        raise ValueError(f"skeleton: expected joints for {', '.join(missing)}, found none among {listed}.")
    found |= _trunk(words, parents, found)
    _hanging(names, parents, found)
    return found


def path(parents: Sequence[int], below: int, above: int) -> list[int] | None:
    """The joints strictly between two, from above to below; None where ``below`` does not hang under ``above``."""
    between: list[int] = []
    place = parents[below]
    while place != above:
        if place < 0:
            return None
        between.append(place)
        place = parents[place]
    return between[::-1]


def _words(names: Sequence[str]) -> list[tuple[str, str]]:
    """Every name as (side or "", what remains in small letters)."""
    split = [[word.lower().lstrip("0") or "0" for word in _WORD.findall(name.rsplit(":", 1)[-1])] for name in names]
    while True:  # what nearly all names begin with says nothing: mixamorig, Bip01, J_Bip
        firsts = [words[0] for words in split if len(words) > 1]
        common = max(set(firsts), key=firsts.count, default="")
        if common in _SIDES or firsts.count(common) < max(4, 0.6 * len(split)):
            break
        split = [words[1:] if len(words) > 1 and words[0] == common else words for words in split]
    return [_sided(words) for words in split]


def _sided(words: list[str]) -> tuple[str, str]:
    if "".join(words) in ("l5", "l3", "t12", "t8"):  # vertebrae of Xsens, no sides
        return "", "".join(words)
    words = [word for word in words if word not in ("c", "m", "avg", "def", "joint", "jnt", "bip")]
    sides = [word for word in words if word in _SIDES]
    if sides:
        rest = list(words)
        rest.remove(sides[0])
        return _SIDES[sides[0]], "".join(rest)
    whole = "".join(words)
    limbs = {word for known in _LIMBS.values() for word in known}
    for start in ("left", "right", "l", "r"):  # lfemur, lefthip: no mark between
        if whole.startswith(start) and whole.removeprefix(start) in limbs:
            return _SIDES[start], whole.removeprefix(start)
    return "", whole


def _first(words: list[tuple[str, str]], side: str, known: Sequence[str], taken: dict[str, int]) -> int | None:
    for word in known:
        for place, found in enumerate(words):
            if found == (side, word) and place not in taken.values():
                return place
    return None


def _trunk(words: list[tuple[str, str]], parents: Sequence[int], found: dict[str, int]) -> dict[str, int]:
    """Spine and neck: the joints between pelvis and head, parted where the neck's name or the arms begin."""
    chain = path(parents, found["head"], found["pelvis"])
    if chain is None:
        raise ValueError("skeleton: expected the head under the pelvis, got it elsewhere.")
    necks = [place for place in chain if words[place][0] == "" and _NECK.fullmatch(words[place][1])]
    end = chain.index(necks[0]) if necks else len(chain)
    arms = [path(parents, found[f"{side}_shoulder"], found["pelvis"]) or [] for side in ("left", "right")]
    shared = [k for k, place in enumerate(chain[:end]) if all(place in arm for arm in arms)]
    trunk = chain[: shared[-1] + 1] if shared else chain[:end]
    result: dict[str, int] = {}
    if trunk:
        result["spine3"] = trunk[-1]
    if len(trunk) > 1:
        result["spine1"] = trunk[0]
    if len(trunk) > 2:
        result["spine2"] = trunk[(len(trunk) - 1) // 2]
    above = necks or chain[len(trunk) :]
    if above:
        result["neck"] = above[0]
    return result


def _hanging(names: Sequence[str], parents: Sequence[int], found: dict[str, int]) -> None:
    """Refuse limbs that hang under another joint than in a body."""
    for side in ("left", "right"):
        for lower, upper in (("knee", "hip"), ("ankle", "knee"), ("foot", "ankle"), ("elbow", "shoulder"),
                             ("wrist", "elbow"), ("shoulder", "collar"), ("hip", "")):
            below, above = f"{side}_{lower}", f"{side}_{upper}" if upper else "pelvis"
            if below in found and above in found and path(parents, found[below], found[above]) is None:
                low, high = names[found[below]][:30], names[found[above]][:30]
                raise ValueError(f"skeleton: expected {below} ({low}) under {above} ({high}), got it elsewhere.")

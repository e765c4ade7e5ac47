"""The landmarks in which faces are compared: named places on the surface, the same on every head.

Left and right are the person's own. Curves are ordered from the person's right to their left along the upper and lower
lip, and from the inner to the outer side along lids and brows. Where MediaPipe's face mesh has the place, its index
(0..467 of the canonical model, 468..477 irises) stands beside the name.
"""

# curve -> MediaPipe indices along it, for the person's right half (MediaPipe's own convention: right is image left)
_RIGHT = {
    "lid_upper": (133, 173, 157, 158, 159, 160, 161, 246, 33),  # both corners belong to the upper curve
    "lid_lower": (155, 154, 153, 145, 144, 163, 7),
    "brow_upper": (107, 66, 105, 63, 70),
    "brow_lower": (55, 65, 52, 53, 46),
    "cheek": (100, 101, 50, 123, 36, 205, 187, 147, 203, 206, 207, 216, 142, 118, 117, 116, 212, 119),
    "forehead": (108, 69, 104, 68),
    "nose": (49, 48, 64, 98, 129, 174),
    "chin": (83, 201, 194),
    "oval": (109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148),
}
_LEFT = {
    "lid_upper": (362, 398, 384, 385, 386, 387, 388, 466, 263),
    "lid_lower": (382, 381, 380, 374, 373, 390, 249),
    "brow_upper": (336, 296, 334, 293, 300),
    "brow_lower": (285, 295, 282, 283, 276),
    "cheek": (329, 330, 280, 352, 266, 425, 411, 376, 423, 426, 427, 436, 371, 347, 346, 345, 432, 348),
    "forehead": (337, 299, 333, 298),
    "nose": (279, 278, 294, 327, 358, 399),
    "chin": (313, 421, 418),
    "oval": (338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
}
_MIDDLE = {
    "lip_outer_upper": (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),  # corners belong to the upper curve
    "lip_outer_lower": (146, 91, 181, 84, 17, 314, 405, 321, 375),
    "lip_inner_upper": (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
    "lip_inner_lower": (95, 88, 178, 87, 14, 317, 402, 318, 324),
    "nose_bridge": (168, 6, 197, 195, 5, 4, 1, 2),
    "brow_middle": (151, 9, 8),
    "chin_middle": (18, 200, 199, 175),
    "oval_top": (10,),
    "oval_bottom": (152,),
}

MEDIAPIPE: dict[str, int] = {}
for _side, _curves in (("right", _RIGHT), ("left", _LEFT)):
    for _curve, _indices in _curves.items():
        MEDIAPIPE |= {f"{_curve}_{_side}_{i}": index for i, index in enumerate(_indices)}
for _curve, _indices in _MIDDLE.items():
    MEDIAPIPE |= {f"{_curve}_{i}": index for i, index in enumerate(_indices)}
MEDIAPIPE |= {"pupil_right": 468, "pupil_left": 473}

NAMES: tuple[str, ...] = (*MEDIAPIPE, "tongue_tip")

REGIONS = {  # every name belongs to exactly one region, by its first word
    "lips": ("lip",),
    "lids": ("lid",),
    "brows": ("brow",),
    "jaw": ("oval", "chin"),
    "cheeks": ("cheek",),
    "nose": ("nose",),
    "forehead": ("forehead",),
    "pupils": ("pupil",),
    "tongue": ("tongue",),
}


def region(name: str) -> tuple[int, ...]:
    """Indices into `NAMES` of a region, e.g. ``region("lips")``."""
    if name not in REGIONS:
        raise ValueError(f"landmarks: expected a region among {', '.join(REGIONS)}, got {name!r}.")
    return tuple(i for i, place in enumerate(NAMES) if place.split("_")[0] in REGIONS[name])


def mirrored() -> tuple[int, ...]:
    """For each landmark the index of its mirror image (itself on the middle line)."""
    lookup = {place: i for i, place in enumerate(NAMES)}
    result = []
    for place in NAMES:
        words = place.split("_")
        if "left" in words or "right" in words:
            words = ["right" if w == "left" else "left" if w == "right" else w for w in words]
            result.append(lookup["_".join(words)])
        elif words[0] == "lip":
            curve = "_".join(words[:-1])
            last = sum(other.startswith(curve + "_") for other in NAMES) - 1
            result.append(lookup[f"{curve}_{last - int(words[-1])}"])
        else:
            result.append(lookup[place])
    return tuple(result)

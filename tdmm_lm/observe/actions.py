"""Which family of expression a face shows: the held part of its weights against written prototypes.

Every family is one or more mixtures of shapes, as FACS describes them (EMFACS: joy 6+12, sadness 1+4+15, surprise
1+2+5+26, fear 1+2+4+5+20, anger 4+5/7+23/25, disgust 9/10, contempt one-sided 12/14). A frame belongs to the family
whose prototype points most nearly the same way (cosine); how far it goes along it (projection) is the intensity.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import maximum_filter1d

from tdmm_lm.motion.face import ARKIT
from tdmm_lm.observe import FAMILIES, Event, Side, events
from tdmm_lm.observe.shapes import PAIRS, SINGLE, side_of

HELD = 0.35  # seconds: what stands shorter is a syllable, a blink, a twitch
NEUTRAL = 0.15  # intensity under which a face counts as neutral,
LEAST = {"wink": 0.4, "squint": 0.2, "lip_press": 0.2, "eyes_closed": 0.4}  # a face at rest shows these often
ALIKE = 0.5  # the least cosine to a prototype; less, and the face does something without a name here
SHORTEST = 0.25  # seconds of held movement (its rises and falls are longer)
SLACK = 0.2  # of the stronger side: unevenness that every face has
RESTING = 5  # percentile of each held shape over the clip that is this person's rest, as far as `REST` allows
REST = {"eyeSquint": 0.6, "browDown": 0.2, "eyeBlink": 0.35, "other": 0.1}  # narrow eyes, low brows: mostly anatomy
WAVER = 1.5  # times the rest is taken off: what is always there also comes and goes with every blink
SILENT = (
    "mouth_open", "pucker", "funnel", "lip_press", "lip_bite", "teeth", "stretch", "chin_raise", "mouth_side",
    "jaw_side", "jaw_forward",
)  # not seen while the person speaks: speech is made of them
AROUND = 0.5  # seconds before and after: lips part for a breath and settle
SPOKEN = 0.5  # of the mouth's shapes, while the person speaks: what the held part of speech leaves standing

# Weights at full intensity. `X` is both sides' shape, `one:X` what one side does beyond the other.
PROTOTYPES: dict[str, tuple[dict[str, float], ...]] = {
    "joy": (
        {"mouthSmile": 0.9, "cheekSquint": 0.4},
        {"mouthSmile": 0.9, "cheekSquint": 0.6, "mouthUpperUp": 0.3, "mouthLowerDown": 0.3, "eyeSquint": 0.2},
        {"mouthSmile": 0.9, "cheekSquint": 0.7, "jawOpen": 0.5, "eyeSquint": 0.4, "mouthUpperUp": 0.2},
        {"mouthSmile": 0.9, "cheekSquint": 0.5, "browOuterUp": 0.3, "browInnerUp": 0.2},
        {"mouthSmile": 0.8, "mouthDimple": 0.4, "cheekSquint": 0.3, "eyeSquint": 0.2},
    ),
    "sadness": (
        {"browInnerUp": 0.8, "mouthFrown": 0.8, "mouthShrugLower": 0.3},
        {"browInnerUp": 0.35, "mouthFrown": 1.0, "mouthShrugLower": 0.3, "browDown": 0.2},
        {"browInnerUp": 0.9, "mouthFrown": 0.8, "eyeSquint": 0.4, "cheekSquint": 0.3, "mouthShrugLower": 0.5},
        {"browInnerUp": 1.0, "mouthFrown": 0.4, "browDown": 0.2},
        {"mouthFrown": 1.0},
    ),
    "anger": (
        {"browDown": 1.0, "eyeSquint": 0.5},
        {"browDown": 0.9, "eyeSquint": 0.4, "mouthPress": 0.5, "noseSneer": 0.15},
        {"browDown": 1.0, "eyeSquint": 0.4, "mouthLowerDown": 0.5, "mouthStretch": 0.3, "noseSneer": 0.3,
         "jawOpen": 0.15},
        {"browDown": 1.0, "eyeSquint": 0.4, "mouthFrown": 0.3, "mouthPress": 0.2},
        {"browDown": 1.0, "eyeWide": 0.5, "mouthPress": 0.3},
    ),
    "surprise": (
        {"browInnerUp": 0.9, "browOuterUp": 0.9, "eyeWide": 0.9, "jawOpen": 0.5},
        {"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.9},
        {"browInnerUp": 0.9, "browOuterUp": 0.9, "jawOpen": 0.7, "eyeWide": 0.4},
    ),
    "fear": (
        {"browInnerUp": 0.9, "browDown": 0.2, "eyeWide": 0.9, "mouthStretch": 0.9, "jawOpen": 0.1},
        {"browInnerUp": 1.0, "browDown": 0.2, "eyeWide": 1.0, "mouthStretch": 1.0, "mouthLowerDown": 0.35,
         "jawOpen": 0.2},
        {"browInnerUp": 0.85, "browDown": 0.25, "eyeWide": 0.5, "mouthStretch": 0.65},
        {"browInnerUp": 0.9, "browDown": 0.4, "eyeWide": 0.8},
    ),
    "disgust": (
        {"noseSneer": 1.0, "mouthUpperUp": 0.7, "cheekSquint": 0.4, "eyeSquint": 0.25, "browDown": 0.2},
        {"noseSneer": 1.0, "mouthUpperUp": 0.3, "cheekSquint": 0.3},
        {"noseSneer": 0.7, "mouthUpperUp": 0.9, "cheekSquint": 0.3, "mouthShrugLower": 0.2},
    ),
    "contempt": (
        {"one:mouthSmile": 0.75, "one:mouthDimple": 0.75},
        {"one:mouthSmile": 0.95, "one:mouthDimple": 0.5, "one:cheekSquint": 0.3},
        {"one:mouthSmile": 0.65, "one:mouthUpperUp": 0.75, "one:noseSneer": 0.5, "one:mouthDimple": 0.4},
        {"one:mouthDimple": 1.0},
    ),
    "pain": (
        {"eyeSquint": 0.85, "cheekSquint": 0.8, "browDown": 0.8, "eyeBlink": 0.3},
        {"eyeSquint": 0.85, "cheekSquint": 0.75, "browDown": 0.7, "mouthStretch": 0.6, "eyeBlink": 0.3},
        {"eyeSquint": 0.9, "cheekSquint": 0.85, "browDown": 0.85, "mouthUpperUp": 0.5, "noseSneer": 0.3,
         "mouthStretch": 0.3, "eyeBlink": 0.35},
    ),
    "doubt": (
        {"one:browOuterUp": 0.9, "one:browDown": 0.7},
        {"one:browOuterUp": 0.7, "one:browDown": 0.85, "one:eyeSquint": 0.3},
        {"one:browOuterUp": 0.7, "one:browDown": 0.7, "eyeSquint": 0.4},
        {"one:browOuterUp": 0.75, "one:browDown": 0.6, "mouthFrown": 0.35, "mouthShrugLower": 0.25},
    ),
    "pucker": (
        {"mouthPucker": 1.0}, {"mouthPucker": 0.9, "mouthFunnel": 0.4}, {"mouthPucker": 0.85, "mouthShrugLower": 0.6},
    ),
    "funnel": ({"mouthFunnel": 1.0}, {"mouthFunnel": 0.95, "jawOpen": 0.3}, {"mouthFunnel": 0.9, "mouthPucker": 0.25}),
    "mouth_open": (
        {"jawOpen": 1.0}, {"jawOpen": 0.8, "mouthFunnel": 0.25}, {"jawOpen": 1.0, "eyeSquint": 0.45, "eyeBlink": 0.3},
        {"jawOpen": 1.0, "mouthLowerDown": 0.3, "mouthUpperUp": 0.15},
    ),
    "squint": ({"eyeSquint": 1.0, "eyeBlink": 0.25}, {"eyeSquint": 1.0, "cheekSquint": 0.3}),
    "eyes_wide": ({"eyeWide": 1.0},),
    "eyes_closed": ({"eyeBlink": 1.0}, {"eyeBlink": 0.9, "mouthFrown": 0.2}),
    "puff": ({"cheekPuff": 1.0}, {"cheekPuff": 1.0, "mouthPress": 0.3}),
    "lip_press": (
        {"mouthPress": 1.0, "mouthRollUpper": 0.5, "mouthRollLower": 0.6}, {"mouthPress": 1.0},
        {"mouthPress": 0.5, "mouthRollUpper": 0.95, "mouthRollLower": 0.95},
    ),
    "lip_bite": ({"mouthRollLower": 1.0},),
    "teeth": (
        {"mouthUpperUp": 0.85, "mouthLowerDown": 0.85, "mouthStretch": 0.2},
        {"mouthUpperUp": 0.6, "mouthLowerDown": 1.0},
        {"mouthLowerDown": 1.0, "mouthUpperUp": 0.25},
        {"mouthUpperUp": 0.75, "mouthLowerDown": 0.85, "browDown": 0.3, "mouthStretch": 0.2},
    ),
    "stretch": ({"mouthStretch": 1.0}, {"mouthStretch": 1.0, "mouthLowerDown": 0.3}),
    "dimple": ({"mouthDimple": 1.0},),
    "chin_raise": ({"mouthShrugLower": 1.0}, {"mouthShrugLower": 1.0, "mouthShrugUpper": 0.6}),
    "mouth_side": ({"mouthSide": 1.0},),
    "brow_lower": ({"browDown": 1.0}, {"browDown": 1.0, "browInnerUp": 0.2}),
    "brow_raise": (
        {"browInnerUp": 0.9, "browOuterUp": 0.95}, {"browOuterUp": 1.0, "browInnerUp": 0.4}, {"browInnerUp": 1.0},
        {"one:browOuterUp": 1.0, "browInnerUp": 0.35},
    ),
    "wink": ({"one:eyeBlink": 1.0}, {"one:eyeBlink": 1.0, "one:cheekSquint": 0.5, "one:eyeSquint": 0.3}),
    "jaw_side": ({"jawSide": 1.0, "mouthSide": 0.3}, {"jawSide": 1.0}),
    "jaw_forward": ({"jawForward": 1.0},),
    "tongue_out": ({"tongueOut": 1.0, "jawOpen": 0.4},),
}

# What tells little about a family counts little in the comparison; what is not named counts 1.
SALIENCE = {
    "eyeBlink": 0.5, "mouthClose": 0.3, "mouthShrugLower": 0.5, "mouthShrugUpper": 0.5, "jawForward": 0.5,
    "mouthSide": 0.5, "cheekSquint": 0.6, "mouthFunnel": 0.7, "one:eyeSquint": 0.4, "one:mouthPress": 0.5,
    "one:mouthStretch": 0.5, "one:mouthLowerDown": 0.5, "one:mouthFrown": 0.5, "one:eyeWide": 0.5, "one:browDown": 0.5,
    "one:cheekSquint": 0.5,
}
_DIRECTIONS = {"jawSide": ("jawLeft", "jawRight"), "mouthSide": ("mouthLeft", "mouthRight")}
_LOOKS = tuple(name for name in PAIRS if name.startswith("eyeLook"))
_PAIRED = tuple(name for name in PAIRS if name not in _LOOKS)
_ALONE = tuple(name for name in SINGLE if name not in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"))
FEATURES = (*_PAIRED, *(f"one:{name}" for name in _PAIRED), *_ALONE, *_DIRECTIONS)
_MOUTH = np.array([
    name.split(":")[-1].startswith(("mouth", "jaw")) and not name.endswith(("Smile", "Frown")) for name in FEATURES
])


@dataclass(frozen=True)
class _Table:
    """`PROTOTYPES` as arrays, salience applied."""

    rows: Float[np.ndarray, "prototypes features"]
    family: Int[np.ndarray, " prototypes"]
    salience: Float[np.ndarray, " features"]


@lru_cache(maxsize=1)
def _table() -> _Table:
    salience = np.array([SALIENCE.get(name, 1.0) for name in FEATURES])
    rows, family = [], []
    for name, mixtures in PROTOTYPES.items():
        for mixture in mixtures:
            row = np.zeros(len(FEATURES))
            for feature, weight in mixture.items():
                row[FEATURES.index(feature)] = weight
            rows.append(row * salience)
            family.append(FAMILIES.index(name))
    return _Table(np.array(rows), np.array(family), salience)


def features(weights: Float[np.ndarray, "frames arkit"]) -> Float[np.ndarray, "frames features"]:
    """What both sides do, what one does beyond the other, and the middle's shapes; the order is `FEATURES`."""
    left, right = (weights[:, [PAIRS[name][i] for name in _PAIRED]] for i in (0, 1))
    less, more = np.minimum(left, right), np.maximum(left, right)
    uneven = np.clip((1 - less / np.maximum(more, 1e-6)) / SLACK - 1, 0, 1)  # 0 up to `SLACK`, 1 from twice that on
    one = uneven * (more - less)
    both = (left + right - one) / 2
    alone = weights[:, [SINGLE[name] for name in _ALONE]]
    sides = [np.abs(weights[:, ARKIT.index(a)] - weights[:, ARKIT.index(b)]) for a, b in _DIRECTIONS.values()]
    return np.concatenate([both, one, alone, np.stack(sides, 1)], 1)


def lasting(
    weights: Float[np.ndarray, "frames arkit"], fps: float, speaking: Bool[np.ndarray, " frames"]
) -> Float[np.ndarray, "frames features"]:
    """Features of what stands for `HELD` seconds over this person's rest, with the mouth discounted in speech."""
    standing = events.held(weights, fps, HELD)
    allowed = [next((cap for name, cap in REST.items() if full.startswith(name)), REST["other"]) for full in ARKIT]
    resting = np.minimum(np.percentile(standing, RESTING, axis=0), allowed)
    result = features(np.maximum(0, standing - WAVER * resting))
    result[np.ix_(speaking, _MOUTH)] *= SPOKEN
    return result


def find(weights: Float[np.ndarray, "frames arkit"], fps: float, speaking: Bool[np.ndarray, " frames"]) -> list[Event]:
    """Events of kind ``family``, sorted by onset; ``weights`` are 0..1 in the order of `ARKIT`."""
    shown = lasting(weights, fps, speaking)
    alike, level = match(shown)
    near = maximum_filter1d(speaking, 2 * round(AROUND * fps) + 1)
    alike[np.ix_(near, [FAMILIES.index(name) for name in SILENT])] = 0
    best = alike.argmax(1)
    strength = np.where(alike.max(1) >= ALIKE, level[np.arange(len(best)), best], 0.0)
    found = []
    for number in np.unique(best):
        curve = np.where(best == number, strength, 0.0)
        name = FAMILIES[number]
        for rise in events.rises(curve, fps, high=LEAST.get(name, NEUTRAL), low=NEUTRAL / 2, shortest=SHORTEST):
            found.append(Event(
                "family", name, rise.onset / fps, rise.apex / fps, rise.offset / fps, min(1.0, rise.height),
                _side(weights[rise.apex], name),
            ))
    return sorted(found, key=lambda event: event.onset)


def match(
    shown: Float[np.ndarray, "frames features"],
) -> tuple[Float[np.ndarray, "frames families"], Float[np.ndarray, "frames families"]]:
    """Per family of `FAMILIES` the cosine to its nearest prototype and the projection on it (1 = full intensity)."""
    table = _table()
    salient = shown * table.salience
    dots = salient @ table.rows.T
    sizes = np.linalg.norm(table.rows, axis=1)
    cosine = dots / (np.linalg.norm(salient, axis=1, keepdims=True) * sizes + 1e-9)
    along = dots / sizes**2
    alike, level = np.zeros((2, len(shown), len(FAMILIES)))
    for number in np.unique(table.family):
        of = np.flatnonzero(table.family == number)
        nearest = of[cosine[:, of].argmax(1)]
        rows = np.arange(len(shown))
        alike[:, number], level[:, number] = cosine[rows, nearest], along[rows, nearest]
    return alike, level


def strongest(found: list[Event]) -> Event | None:
    """The event that a person would name."""
    return max(found, key=lambda event: event.intensity, default=None)


def _side(weights: Float[np.ndarray, " arkit"], family: str) -> Side:
    """The side on which a family's shapes are stronger."""
    sums = np.zeros(2)
    for mixture in PROTOTYPES[family]:
        for name, share in mixture.items():
            name = name.removeprefix("one:")
            columns = PAIRS.get(name) or tuple(ARKIT.index(full) for full in _DIRECTIONS.get(name, ()))
            if columns:
                sums += share * weights[list(columns)]
    return side_of(*map(float, sums))

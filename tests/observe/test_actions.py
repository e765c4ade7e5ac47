"""Families on made faces: every prototype is its own family, and what faces do besides is none."""

import numpy as np
import pytest

from tdmm_lm.motion.face import ARKIT
from tdmm_lm.observe import FAMILIES, actions

FPS = 25.0
SILENCE = np.zeros(100, bool)


def target(mixture: dict[str, float], side: str = "Left") -> np.ndarray:
    """(52,) ARKit weights of a prototype; one-sided parts on ``side``."""
    weights = np.zeros(len(ARKIT))
    for name, weight in mixture.items():
        one, name = name.startswith("one:"), name.removeprefix("one:")
        name = {"jawSide": "jaw", "mouthSide": "mouth"}.get(name, name)
        sides = [""] if name in ARKIT else [side] if one or name in ("jaw", "mouth") else ["Left", "Right"]
        for end in sides:
            weights[ARKIT.index(name + end)] += weight
    return weights


def envelope(onset: float = 0.8, attack: float = 0.4, hold: float = 1.2, release: float = 0.5) -> np.ndarray:
    t = np.arange(100) / FPS
    return np.clip(np.minimum((t - onset) / attack, (onset + attack + hold + release - t) / release), 0, 1)


def performed(weights: np.ndarray, intensity: float, seed: int = 0, **timing: float) -> np.ndarray:
    """(frames, 52): rise, hold, release on a face that idles, with 10 % of a person's own mixture."""
    rng = np.random.default_rng(seed)
    own = weights * rng.uniform(0.9, 1.1, len(ARKIT))
    idle = rng.uniform(0, 0.02, len(ARKIT)) + rng.normal(0, 0.005, (100, len(ARKIT)))
    return np.clip(idle + intensity * envelope(**timing)[:, None] * own, 0, 1)


CASES = [(name, number) for name, mixtures in actions.PROTOTYPES.items() for number in range(len(mixtures))]


def test_every_family_but_neutral_has_a_prototype_with_known_shapes():
    assert set(actions.PROTOTYPES) == set(FAMILIES) - {"neutral"}
    for mixtures in actions.PROTOTYPES.values():
        for mixture in mixtures:
            assert set(mixture) <= set(actions.FEATURES)


@pytest.mark.parametrize(("family", "number"), CASES)
@pytest.mark.parametrize("intensity", [0.3, 0.6, 1.0])
def test_prototypes_are_found_at_every_intensity(family, number, intensity):
    if intensity < actions.LEAST.get(family, 0):
        pytest.skip("a half-shut eye is no wink")
    for seed in range(3):
        weights = performed(target(actions.PROTOTYPES[family][number]), intensity, seed)
        event = actions.strongest(actions.find(weights, FPS, SILENCE))
        assert event is not None
        assert event.name == family
        assert event.intensity == pytest.approx(intensity, abs=0.12)
        assert event.onset == pytest.approx(0.85, abs=0.15)
        assert event.apex == pytest.approx(1.2, abs=0.15)
        assert event.offset == pytest.approx(2.75, abs=0.2)


@pytest.mark.parametrize("side", ["Left", "Right"])
@pytest.mark.parametrize("family", ["contempt", "wink", "jaw_side"])
def test_the_side_is_named(family, side):
    weights = performed(target(actions.PROTOTYPES[family][0], side), 0.9)
    event = actions.strongest(actions.find(weights, FPS, SILENCE))
    assert (event.name, event.side) == (family, side.lower())


def test_an_uneven_smile_is_a_smile():
    weights = target({"mouthSmile": 0.9, "cheekSquint": 0.4})
    weights[ARKIT.index("mouthSmileLeft")] *= 0.85
    event = actions.strongest(actions.find(performed(weights, 0.8), FPS, SILENCE))
    assert (event.name, event.side) == ("joy", "both")


def test_a_face_at_rest_is_neutral():
    assert actions.find(performed(np.zeros(len(ARKIT)), 0), FPS, SILENCE) == []
    narrow = np.zeros((100, len(ARKIT)))  # eyes that are narrow by nature and a tracker that wavers
    for name in ("eyeSquintLeft", "eyeSquintRight"):
        narrow[:, ARKIT.index(name)] = 0.5 + 0.15 * np.sin(np.arange(100) / 8)
    assert actions.strongest(actions.find(narrow, FPS, SILENCE)) is None


def test_a_smile_through_the_whole_clip_is_seen():
    weights = np.repeat(target({"mouthSmile": 0.9, "cheekSquint": 0.4})[None] * 0.7, 100, 0)
    assert actions.strongest(actions.find(weights, FPS, SILENCE)).name == "joy"


def test_speech_and_blinks_are_no_expression():
    t = np.arange(100) / FPS
    weights = np.zeros((100, len(ARKIT)))
    weights[:, ARKIT.index("jawOpen")] = 0.1 + 0.3 * np.sin(np.pi * 4 * t) ** 2
    weights[:, ARKIT.index("mouthPucker")] = 0.4 * np.sin(np.pi * 1.7 * t) ** 8
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        weights[:, ARKIT.index(name)] = np.clip(1 - np.abs(t - 2) / 0.12, 0, 1)
    assert actions.strongest(actions.find(weights, FPS, ~SILENCE)) is None


def test_a_smile_while_speaking_is_a_smile():
    t = np.arange(100) / FPS
    weights = performed(target({"mouthSmile": 0.9, "cheekSquint": 0.4}), 0.7)
    weights[:, ARKIT.index("jawOpen")] += 0.1 + 0.3 * np.sin(np.pi * 4 * t) ** 2
    assert actions.strongest(actions.find(weights, FPS, ~SILENCE)).name == "joy"


def test_two_expressions_one_after_the_other():
    smile = performed(target({"mouthSmile": 0.9, "cheekSquint": 0.4}), 0.5, onset=0.2, hold=0.6)
    anger = performed(target({"browDown": 1.0, "eyeSquint": 0.5}), 0.9, onset=2.0, hold=0.8)
    found = actions.find(np.maximum(smile, anger), FPS, SILENCE)
    assert [event.name for event in found] == ["joy", "anger"]
    assert actions.strongest(found).name == "anger"


def test_a_twitch_is_nothing():
    weights = performed(target({"mouthSmile": 0.9, "cheekSquint": 0.4}), 0.9, attack=0.08, hold=0.08, release=0.08)
    assert actions.find(weights, FPS, SILENCE) == []

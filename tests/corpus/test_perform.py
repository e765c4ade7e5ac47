"""What a score asks for is in the motion: when, how far, how often, on which side; and nothing else."""

import itertools

import numpy as np
import pytest
import torch
from scipy.signal import find_peaks

from tdmm_lm import bundle, config, rotations
from tdmm_lm.corpus import labels, prompts
from tdmm_lm.corpus.lexicon import lexicon
from tdmm_lm.corpus.perform import perform
from tdmm_lm.corpus.score import Expression, Glance, HeadMove, Score
from tdmm_lm.motion import face
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.observe import FAMILIES


def column(score: Score, name: str) -> np.ndarray:
    return face.part(perform(score), "expression")[:, ARKIT.index(name)]


def degrees(score: Score) -> np.ndarray:
    """(frames, 3): yaw, pitch, roll."""
    turn = rotations.axis_angle_to_matrix(torch.from_numpy(face.part(perform(score), "head").astype(np.float64)))
    return np.degrees(rotations.matrix_to_euler_yxz(turn).numpy())


def test_frames_and_repeatability():
    score = Score(seconds=4, expressions=(Expression(word="smile"),), seed=3)
    clip = perform(score)
    assert clip.frames == 100
    assert clip.rig == "head"
    assert clip.fps == 25
    assert np.array_equal(clip.values, perform(score).values)
    assert not np.array_equal(clip.values, perform(score.model_copy(update={"seed": 4})).values)
    assert perform(Score(seconds=3.02, fps=60)).frames == 181


def test_weights_stay_in_range_and_joints_at_rest():
    for seed in range(60):
        clip = perform(prompts.sample(seed))
        shapes = face.part(clip, "expression")
        assert shapes.min() >= 0
        assert shapes.max() <= 1
        for still in ("jaw", "neck", "eyes", "translation"):
            assert not face.part(clip, still).any()


def test_smile_rises_holds_and_falls_when_it_should():
    smile = Expression(word="smile", intensity=0.9, onset=1.0, attack=0.4, hold=1.2, release=0.4)
    curve = column(Score(seconds=4, expressions=(smile,)), "mouthSmileLeft")
    assert curve[:25].max() < 0.06
    assert curve[36:65].min() > 0.5
    assert curve[77:].max() < 0.06


def test_intensity_scales_and_a_frown_pulls_the_other_way():
    def peak(word: str, intensity: float, name: str) -> float:
        return float(column(Score(expressions=(Expression(word=word, intensity=intensity),)), name).max())

    assert peak("smile", 0.9, "mouthSmileLeft") > 2 * peak("smile", 0.4, "mouthSmileLeft")
    assert peak("frown", 0.9, "mouthFrownLeft") > 0.7 > 0.1 > peak("frown", 0.9, "mouthSmileLeft")


def test_a_person_mixes_shapes_differently_with_the_same_intensity():
    def apex(seed: int) -> np.ndarray:
        clip = perform(Score(expressions=(Expression(word="astonished", intensity=0.8),), seed=seed))
        return face.part(clip, "expression")[35]

    people = np.stack([apex(seed) for seed in range(12)])
    moved = people[:, people.mean(0) > 0.3]
    assert (moved.std(0) > 0.02).all()
    assert moved.sum(1).std() / moved.sum(1).mean() < 0.06


@pytest.mark.parametrize(("gesture", "count"), [("nod", 1), ("nod", 2), ("nod", 4), ("shake", 1), ("shake", 3)])
def test_repeated_gestures_have_their_count(gesture, count):
    axis, other = (1, 0) if gesture == "nod" else (0, 1)
    for seed in range(5):
        angles = degrees(Score(head=(HeadMove(gesture=gesture, count=count, onset=0.5, degrees=14),), seed=seed))
        moved = angles - np.median(angles, 0)
        assert len(find_peaks(moved[:, axis], prominence=5)[0]) == count
        assert np.abs(moved[:, other]).max() < 3


@pytest.mark.parametrize(
    ("gesture", "axis", "sign"),
    [
        ("turn_left", 0, 1),
        ("turn_right", 0, -1),
        ("look_down", 1, 1),
        ("look_up", 1, -1),
        ("tilt_right", 2, 1),
        ("tilt_left", 2, -1),
    ],
)
def test_held_gestures_go_their_way_and_stay(gesture, axis, sign):
    angles = degrees(Score(head=(HeadMove(gesture=gesture, onset=0.5, seconds=2.0, degrees=18),)))
    moved = sign * (angles - angles[:10].mean(0))
    assert (moved[25:50, axis] > 14).all()
    assert np.abs(moved[70:, axis]).max() < 3


def test_blinks_shut_both_eyes_for_a_moment():
    shut = np.minimum(*(column(Score(blinks=(1.0, 2.2)), f"eyeBlink{side}") for side in ("Left", "Right")))
    peaks = find_peaks(shut, height=0.85)[0]
    assert [round(float(p) / 25, 1) for p in peaks] == [1.0, 2.2]
    assert 4 <= (shut > 0.1).sum() / 2 <= 9  # frames each


def test_gaze_moves_the_shapes_of_its_side():
    score = Score(gaze=(Glance(direction="left", onset=1.0, seconds=1.0, amount=0.8),))
    for name, expected in (("eyeLookOutLeft", 0.7), ("eyeLookInRight", 0.7)):
        assert column(score, name)[30:45].min() > expected
    assert column(score, "eyeLookInLeft")[30:45].max() < 0.04


def test_speech_moves_the_mouth_only_where_it_is():
    jaw = column(Score(seconds=4, speech=((2.0, 3.5),)), "jawOpen")
    assert jaw[:44].max() < 0.06
    assert jaw[95:].max() < 0.06
    assert len(find_peaks(jaw[45:90], prominence=0.05)[0]) >= 3


def test_score_reads_from_yaml_and_says_what_is_wrong():
    score = config.check(
        Score, {"expressions": [{"word": "smile"}], "head": [{"gesture": "nod", "count": 2}]}, "score.yaml"
    )
    assert labels.of_score(score).gesture == "nod"
    for wrong, message in (
        ({"expressions": [{"word": "smyle"}]}, "expected one of .* got 'smyle'; nearest: smile"),
        ({"expressions": [{"word": "smile", "begin": 0}]}, "expressions.0.begin: unknown key; known: word, intensity"),
        ({"blinks": [1.0, 1.1]}, r"blinks: expected at least 0\.45 s between two, got 1\.0 and 1\.1"),
        ({"head": [{"gesture": "turn_left", "count": 2}]}, "expected a count of 1 for turn_left"),
        ({"speech": [[1.0, 9.0]]}, r"speech: expected spans in order and inside the clip, got 1\.0 to 9\.0"),
        ({"gaze": [{"direction": "left", "onset": 7}]}, "gaze: expected a time before the end"),
        ({"mood": "good"}, "mood: unknown key; known: seconds"),
    ):
        with pytest.raises(ValueError, match=message):
            config.check(Score, wrong, "score.yaml")


@pytest.mark.parametrize("path", sorted(bundle.path("recipes/samples").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sample_is_performed(path):
    score = config.load(Score, path)
    if score.says:
        pytest.importorskip("espeakng_loader")
    assert perform(score).frames == round(score.seconds * 25)
    assert all(saying.offset < score.seconds for saying in score.says)
    assert path.read_text().startswith("# ")


def test_samples_are_balanced_exact_and_their_splits_apart():
    scores = [prompts.sample(seed) for seed in range(1500)]
    known = [labels.of_score(score) for score in scores]
    families, gestures = [one.family for one in known], [one.gesture for one in known]
    assert min(families.count(family) for family in set(families)) > 15
    assert set(families) == set(FAMILIES)
    assert min(gestures.count(gesture) for gesture in set(gestures)) > 60
    assert len(set(gestures)) == 9
    assert {word for score in scores for word in (e.word for e in score.expressions)} == set(lexicon().words)
    assert scores[7] == prompts.sample(7) != prompts.sample(7, split="test")
    for one in known:
        strengths = [shown.intensity for shown in one.shown]
        assert all(abs(a - b) >= 0.15 for a, b in itertools.combinations(strengths, 2))
        assert one.family == (max(one.shown, key=lambda s: s.intensity).family if one.shown else "neutral")


def test_labels_of_a_score():
    score = Score(
        expressions=(
            Expression(word="grin", intensity=0.4, onset=0.2, attack=0.3, hold=1, release=0.4),
            Expression(word="sad", intensity=0.9, onset=1.8),
        ),
        head=(
            HeadMove(gesture="nod", count=3, onset=1.0, seconds=1.5),
            HeadMove(gesture="turn_left", onset=2.6, seconds=1.4),
        ),
        blinks=(1.0, 3.0),
        speech=((0.0, 1.0), (2.0, 3.0)),
    )
    known = labels.of_score(score)
    assert known.families == ("joy", "sadness")
    assert known.family == "sadness"
    assert known.level == "strong"
    assert (known.gesture, known.count, known.nods) == ("nod", 3, 3)
    assert [m.name for m in known.gestures] == ["nod", "turn_left"]
    assert known.blinks == 2
    assert known.speech_share == 0.5
    assert known.gaze == "front"
    assert (known.shown[0].onset, known.shown[0].apex, known.shown[0].offset) == pytest.approx((0.2, 0.5, 2.2))

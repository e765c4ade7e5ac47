"""Eyes, lids and heads as people move them: saccades, a gaze that stays, eyes ahead of heads, leans, blinks."""

import numpy as np
import pytest
import torch

from tdmm_lm import rigs, rotations
from tdmm_lm.corpus import prompts
from tdmm_lm.corpus.perform import perform
from tdmm_lm.corpus.performer import eyes, heads
from tdmm_lm.corpus.performer.timeline import timeline
from tdmm_lm.corpus.score import Expression, Glance, HeadMove, Micro, Score
from tdmm_lm.geometry.measure import measure
from tdmm_lm.motion import face
from tdmm_lm.motion.face import ARKIT

FPS = 100.0


def look(score: Score) -> tuple[np.ndarray, heads.HeadMotion]:
    """Gaze in the head and the head itself, without lids and lips."""
    t, still = np.arange(score.frames) / score.fps, np.zeros(score.frames)
    head = heads.move(score, t, np.random.default_rng([score.seed, 3]), speaking=still, stress=still)
    return eyes.look(score, t, np.random.default_rng([score.seed, 2]), head), head


@pytest.mark.parametrize("amount", [0.3, 0.9])
def test_a_saccade_lasts_as_its_size_says(amount):
    glance = Glance(direction="left", onset=1, seconds=1.5, amount=amount)
    t, degrees = np.arange(3000) / 1000, 30 * amount
    left = eyes._glance(glance, t, np.random.default_rng(0))[:, 0]
    peak = left[900:1100].max()
    moving = np.flatnonzero((left[900:1100] > 0.01 * peak) & (left[900:1100] < 0.99 * peak))
    assert len(moving) / 1000 == pytest.approx(eyes.lasts(degrees), rel=0.25)
    assert peak == pytest.approx(degrees if degrees < eyes.LARGE else eyes.SHORT * degrees, rel=0.02)
    assert left[1500] == pytest.approx(degrees)  # corrected


def test_a_pursuit_is_on_its_way_all_the_time():
    glances = (Glance(direction="up", onset=1, seconds=2, kind=kind) for kind in ("saccade", "pursuit"))
    jumps, smooth = (eyes._glance(one, np.arange(300) / 100, np.random.default_rng(0)) for one in glances)
    assert np.abs(np.diff(smooth[:280, 1])).max() < 0.4  # 40 degrees a second
    assert np.abs(np.diff(jumps[:280, 1])).max() > 3
    assert smooth[290, 1] == pytest.approx(21, abs=2)


def test_idle_eyes_rest_and_leap():
    score = Score(seconds=20, fps=FPS, seed=4)
    gaze, _ = look(score)
    speed = np.linalg.norm(np.diff(gaze, axis=0), axis=1) * FPS
    leaps = np.flatnonzero((speed[1:] > 12) & (speed[:-1] <= 12))
    assert 10 < len(leaps) < 45  # about one in 0.8 s
    assert np.median(speed) < 2
    assert np.abs(gaze).max() < 3.5


@pytest.mark.parametrize(("gesture", "axis", "degrees"), [("nod", 1, 5.5), ("shake", 0, 8.0)])
def test_gaze_stays_on_its_target_while_the_head_moves(gesture, axis, degrees):
    """On the rig itself: head and eyes together turn less than half as much as the head."""
    score = Score(seconds=3, head=(HeadMove(gesture=gesture, count=2, onset=0.8, degrees=degrees),), seed=2)
    clip = perform(score)
    gaze = np.degrees(measure(clip, rigs.load("head")).gaze.mean(1))
    turn = rotations.axis_angle_to_matrix(torch.from_numpy(face.part(clip, "head").astype(np.float64)))
    head = np.degrees(rotations.matrix_to_euler_yxz(turn).numpy())[:, :2]
    moving = slice(20, 20 + round(25 * score.head[0].lasts))
    in_head, in_world = head[moving, axis].std(), (head + gaze)[moving, axis].std()
    assert in_head > 1.5
    assert in_world < 0.5 * in_head
    assert np.corrcoef(head[moving, axis], gaze[moving, axis])[0, 1] < -0.8


@pytest.mark.parametrize(("gesture", "axis", "sign"), [("turn_left", 0, 1), ("turn_right", 0, -1), ("look_up", 1, 1)])
def test_eyes_are_ahead_of_a_turning_head(gesture, axis, sign):
    gaze, head = look(Score(seconds=4, fps=FPS, head=(HeadMove(gesture=gesture, onset=1, seconds=2, degrees=18),)))
    before, held = sign * gaze[105, axis], sign * gaze[180:240, axis]
    assert before > 3  # 50 ms after the head begins to move
    assert np.abs(head.poses[105]).max() < 2
    assert np.abs(held).max() < 3  # arrived: straight in the head again


@pytest.mark.parametrize(("gesture", "sign"), [("lean_forward", 1), ("lean_back", -1)])
def test_leans_move_the_head_through_space(gesture, sign):
    clip = perform(Score(seconds=4, head=(HeadMove(gesture=gesture, onset=0.5, seconds=3, degrees=10),)))
    places = face.part(clip, "translation")
    assert sign * places[50, 2] == pytest.approx(heads.SPINE_METRES * np.sin(np.radians(10)), rel=0.01)
    assert np.abs(places[[0, -1]]).max() < 0.005
    assert np.abs(np.diff(places[:, 2])).max() < 0.02
    assert "lean" not in {move.gesture for seed in range(200) for move in prompts.sample(seed).head}
    with pytest.raises(ValueError, match=f"head: expected a count of 1 for {gesture}"):
        HeadMove(gesture=gesture, count=2)


def test_blinks_renew_and_follow_the_gaze():
    rng = np.random.default_rng(0)
    made = [prompts.blinks(rng, 6.0) for _ in range(600)]
    between = np.concatenate([np.diff(moments) for moments in made])
    assert between.min() >= 0.54
    assert 0.25 < np.mean([len(moments) for moments in made]) / 6 < 0.4  # one in 2.5 to 4 s
    first = [moments[0] for moments in made if moments]
    assert np.histogram(first, 3, (0.2, 5.7))[0].min() > 40  # at any time of the clip
    at = np.mean([any(abs(m - 3.0) < 0.1 for m in prompts.blinks(rng, 6.0, shifts=(3.0,))) for _ in range(300)])
    usual = np.mean([any(abs(m - 3.0) < 0.1 for m in moments) for moments in made])
    assert at > 0.3 > 2 * usual
    assert not any(1.8 < m < 4.2 for _ in range(50) for m in prompts.blinks(rng, 6.0, ((2.0, 4.0),), shifts=(3.0,)))


def test_a_micro_expression_flashes_and_is_labelled():
    flash = Micro(word="frown", intensity=0.5, onset=2.0)
    score = Score(seconds=4, micro=(flash,), seed=1)
    shape = face.part(perform(score), "expression")[:, ARKIT.index("mouthFrownLeft")]
    assert shape[51:54].max() > 0.3
    assert max(shape[:50].max(), shape[58:].max()) < 0.06
    assert (shape > 0.1).sum() <= 7
    frames = timeline(score)
    assert frames.micro.shape == (100, 1)
    assert list(np.flatnonzero(frames.micro[:, 0])) == list(range(51, 57))
    with pytest.raises(ValueError, match="hold"):
        Micro(word="frown", hold=0.3)
    with pytest.raises(ValueError, match="micro: expected a time before the end"):
        Score(seconds=1, micro=(flash,))


def test_a_micro_expression_changes_nothing_else():
    before = Score(expressions=(Expression(word="smile"),), seed=6)
    after = before.model_copy(update={"micro": (Micro(word="raise_brows", onset=3.2),)})
    brows = [i for i, name in enumerate(ARKIT) if name.startswith(("brow", "eye"))]
    same = np.delete(np.arange(70), brows)
    assert np.array_equal(perform(before).values[:, same], perform(after).values[:, same])


def test_one_expression_goes_over_into_the_next():
    first = Expression(word="smile", intensity=0.8, onset=0.3, attack=0.3, hold=1.0, release=0.4)
    second = Expression(word="frown", intensity=0.8, onset=1.9, attack=0.5, hold=1.0, release=0.4)
    score = Score(seconds=4, expressions=(first, second))
    shown = timeline(score).shown
    assert shown[20:85].sum(1).min() > 0.99  # never through a face at rest
    assert shown[60, 0] < 0.01
    apart = second.model_copy(update={"onset": 2.4})
    assert timeline(Score(seconds=4, expressions=(first, apart))).shown[55:58].sum(1).min() < 0.05
    while_it_lasts = second.model_copy(update={"onset": 0.8, "hold": 0.2})
    both = timeline(Score(seconds=4, expressions=(first, while_it_lasts))).shown
    assert both[31:38].min() > 0.9  # two actions at once stay two actions


def test_frames_are_labelled_as_the_score_says():
    score = Score(
        seconds=4, head=(HeadMove(gesture="nod", onset=1.0, count=2),), blinks=(3.0,),
        gaze=(Glance(direction="up", onset=2.0, seconds=0.5),), speech=((0.2, 0.8),),
    )
    frames = timeline(score)
    assert set(np.flatnonzero(frames.gesture == 0)) == set(range(25, 55))
    assert list(np.flatnonzero(frames.glance == 0)) == list(range(50, 63))
    assert frames.blinking[75]
    assert 7 <= frames.blinking.sum() <= 9
    assert list(np.flatnonzero(frames.speaking)) == list(range(5, 20))
    assert frames.shown.shape == (100, 0)

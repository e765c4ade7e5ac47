"""Spoken sentences move the mouth as they sound: lips meet on p, b and m, rest in pauses, and keep an expression."""

from functools import lru_cache

import numpy as np
import pytest

from tdmm_lm import rigs, video
from tdmm_lm.corpus import edits, prompts
from tdmm_lm.corpus.perform import perform, sound, speech_of
from tdmm_lm.corpus.performer import sentences, talk
from tdmm_lm.corpus.performer.timeline import timeline
from tdmm_lm.corpus.performer.visemes import Visemes, move
from tdmm_lm.corpus.score import Expression, Saying, Score
from tdmm_lm.geometry.measure import measure
from tdmm_lm.motion import face
from tdmm_lm.motion.face import ARKIT
from tdmm_lm.observe import run, signals

pytest.importorskip("espeakng_loader")

APART_MM = 1.5  # lips nearer than that touch, as far as one sees
NEAR = 0.04  # seconds: a frame


@lru_cache(maxsize=1)
def head() -> rigs.Rig:
    return rigs.load("head")


def gap_mm(score: Score) -> np.ndarray:
    """Between the inner lips, more than at rest."""
    rig = head()
    return signals.mouth(measure(perform(score), rig).displacement)[:, 0] * rig.interocular * 1000


def spoken(count: int, **more) -> list[Score]:
    """Sentences with p, b or m in them, in turn by every voice."""
    known = sentences.sentences()
    texts = [text for text in known.sentences if any(letter in text.lower() for letter in "pbm")][::4]
    scores = []
    for i in range(count):
        saying = Saying(text=texts[i], voice=known.voices[i % len(known.voices)], onset=0.4)
        scores.append(Score(seconds=round(saying.offset + 0.7, 2), says=(saying,), seed=i, **more))
    return scores


def closed(score: Score, names: tuple[str, ...] = ("p", "b", "m")) -> list[bool]:
    """For each of these sounds: whether the lips touch within a frame of its beginning."""
    gap, t = gap_mm(score), np.arange(score.frames) / score.fps
    sounds = [p for p in speech_of(score).phonemes if p.name in names]
    return [bool(gap[np.abs(t - p.start) <= NEAR + 1e-9].min() < APART_MM) for p in sounds]


def test_lips_meet_on_p_b_and_m():
    found = [done for score in spoken(24) for done in closed(score)]
    assert len(found) > 40
    assert np.mean(found) >= 0.95


@pytest.mark.parametrize("word", ["laugh", "astonished", "furious", "smile"])
def test_lips_meet_whatever_the_face_shows(word):
    shown = (Expression(word=word, intensity=0.95, onset=0, hold=9),)
    assert np.mean([done for score in spoken(4, expressions=shown) for done in closed(score)]) >= 0.95


def test_the_mouth_opens_between_contacts():
    for score in spoken(4):
        gap, t = gap_mm(score), np.arange(score.frames) / score.fps
        vowels = [p for p in speech_of(score).phonemes if p.name[:1] in "aAeEO0" and p.name and p.stop - p.start > 0.1]
        opened = [gap[(t >= p.start) & (t <= p.stop)].max() for p in vowels]
        assert np.mean(opened) > 4


def test_a_silent_mouth_is_at_rest():
    saying = Saying(text="Bob is here. Come in.", onset=1.0)
    score = Score(seconds=4.5, says=(saying,), seed=3)
    gap, t = gap_mm(score), np.arange(score.frames) / score.fps
    pause = max((p for p in speech_of(score).phonemes if not p.name), key=lambda p: p.stop - p.start)
    assert pause.stop - pause.start > 0.25
    middle = (t > pause.start + 0.12) & (t < pause.stop - 0.12)
    away = (t < 0.7) | (t > saying.offset + 0.3)
    assert middle.any()
    assert np.abs(gap[away]).max() < 0.5
    assert np.abs(np.diff(gap[away & (t < 0.7)])).max() < 0.1
    assert gap[middle].min() < 1


def test_lower_lip_on_the_teeth():
    score = Score(seconds=2.5, says=(Saying(text="Five of us have food.", onset=0.3),))
    shapes, t = face.part(perform(score), "expression"), np.arange(score.frames) / score.fps
    rolled = shapes[:, ARKIT.index("mouthRollLower")]
    inside = np.any([(t > p.start) & (t < p.stop) for p in speech_of(score).phonemes if p.name in ("f", "v")], 0)
    assert rolled[inside].mean() > 0.15 > 4 * rolled[~inside].mean() / 2


def test_rounding_begins_before_its_sound():
    score = Score(seconds=2, fps=100, says=(Saying(text="See two.", onset=0.3),))
    pucker = face.part(perform(score), "expression")[:, ARKIT.index("mouthPucker")]
    said = speech_of(score).phonemes
    two = next(p for p in said if p.name in ("u:", "u"))
    begins = np.argmax(pucker > 0.3 * pucker.max()) / 100
    assert begins < two.start - 0.02


def test_louder_is_wider():
    said = Saying(text="Father.").spoken.phonemes
    quiet, loud = (move(said, np.full(len(said), loudness), np.arange(40) / 25) for loudness in (0.7, 1.2))
    jaw = ARKIT.index("jawOpen")
    assert loud.weights[:, jaw].max() > 1.5 * quiet.weights[:, jaw].max()
    assert np.array_equal(loud.lips, quiet.lips)


def test_a_smiling_person_speaks_smiling():
    smile = Expression(word="smile", intensity=0.8, onset=0.1, hold=9)
    for score in spoken(2, expressions=(smile,)):
        shape = face.part(perform(score), "expression")[:, ARKIT.index("mouthSmileLeft")]
        assert shape[20:].min() > 0.35
        assert run.run(perform(score), head()).family == "joy"


def test_what_is_said_is_observed_as_speech():
    shares = [sum(stop - start for start, stop in score.spoken) / score.seconds for score in spoken(8)]
    seen = [run.run(perform(score), head()).speech_share for score in spoken(8)]
    assert np.mean(np.abs(np.array(seen) - shares)) < 0.12


def test_sound_lasts_as_long_as_the_clip():
    score = Score(seconds=3, says=(Saying(text="Maybe tomorrow.", onset=0.5),))
    wave = sound(score)
    assert wave is not None
    assert (wave.shape, wave.dtype) == ((48000,), np.float32)
    assert not wave[:8000].any()
    assert np.abs(wave[8000:24000]).max() > 0.1
    assert sound(Score(seconds=3, speech=((0.5, 2.0),))) is None
    cut = sound(Score(seconds=1, says=(Saying(text="Maybe tomorrow, maybe not.", onset=0.5),)))
    assert cut is not None
    assert len(cut) == 16000


def test_spans_words_and_frames_agree():
    score = Score(seconds=5, speech=((3.5, 4.5),), says=(Saying(text="Maybe tomorrow.", onset=0.5),))
    (start, stop), babble = score.spoken
    assert (start, babble) == (0.5, (3.5, 4.5))
    assert 1.0 < stop < 1.8
    heard = speech_of(score)
    assert [w.text for w in heard.words] == ["Maybe", "tomorrow"]
    frames = timeline(score)
    assert frames.speaking.sum() == pytest.approx(25 * (stop - start + 1), abs=2)
    assert frames.phoneme[13] == "m"
    assert set(frames.phoneme[50:]) == {""}
    merged = Score(speech=((0.0, 1.0), (1.0, 2.0)))
    assert merged.spoken == ((0.0, 2.0),)


def test_one_thing_is_said_at_a_time():
    both = Score(says=(Saying(text="Maybe tomorrow."), Saying(text="Yes.", onset=0.6)))
    for ask in (perform, sound, speech_of):
        with pytest.raises(ValueError, match=r"says: expected one thing said at a time, got one at 0\.6 s, before"):
            ask(both)
    with pytest.raises(ValueError, match="says: expected one thing said at a time"):
        perform(Score(speech=((0.5, 2.0),), says=(Saying(text="Yes."),)))


def test_words_change_no_other_part():
    before = Score(expressions=(Expression(word="raise_brows"),), seed=5)
    after = before.model_copy(update={"says": (Saying(text="Maybe tomorrow."),)})
    brow, nose = ARKIT.index("browDownLeft"), ARKIT.index("noseSneerLeft")
    one, other = (face.part(perform(score), "expression") for score in (before, after))
    assert np.array_equal(one[:, [brow, nose]], other[:, [brow, nose]])
    assert not np.array_equal(one[:, ARKIT.index("jawOpen")], other[:, ARKIT.index("jawOpen")])
    assert np.array_equal(perform(after).values, perform(after).values)


def test_a_share_of_the_scores_says_a_sentence():
    silent, spoken_ = ([prompts.sample(seed, spoken=share) for seed in range(120)] for share in (0.0, 0.5))
    assert not any(score.says for score in silent)
    talking = [i for i, score in enumerate(silent) if score.speech]
    saying = [i for i, score in enumerate(spoken_) if score.says]
    assert set(saying) <= set(talking)
    assert 0.25 < len(saying) / len(talking) < 0.75
    for i in range(120):
        assert spoken_[i].model_copy(update={"says": (), "speech": silent[i].speech}) == silent[i]
    for i in saying[:6]:
        assert spoken_[i].says[0].offset <= spoken_[i].seconds
        after = edits.edit(spoken_[i], np.random.default_rng(i))[1]
        assert after.says == spoken_[i].says


def test_visemes_say_what_is_wrong():
    with pytest.raises(ValueError, match="targets: expected ARKit shapes with weights from 0 to 1, got jawOpn"):
        Visemes(visemes={"rest": {"targets": {"jawOpn": 0.1}}}, phonemes={})
    with pytest.raises(ValueError, match=r"phonemes\.p: expected one of rest, got {'lips'}"):
        Visemes(visemes={"rest": {}}, phonemes={"p": ("lips",)})


def test_animate_writes_the_sound(tmp_path):
    from tdmm_lm import verbs

    (tmp_path / "score.yaml").write_text('seconds: 1.5\nsays: [{text: "Maybe tomorrow.", onset: 0.2}]\n')
    (tmp_path / "silent.yaml").write_text("seconds: 0.4\n")
    outputs = [tmp_path / "out.mp4", tmp_path / "out.npz"]
    assert verbs.animate(str(tmp_path / "score.yaml"), outputs) == 38
    for path in (tmp_path / "out.mp4", tmp_path / "out.wav"):
        wave = video.audio(path)
        assert len(wave) == pytest.approx(1.5 * video.AUDIO_RATE, abs=1100)
        assert np.abs(wave).max() > 0.1
    verbs.animate(str(tmp_path / "silent.yaml"), [tmp_path / "silent.npz"])
    assert not (tmp_path / "silent.wav").exists()


def test_contact_leaves_silent_faces_alone():
    shapes = np.random.default_rng(0).uniform(0, 1, (5, len(ARKIT)))
    still = talk.Mouth(np.zeros_like(shapes), np.zeros(5), np.zeros(5))
    assert np.allclose(talk.contact(shapes, still), shapes)

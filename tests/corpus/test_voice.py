"""A spoken sentence is the same bytes every time, has its sounds and words in order, and says clearly what it lacks."""

import hashlib
import itertools
import time

import numpy as np
import pytest

from tdmm_lm import video
from tdmm_lm.corpus.performer import sentences, visemes, voice

pytest.importorskip("espeakng_loader")

BOB = "My brother Bob made a big pot of soup, for five people."


def digest(said: voice.Speech) -> str:
    return hashlib.sha256(said.wave.tobytes() + repr((said.phonemes, said.words)).encode()).hexdigest()


@pytest.mark.parametrize("name", ["en-us", "en-us+f2"])
def test_the_same_bytes_whatever_was_spoken_before(name):
    first = digest(voice.speak(BOB, voice=name))
    for other in ("Quick foxes.", "Does he? Yes!"):
        time.sleep(1.1)  # a second further: a library that seeds itself by the clock is found out
        voice.speak(other, voice="en-us+f4", words_per_minute=220, pitch=80)
        voice.speak.cache_clear()
        assert digest(voice.speak(BOB, voice=name)) == first


def test_sounds_and_words_are_in_order_and_in_the_sound():
    said = voice.speak(BOB)
    assert said.wave.dtype == np.float32
    assert said.seconds == pytest.approx(len(said.wave) / video.AUDIO_RATE, abs=0.05)
    assert 2.5 < said.seconds < 5
    assert [word.text for word in said.words] == BOB.replace(",", "").replace(".", "").split()
    for spans in (said.phonemes, said.words):
        assert all(a.stop <= b.start + 1e-9 and a.start < a.stop for a, b in itertools.pairwise(spans))
    names = [phoneme.name for phoneme in said.phonemes]
    assert (names[0], names.count("b"), names.count("f")) == ("m", 4, 2)
    assert any(not p.name and p.stop - p.start > 0.1 for p in said.phonemes)  # the comma
    bob = next(word for word in said.words if word.text == "Bob")
    assert [p.name for p in said.phonemes if bob.start <= p.start < bob.stop][::2] == ["b", "b"]
    loud = np.abs(said.wave[round(bob.start * 16000) : round(bob.stop * 16000)]).max()
    comma = next(p for p in said.phonemes if not p.name)
    silence = said.wave[round((comma.start + 0.06) * 16000) : round((comma.stop - 0.02) * 16000)]
    assert np.abs(silence).max() < 0.02 * loud


def test_pace_pitch_and_voice_change_the_sound():
    usual = voice.speak(BOB)
    assert voice.speak(BOB, words_per_minute=240).seconds < 0.85 * usual.seconds
    assert digest(voice.speak(BOB, pitch=80)) != digest(usual) != digest(voice.speak(BOB, voice="en-us+f2"))


def test_a_number_is_one_word():
    assert [word.text for word in voice.speak("She is 42 years old.").words] == ["She", "is", "42", "years", "old"]


def test_what_is_wrong_is_said():
    for arguments, message in (
        ({"text": "..."}, r"speech: expected words to speak, got '\.\.\.'"),
        ({"text": "Hello.", "voice": "xx"}, "speech: espeak-ng as 'xx' refused 'Hello.': no such voice"),
        ({"text": "Hello.", "voice": "en+zz"}, r"speech: espeak-ng as 'en\+zz' refused 'Hello.': no such variant"),
        ({"text": "Hello.", "voice": "../etc"}, "voice: expected one of espeak-ng's like en-us"),
    ):
        with pytest.raises(ValueError, match=message):
            voice.speak(**arguments)


def test_without_espeak_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(voice.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(voice.ctypes.util, "find_library", lambda name: None)
    voice.library.cache_clear()
    with pytest.raises(ValueError, match=r"expected espeak-ng, found none; install it with: pip install 'tdmm-lm\[sp"):
        voice.library()
    monkeypatch.undo()
    voice.library.cache_clear()
    assert voice.library()[0].endswith(".so") or voice.library()[0]


def test_every_voice_and_a_share_of_the_sentences_have_visemes():
    known = sentences.sentences()
    assert len(known.sentences) >= 300
    assert len(set(known.sentences)) == len(known.sentences)
    assert sum(any(letter in text.lower() for letter in "pbm") for text in known.sentences) > 200
    for i, name in enumerate(known.voices):
        for text in known.sentences[i :: len(known.voices) * 4]:
            for phoneme in voice.speak(text, voice=name).phonemes:
                assert not phoneme.name or visemes.visemes().of(phoneme.name)
    with pytest.raises(ValueError, match=r"expected a sound of recipes/corpus/visemes\.yaml, got 'q'"):
        visemes.visemes().of("q")


def test_a_sentence_fits_its_clip():
    rng = np.random.default_rng(0)
    found = [sentences.fitting(rng, seconds) for seconds in (2.0, 3.0, 4.0, 6.0) for _ in range(4)]
    ends = [2.0] * 4 + [3.0] * 4 + [4.0] * 4 + [6.0] * 4
    made = [(one, end) for one, end in zip(found, ends) if one]
    assert len(made) >= 14
    assert all(one.onset >= 0.15 and one.offset <= end - 0.1 for one, end in made)
    assert len({one.text for one, _ in made}) > 10
    assert sentences.fitting(rng, 0.5) is None

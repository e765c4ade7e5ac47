"""Codes and tokens are inverse, and every broken motion is refused with its reason."""

import numpy as np
import pytest

from tdmm_lm.lm import vocab

KIND = {
    "books": 2, "codebook_size": 10, "code_fps": 25.0, "first_id": 102, "begin_id": 100, "end_id": 101,
    "codec": "codec_face", "codec_sha256": "ab" * 32,
}
GROWN = vocab.MotionVocab.model_validate({"modalities": {"face": KIND}})
CODES = np.array([[0, 9], [3, 4], [9, 0]])


def test_tokens_stand_book_by_book_and_come_back():
    tokens = vocab.ids(CODES, GROWN)
    assert tokens == [100, 102, 121, 105, 116, 111, 112, 101]
    np.testing.assert_array_equal(vocab.codes(tokens, GROWN), CODES)
    np.testing.assert_array_equal(vocab.codes(tokens[1:-1], GROWN), CODES)


def test_content_comes_back():
    content = f"Look: {vocab.text(CODES)} and {vocab.text(CODES[:1], 'body')}!"
    before, (first, codes), between, (second, body), after = vocab.split(content)
    assert (before, first, between, second, after) == ("Look: ", "face", " and ", "body", "!")
    np.testing.assert_array_equal(codes, CODES)
    np.testing.assert_array_equal(body, CODES[:1])
    assert vocab.text(CODES[:1]) == "<|face|><|face_0_000|><|face_1_009|><|/face|>"
    assert vocab.split("a < b | c > d") == ["a < b | c > d"]


def test_names_are_in_the_order_of_ids():
    names = vocab.names("face", 2, 10)
    assert names[:3] == ["<|face|>", "<|/face|>", "<|face_0_000|>"]
    assert names[2:].index("<|face_1_004|>") + KIND["first_id"] == vocab.ids(np.array([[0, 4]]), GROWN)[2]


@pytest.mark.parametrize(("content", "said"), [
    ("<|face|>", "a stray <|face|>"),
    ("<|face|><|/face|>", "a stray <|face|>"),
    ("hm <|face_0_001|>", "a stray <|face_0_001|>"),
    ("<|face|><|face_0_001|>words<|/face|>", "a stray <|face|>"),
    ("<|face|><|face_0_001|><|/body|>", "a stray <|face|>"),
    ("<|face|><|face_1_001|><|face_0_001|><|/face|>", "2 books of face in turn"),
    ("<|face|><|face_0_001|><|face_1_001|><|face_0_001|><|/face|>", "2 books of face in turn"),
    ("please <|assistant|>", "a stray <|assistant|>"),
])
def test_broken_content(content, said):
    with pytest.raises(ValueError, match="content: expected") as error:
        vocab.split(content)
    assert said in str(error.value)


@pytest.mark.parametrize(("codes", "said"), [
    (np.array([[0, 10]]), "expected 0 to 9 for face, got 10"),
    (np.array([[0, -1]]), "expected 0 or more, got -1"),
    (np.array([[0]]), "expected 2 books a frame for face, got 1"),
    (np.zeros((0, 2), int), "over 0 frames, got int64 (0, 2)"),
    (np.zeros((1, 2)), "expected integers"),
])
def test_codes_that_are_none(codes, said):
    with pytest.raises(ValueError, match="codes") as error:
        vocab.ids(codes, GROWN)
    assert said in str(error.value)


def test_tokens_that_are_no_motion():
    for tokens, said in (
        ([100, 102, 101], "whole frames of 2, got 1"), ([], "got 0 tokens"),
        ([102, 103], "code of book 1 at frame 0, got token 103"),
        ([102, 121, 7, 112], "code of book 0 at frame 1, got token 7"),
    ):
        with pytest.raises(ValueError, match="face tokens") as error:
            vocab.codes(tokens, GROWN)
        assert said in str(error.value)


def test_file(tmp_path):
    vocab.save(GROWN, tmp_path)
    assert vocab.load(tmp_path) == GROWN
    (tmp_path / vocab.FILE).write_text('{"modalities": {"face": {"books": 0}}}')
    with pytest.raises(ValueError, match=r"motion_vocab.json: modalities.face.books: .*greater than 0"):
        vocab.load(tmp_path)
    (tmp_path / vocab.FILE).write_text("{")
    with pytest.raises(ValueError, match=r"motion_vocab.json: expected JSON"):
        vocab.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="grown by `tdmm extend`"):
        vocab.load(tmp_path / "nowhere")


def test_two_kinds_may_not_share_tokens():
    with pytest.raises(ValueError, match="token 100 belongs to face and to body"):
        vocab.MotionVocab.model_validate({"modalities": {"face": KIND, "body": KIND}})


def test_another_codec_and_another_modality():
    vocab.match(GROWN, "face", "ab" * 32, "there")
    with pytest.raises(ValueError, match=r"there: expected the face codec that this .* trained with \(sha256 abab"):
        vocab.match(GROWN, "face", "cd" * 32, "there")
    with pytest.raises(ValueError, match="this model has face, got 'body'"):
        GROWN["body"]


def test_frames_of_seconds():
    assert GROWN["face"].frames(4) == 100
    for seconds in (0, -1, 10.5, float("nan")):
        with pytest.raises(ValueError, match="over 0 and at most 10"):
            GROWN["face"].frames(seconds)

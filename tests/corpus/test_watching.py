"""Descriptions by a vision-language model: frames of the right span go out, and only fitting answers come back."""

import base64
import io
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tdmm_lm import video
from tdmm_lm.corpus import table
from tdmm_lm.corpus.asking import watching
from tdmm_lm.corpus.asking.endpoint import Endpoint
from tdmm_lm.corpus.asking.watching import Film, Watched
from tdmm_lm.corpus.labels import Labels, Moved, Shown
from tdmm_lm.corpus.sources import Rejected

FAKE = runpy.run_path(str(Path(__file__).resolve().parent / "fake_chat.py"))
serving, completion, error = FAKE["serving"], FAKE["completion"], FAKE["error"]
GOOD = "The person smiles broadly with narrowed eyes and turns the head to the left."
JOY = Labels(
    seconds=2, shown=(Shown(family="joy", intensity=0.9, level="strong"),), gestures=(Moved(name="turn_left"),),
    family="joy", intensity=0.9, level="strong", gesture="turn_left", count=1,
)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Two seconds at 25 fps; the frame's number is its grey."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    frames = (np.full((96, 160, 3), 4 * number, np.uint8) for number in range(50))
    video.write(path, frames, fps=25, crf=1)
    return path


def recipe(chat, **said):
    settings = watching.load()
    patience = settings.endpoint.patience.model_copy(
        update={"tries": 2, "seconds": 0.5, "first_pause_seconds": 0, "longest_pause_seconds": 0}
    )
    own = settings.endpoint.model_copy(update={"url": chat.url, "at_once": 2, "patience": patience})
    return settings.model_copy(update={"endpoint": own, "frames": 4, "side": 80, **said})


def test_stills_are_the_middles_of_equal_parts(film):
    times, frames = watching.stills(film, 0, None, 5)
    assert times == pytest.approx([5 / 25, 15 / 25, 25 / 25, 35 / 25, 45 / 25], abs=1e-3)
    assert [round(frame.mean() / 4) for frame in frames] == [5, 15, 25, 35, 45]
    times, frames = watching.stills(film, 1.0, 1.4, 4)
    assert (min(times), max(times)) == (1.04, 1.32)
    assert len(watching.stills(film, 1.9, 9, 8)[1]) == 2
    with pytest.raises(ValueError, match=r"film\.mp4: expected frames from 5 s on, found none"):
        watching.stills(film, 5, None, 4)


def test_what_goes_out_and_what_comes_back(film, tmp_path):
    with serving(lambda body: GOOD) as chat:
        settings = recipe(chat)
        with Endpoint(settings.endpoint, tmp_path / "a.jsonl") as endpoint:
            made = watching.one(Film("a", film, 0.4, 1.2, JOY), endpoint, settings)
            watching.one(Film("a", film, 0.4, 1.2, JOY), endpoint, settings)
    assert made == Watched("a", GOOD, {
        "model": "fake-1", "prompt_version": 1, "frame_seconds": [0.48, 0.68, 0.88, 1.08], "refused": [],
    })
    assert len(chat.asked) == 1
    system, user = chat.asked[0]["messages"]
    assert system["role"] == "system"
    assert user["content"][0]["text"].startswith("Here are 4 frames of a film of 0.8 seconds.")
    urls = [part["image_url"]["url"] for part in user["content"][1:]]
    pictures = [Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/jpeg;base64,")))) for url in urls]
    assert [(picture.format, picture.size) for picture in pictures] == [("JPEG", (80, 48))] * 4
    assert [round(np.asarray(picture).mean() / 4) for picture in pictures] == [12, 17, 22, 27]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (GOOD, []),
        ("The face moves a little, and the mouth stays as it was.", []),
        ("The person frowns deeply and looks very sad during all of it.", ["other_family"]),
        ("The person smiles and turns the head to the right at the end.", ["other_gesture"]),
        ("The person smiles and speaks all the time to somebody.", ["other_speech"]),
        ("I'm sorry, I cannot identify people in pictures at all.", ["refusal"]),
        ("A smile.", ["too_short"]),
        ("They smile and smile. " * 40, ["too_long"]),
        ("", ["empty"]),
    ],
)
def test_answers_that_cannot_be_are_refused(text, faults):
    assert watching.fault(text, watching.load(), JOY) == faults


def test_what_was_hardly_measured_contradicts_nothing():
    faint = JOY.model_copy(update={"shown": (JOY.shown[0].model_copy(update={"intensity": 0.3}),)})
    sad = "The person frowns deeply and looks very sad during all of it."
    assert watching.fault(sad, watching.load(), faint) == []
    assert watching.fault(sad, watching.load(), None) == []


def test_a_run_goes_on_past_broken_films_and_answers(film, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(film.read_bytes()[:900])
    films = [
        Film("good", film, 0, 1, JOY), Film("broken", broken), Film("gone", tmp_path / "none.mp4"),
        Film("contradicted", film, 0.5, 1.5, JOY), Film("mended", film, 0.2, 1.0, JOY), Film("busy", film, 0.6, 1.9),
        Film("late", film, 9, 10),
    ]
    by_seconds = {"1.0": GOOD, "0.8": "", "1.3": error(429)}

    def answer(body):
        messages = body["messages"]
        if len(messages) > 2:
            return "The person looks sad and frowns with all of the face."
        question = messages[1]["content"][0]["text"]
        first = messages[1]["content"][1]["image_url"]["url"]
        said = next(said for seconds, said in by_seconds.items() if f" {seconds} seconds" in question)
        if said == GOOD and first == contradicted:
            return "The person looks sad and frowns with all of the face."
        if said == "":
            return GOOD if sum(one["messages"][1] == messages[1] for one in chat.asked) == 2 else ""
        return said

    contradicted = watching.data_url(watching.stills(film, 0.5, 1.5, 4)[1][0], 80)
    with serving(answer) as chat:
        settings = recipe(chat)
        with Endpoint(settings.endpoint, tmp_path / "a.jsonl") as endpoint:
            made = {film.id: watched for film, watched in watching.watch(films, endpoint, settings)}
    assert list(made) == [film.id for film in films]
    assert {name: one.reason for name, one in made.items() if isinstance(one, Rejected)} == {
        "broken": "broken_video", "gone": "broken_video", "contradicted": "other_family", "busy": "busy",
        "late": "broken_video",
    }
    assert made["mended"].provenance["refused"] == ["empty"]
    assert "none.mp4: expected a video file, found none" in made["gone"].detail
    assert "answers were refused" in made["contradicted"].detail


def test_wrong_recipes():
    with pytest.raises(ValueError, match=r"words: .*expected the fewest words, then the most"):
        watching.load(None, ["words=[9, 3]"])
    with pytest.raises(ValueError, match="questions: unknown key"):
        watching.load(None, ["questions=2"])


def test_a_data_sets_clips_are_watched(film, tmp_path):
    def row(name, path, seconds):
        whence = json.dumps({"file": str(path), "seconds": seconds} if path else {"generator": "code"})
        empty = dict.fromkeys(table.SCHEMA.names)
        return {**empty, "id": name, "split": "train", "texts": [], "prompts": [], "provenance": whence}

    made = [
        row("one", film, [0.0, 1.0]), row("gone", tmp_path / "none.mp4", [0, 1]), row("dull", film, [1.0, 2.0]),
        row("made", None, None), row("whole", film, None),
    ]
    table.write(made, tmp_path / "set" / "train-00000.parquet")
    shown = watching.data_url(watching.stills(film, 1.0, 2.0, 4)[1][0], 80)
    with serving(lambda body: "?" if shown in json.dumps(body["messages"]) else GOOD) as chat:
        told = watching.run(recipe(chat), tmp_path / "set", tmp_path / "out")
        assert told == f"{tmp_path / 'out'}: 2 described, 2 no_film, 1 nonsense."
        asked = len(chat.asked)
        watching.run(recipe(chat), tmp_path / "set", tmp_path / "out")
        assert len(chat.asked) == asked, "answers are kept"
    told = [json.loads(line) for line in (tmp_path / "out" / "texts.jsonl").open()]
    assert [(one["id"], one["text"]) for one in told] == [("one", GOOD), ("whole", GOOD)]
    assert max(told[1]["provenance"]["frame_seconds"]) > 1.5
    aside = [json.loads(line) for line in (tmp_path / "out" / "aside.jsonl").open()]
    assert [(one["id"], one["reason"]) for one in aside] == [
        ("gone", "no_film"), ("dull", "nonsense"), ("made", "no_film"),
    ]
    assert aside[0]["detail"] == f"expected a video's file in the provenance, got '{tmp_path / 'none.mp4'}'."
    with pytest.raises(ValueError, match=r"set: expected a folder outside of .*set, which is only read"):
        watching.run(watching.load(), tmp_path / "set", tmp_path / "set")
    (tmp_path / "bare").mkdir()
    with pytest.raises(FileNotFoundError, match=r"bare: expected a data set's \*\.parquet, found none"):
        watching.run(watching.load(), tmp_path / "bare", tmp_path / "out3")
    assert not (tmp_path / "out3").exists()
    table.write(made[1:2], tmp_path / "other" / "train-00000.parquet")
    with serving(lambda body: GOOD) as chat, pytest.raises(ValueError, match="expected rows with a film"):
        watching.run(recipe(chat), tmp_path / "other", tmp_path / "out2")

"""Paraphrases: only those that keep every label stay, and a run survives whatever an endpoint answers."""

import json
import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tdmm_lm.corpus import caption, labels, prompts
from tdmm_lm.corpus.asking import paraphrase, rewording
from tdmm_lm.corpus.asking.endpoint import Endpoint
from tdmm_lm.corpus.asking.paraphrase import Text

FAKE = runpy.run_path(str(Path(__file__).resolve().parent / "fake_chat.py"))
serving, completion, error = FAKE["serving"], FAKE["completion"], FAKE["error"]
PLAIN = "A woman smiles broadly, then nods twice."


def recipe(chat, seconds=20, **said):
    settings = paraphrase.load()
    own = {"url": chat.url, "at_once": 2, "give_up_after": 5, "budget": settings.endpoint.budget}
    own["patience"] = settings.endpoint.patience.model_copy(
        update={"tries": 2, "seconds": seconds, "first_pause_seconds": 0, "longest_pause_seconds": 0}
    )
    return settings.model_copy(update={"endpoint": settings.endpoint.model_copy(update=own), "times": 1, **said})


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("The woman breaks into a broad smile... she smiles broadly and then nods two times.", []),
        ("She smiles widely, and after that she nods twice.", []),
        ("A woman frowns deeply, then nods twice.", ["other_family"]),
        ("A woman smiles broadly.", ["lost_gesture"]),
        ("A woman smiles broadly, then nods three times.", ["other_count"]),
        ("A woman smiles broadly, then shakes her head twice.", ["other_gesture"]),
        ("A woman smiles slightly, then nods twice.", ["other_level"]),
        ("A woman smiles, then nods twice.", ["other_level"]),
        ("A woman nods twice.", ["lost_family"]),
        ("A man smiles broadly, then nods twice.", ["other_person"]),
        ("A woman smiles broadly, then nods twice without blinking.", ["added_blinks"]),
        ("A woman smiles broadly, then nods twice, glancing to the left.", ["added_gaze", "added_side"]),
        ("A woman smiles broadly, then nods twice while talking.", ["added_speech"]),
        ("A woman doesn't smile broadly, then nods twice.", ["lost_family"]),
    ],
)
def test_what_was_changed_is_named(text, faults):
    found = rewording.changed(PLAIN, text)
    assert found[: len(faults)] == faults if faults else found == []


def test_labels_that_the_original_says_rightly_must_stay_right():
    known = labels.of_score(prompts.sample(4))
    text = caption.describe(known, np.random.default_rng(0), "plain")
    assert rewording.changed(text, text, known) == []
    other = labels.of_score(prompts.sample(7))
    assert rewording.changed(text, caption.describe(other, np.random.default_rng(0), "plain"), known)


def test_every_caption_of_the_corpus_keeps_its_own_labels():
    rng = np.random.default_rng(1)
    for seed in range(40):
        known = labels.of_score(prompts.sample(seed))
        text = caption.prompt(known, rng)
        assert rewording.changed(text, text, known) == []


@pytest.mark.parametrize(
    ("answer", "text", "unusable"),
    [
        ("“She smiles.”", "She smiles.", ""),
        ("<think>hm, a smile</think>\n\n She\nsmiles. ", "She smiles.", ""),
        ("", "", "empty"),
        ("  ", "", "empty"),
        ("I’m sorry, but I can’t help with that.", "I’m sorry, but I can’t help with that.", "refusal"),
        ("As an AI I do not see.", "As an AI I do not see.", "refusal"),
        ("Sure! She smiles.", "Sure! She smiles.", "chatter"),
        ("<think>so the", "<think>so the", "chatter"),
        ("!!!!! 7", "!!!!! 7", "nonsense"),
        ("she smilessssssssssssssss", "she smilessssssssssssssss", "nonsense"),
    ],
)
def test_answers_are_cleaned_and_judged(answer, text, unusable):
    assert rewording.cleaned(answer) == text
    assert rewording.unusable(text) == unusable


def test_a_refused_answer_is_asked_again_with_what_was_wrong(tmp_path):
    said = ["A woman smiles.", "A woman frowns, nods twice", "She smiles widely, and then she nods twice."]
    with serving(lambda body: said[len(chat.asked) - 1]) as chat:
        settings = recipe(chat)
        with Endpoint(settings.endpoint, tmp_path / "a.jsonl") as endpoint:
            made = paraphrase.one(Text("a", PLAIN), 0, endpoint, settings)
            again = paraphrase.one(Text("a", PLAIN), 0, endpoint, settings)
    assert (made.kept, made.text, made.failed, made.model) == (True, said[2], "", "fake-1")
    assert made.refused == ("other_level", "other_family")
    assert again == made
    assert len(chat.asked) == 3, "the second time nothing is asked"
    roles = [[message["role"] for message in body["messages"]] for body in chat.asked]
    assert roles == [["system", "user"], *2 * [["system", "user", "assistant", "user"]]]
    assert "other level, lost gesture" in chat.asked[1]["messages"][-1]["content"]
    assert PLAIN in chat.asked[2]["messages"][1]["content"]


def test_a_run_through_everything_that_goes_wrong(tmp_path):
    answers = {
        "good": "He smiles widely, and then nods twice.", "contradicting": "He frowns deeply, then nods twice.",
        "empty": "", "nonsense": "7", "broken": (200, {}, b"{{{"), "busy": error(429, retry_after="0"), "silent": 4,
        "refusal": "I'm sorry, I cannot help.", "long": completion("He smiles broadly", "length"),
    }
    rows = [
        {"id": name, "text": f"A man smiles broadly, then nods twice ({name})."} for name in answers
    ] + [{"id": "no text"}, {"id": "empty text", "text": " "}, 3]
    source = tmp_path / "captions.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows) + "no json\n")

    def answer(body):
        return next(said for name, said in answers.items() if f"({name})" in body["messages"][1]["content"])

    with serving(answer) as chat:
        told = paraphrase.run(recipe(chat, seconds=1.5), source, tmp_path / "out")
        first = len(chat.asked)
        paraphrase.run(recipe(chat, seconds=1.5), source, tmp_path / "out")
    made = {row["id"]: row for row in map(json.loads, (tmp_path / "out" / "paraphrases.jsonl").open())}
    assert list(made) == list(answers)
    assert [name for name, row in made.items() if row["kept"]] == ["good"]
    assert all(row["text"] == row["original"] for name, row in made.items() if name != "good")
    assert {name: row["failed"] for name, row in made.items()} == {
        "good": "", "contradicting": "unsure", "empty": "unsure", "nonsense": "unsure", "broken": "nonsense",
        "busy": "busy", "silent": "timed_out", "refusal": "unsure", "long": "unsure",
    }
    aside = list(map(json.loads, (tmp_path / "out" / "aside.jsonl").open()))
    assert Counter(row["reason"] for row in aside) == {"no_caption": 4}
    assert "1 kept, 8 stay as they were, 4 rows set aside" in told
    assert "refused: 3 other_family, 3 empty, 3 nonsense, 3 refusal, 3 cut_off" in told
    assert "stayed: 5 unsure" in told
    assert len(chat.asked) == first + 6, "only what was not answered is asked again: two tries each"


def test_a_budget_stops_asking_and_the_originals_stay(tmp_path):
    texts = [Text(str(number), f"A man smiles broadly {number}.") for number in range(6)]
    with serving(lambda body: "The man smiles widely.") as chat:
        settings = recipe(chat)
        settings = settings.model_copy(
            update={"endpoint": settings.endpoint.model_copy(
                update={"budget": settings.endpoint.budget.model_copy(update={"requests": 4}), "at_once": 1}
            )}
        )
        with Endpoint(settings.endpoint, tmp_path / "a.jsonl") as endpoint:
            made = list(paraphrase.many(texts, endpoint, settings))
    assert [row.kept for row in made] == [True] * 4 + [False] * 2
    assert [row.failed for row in made] == [""] * 4 + ["budget"] * 2
    assert len(chat.asked) == 4


def test_several_paraphrases_ask_in_several_ways(tmp_path):
    with serving(lambda body: "She smiles widely, and then she nods twice.") as chat:
        settings = recipe(chat, times=5)
        with Endpoint(settings.endpoint, tmp_path / "a.jsonl") as endpoint:
            made = list(paraphrase.many([Text("a", PLAIN)], endpoint, settings))
    assert [row.number for row in made] == [0, 1, 2, 3, 4]
    assert len({body["messages"][1]["content"] for body in chat.asked}) == len(settings.ways) == 4
    assert len(chat.asked) == 5, "the fifth asks as the first did, for another answer"


def test_wrong_sources(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected JSON lines or a data set's folder, found none"):
        list(paraphrase.texts(tmp_path / "none", []))
    with pytest.raises(ValueError, match=r"ask: .*expected {text} in it"):
        paraphrase.load(None, ["ask=Reword this"])


def test_nothing_is_written_where_there_is_nothing_to_read_or_into_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none: expected JSON lines or a data set's folder, found none"):
        paraphrase.run(paraphrase.load(), tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "set").mkdir()
    with pytest.raises(ValueError, match=r"expected a folder outside of .*set, which is only read"):
        paraphrase.run(paraphrase.load(), tmp_path / "set", tmp_path / "set" / "words")
    assert not list((tmp_path / "set").iterdir())

"""Prompts for video generators: balanced exactly, in the same words for all, and they say what their labels say."""

import json
from collections import Counter
from dataclasses import asdict

import pytest

from tdmm_lm.corpus import reading
from tdmm_lm.corpus import video_prompts as video_prompting
from tdmm_lm.corpus.asking import paraphrase
from tdmm_lm.corpus.lexicon import lexicon
from tdmm_lm.observe import INTENSITIES


def recipe(*assignments):
    return video_prompting.load(None, list(assignments))


@pytest.mark.parametrize(("words", "subjects"), [(7, 4), (6, 4), (12, 12), (1, 5), (9, 6)])
def test_pairs_are_balanced_at_every_step_and_complete_in_the_end(words, subjects):
    seen, one, other = Counter(), Counter(), Counter()
    for number in range(words * subjects):
        pair = video_prompting.paired(words, subjects, number)
        seen[pair] += 1
        one[pair[0]] += 1
        other[pair[1]] += 1
        for count, size in ((one, words), (other, subjects)):
            assert max(count.values()) - min(count.get(i, 0) for i in range(size)) <= 1
    assert set(seen.values()) == {1}
    assert len(seen) == words * subjects


def test_words_and_subjects_are_balanced_exactly():
    said = recipe("count=2400")  # 200 words x 12 subjects, each pair once
    rows = list(video_prompting.prompts(said))
    assert len(lexicon().words) * len(said.subjects) == 2400, "the lexicon grew: ask for another count"
    pairs = Counter((row.labels["word"], row.labels["subject"]) for row in rows)
    assert set(pairs.values()) == {1}
    for key, values in (("skin", said.skin), ("hair", said.hair), ("clothes", said.clothes)):
        with_word = Counter((row.labels["word"], row.labels[key]) for row in rows)
        assert set(with_word.values()) == {3}, key  # 12 prompts a word, 4 looks
        assert set(Counter(row.labels[key] for row in rows).values()) == {2400 // len(values)}
    for word in ("smile", "sad"):
        mine = Counter(row.labels["level"] for row in rows if row.labels["word"] == word)
        levels = video_prompting.levels_of(lexicon().word(word))
        assert set(mine) == set(levels)
        assert max(mine.values()) - min(mine.values()) <= 1
    shares = Counter(row.generator for row in rows)
    assert shares == {name: round(2400 * own.share) for name, own in said.generators.items()}


def test_groups_meet_families_evenly_in_a_long_list():
    rows = list(video_prompting.prompts(recipe("count=4800")))
    table = Counter((row.labels["family"], row.labels["group"]) for row in rows)
    for family in {row.labels["family"] for row in rows}:
        counts = [table[family, group] for group in ("female", "male", "any")]
        assert max(counts) - min(counts) <= 1, family


def test_what_is_said_is_what_the_labels_say():
    for row in video_prompting.prompts(recipe("count=1600")):
        read, known = reading.parse(row.facial), row.labels
        assert read.gesture == known["gesture"], row.facial
        assert read.gaze == known["gaze"], row.facial
        assert (read.blinks or 0) == known["blinks"], row.facial
        assert set(read.families) == {known["family"], known["micro_family"]} - {""}, row.facial
        level = dict(zip(read.families, read.levels))[known["family"]]
        assert level == known["level"] or (level, known["level"]) == ("", "clear"), row.facial
        assert known["level"] in ("", *INTENSITIES)


def test_a_side_is_asked_for_where_the_text_tells_it():
    rows = list(video_prompting.prompts(recipe("count=2400")))
    sided = [row for row in rows if lexicon().word(row.labels["word"]).sided]
    told = [row for row in sided if row.labels["side"] != "both"]
    for row in rows:
        assert reading.parse(row.facial).sides == ((row.labels["side"],) if row in told else ()), row.facial
    assert {row.labels["family"] for row in sided} - {row.labels["family"] for row in told} == {"contempt", "doubt"}
    counts = Counter((row.labels["word"], row.labels["side"]) for row in told)
    assert {word for word, _ in counts} >= {"wink", "jaw_side", "raise_one_brow"}
    assert set(counts.values()) == {6}  # 12 prompts a word, left and right


def test_the_facial_part_is_the_same_for_every_generator():
    by_generator = [
        [
            (row.number, row.facial, row.labels)
            for row in video_prompting.prompts(
                recipe("count=50").model_copy(update={"generators": {name: own}})
            )
        ]
        for name, own in recipe().generators.items()
    ]
    assert all(rows == by_generator[0] for rows in by_generator)
    forms = {row.text for row in video_prompting.prompts(recipe("count=70"))}
    assert len(forms) == 70
    for row in video_prompting.prompts(recipe("count=70")):
        own = recipe().generators[row.generator]
        assert row.facial in row.text
        assert (row.negative, row.frames, row.fps, row.size) == (own.negative, own.frames, own.fps, own.size)
        assert "{" not in row.text


def test_the_same_seed_gives_the_same_and_a_longer_list_begins_alike(tmp_path):
    short, long, other = (
        list(video_prompting.prompts(recipe(*say)))
        for say in (["count=30"], ["count=90"], ["count=30", "seed=1"])
    )
    assert short == long[:30]
    assert [row.text for row in short] != [row.text for row in other]
    assert len({row.id for row in long}) == 90
    assert video_prompting.write(recipe("count=30"), tmp_path / "p.jsonl") == 30
    assert list(video_prompting.read(tmp_path / "p.jsonl")) == short
    assert json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])["labels"] == short[0].labels
    changed = recipe("count=1", "generators.wan21-14b.frames=81")
    assert asdict(next(video_prompting.prompts(changed)))["id"] == short[0].id


def test_another_prompt_has_another_id():
    said = recipe("count=40")
    own = {name: one.model_copy(update={"negative": "nothing"}) for name, one in said.generators.items()}
    changed = video_prompting.prompts(said.model_copy(update={"generators": own}))
    assert not {row.id for row in video_prompting.prompts(said)} & {row.id for row in changed}


@pytest.mark.parametrize(
    ("assignment", "line"),
    [
        ("count=0", "count: Input should be greater than or equal to 1"),
        ("words=[smile, grimmace]", "expected one of .* got 'grimmace'"),
        ("levels={}", "levels: expected slight, clear, strong"),
        ("micro.pout.family=lips", "expected families among .* got lips"),
        ("generators.sora.form=Film", "form: expected {shot} once, got 'Film'"),
        ("generators.sora.length=3", "generators.sora.length: unknown key"),
        ("generators={a/b: {share: 1, frames: 5, fps: 5, size: [64, 64], form: '{shot} {facial}'}}", "got 'a/b'"),
    ],
)
def test_wrong_recipes_are_refused_in_one_line(assignment, line):
    with pytest.raises(ValueError, match=line) as error:
        recipe(assignment)
    assert "\n" not in str(error.value)


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(ValueError, match=r"p\.jsonl: line 1: expected a prompt"):
        list(video_prompting.read(tmp_path / "p.jsonl"))
    whole = asdict(next(video_prompting.prompts(recipe("count=1"))))
    (tmp_path / "p.jsonl").write_text(json.dumps(whole | {"labels": {"family": "joy"}}) + "\n")
    with pytest.raises(ValueError, match=r"p\.jsonl: line 1: expected a prompt, got something else \('level'\)"):
        list(video_prompting.read(tmp_path / "p.jsonl"))
    with pytest.raises(FileNotFoundError, match="expected a file of prompts"):
        list(video_prompting.read(tmp_path / "none.jsonl"))


def test_sentences_in_a_models_words_take_the_place_of_their_originals(tmp_path):
    plain = list(video_prompting.prompts(recipe("count=40", "words=[smile, scowl]")))
    video_prompting.write(recipe("count=40", "words=[smile, scowl]"), tmp_path / "prompts.jsonl")
    aside = []
    asked = list(paraphrase.texts(tmp_path / "prompts.jsonl", aside))
    assert [one.text for one in asked] == [prompt.facial for prompt in plain]
    assert not aside
    first, second = plain[0].facial, plain[1].facial
    answers = [
        {"id": "0", "original": first, "text": "There is a smile.", "kept": True},
        {"id": "0", "original": first, "text": "One smiles.", "kept": True},
        {"id": "1", "original": second, "text": second, "kept": False},
    ]
    path = tmp_path / "paraphrases.jsonl"
    path.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    said = list(video_prompting.prompts(recipe("count=40", "words=[smile, scowl]", f"refined={path}")))
    assert said[0].facial == "There is a smile."
    assert said[0].text == plain[0].text.replace(first, "There is a smile.")
    assert (said[0].labels, said[1]) == (plain[0].labels, plain[1])
    assert said[0].id != plain[0].id
    path.write_text(json.dumps({"original": first, "text": None, "kept": True}) + "\n")
    with pytest.raises(ValueError, match=r"paraphrases\.jsonl:1: expected a paraphrase"):
        list(video_prompting.prompts(recipe("count=4", f"refined={path}")))
    path.write_text("nonsense\n")
    with pytest.raises(ValueError, match=r"refined: .*paraphrases\.jsonl:1: expected a paraphrase, got b'nonsense'"):
        list(video_prompting.prompts(recipe("count=4", f"refined={path}")))
    with pytest.raises(FileNotFoundError, match=r"refined: .*none: expected the paraphrases of prompts, found no file"):
        list(video_prompting.prompts(recipe("count=4", f"refined={tmp_path / 'none'}")))

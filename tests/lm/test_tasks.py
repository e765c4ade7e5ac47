"""Every task file fills from a row that has everything; a row without a slot is not asked for it."""

import random

import numpy as np
import pytest

from tdmm_lm import bundle
from tdmm_lm.lm import tasks, vocab

ROW = {
    "id": "r1", "texts": ["They smile."], "prompts": ["a woman smiles", "smile"], "codes": list(range(60)),
    "labels": {
        "full": "Strong joy: they smile.", "plain": "They smile.", "brief": "strong joy", "family": "joy",
        "gesture": "nod", "nods": 2, "blinks": 0, "speech": "never", "subject": None,
    },
    "edit": {"instruction": "now frown", "codes": list(range(60, 0, -1))},
}
BUNDLED = tasks.load(bundle.path("recipes/tasks"))


def filled(row=ROW, seed=0):
    return tasks.slots(row, 25.0, 1, random.Random(seed))


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_every_bundled_task_fills(name):
    task = BUNDLED[name]
    assert name in tasks.eligible(BUNDLED, filled())
    for seed in range(8):
        messages = tasks.fill(task, filled(seed=seed), random.Random(seed))
        assert [message["role"] for message in messages] == [message.role for message in task.messages]
        for message in messages:
            assert "$" not in message["content"]
            assert message["content"] == message["content"].strip() != ""
            vocab.split(message["content"])


def test_both_directions_and_all_that_was_asked_for_are_there():
    wanted = "describe perform emotion gesture count_nods count_blinks edit edit_turn continue"
    assert set(wanted.split()) <= set(BUNDLED)


def test_slots_of_a_row():
    offered = filled()
    assert offered["hint"] == " [2.4 s]"
    assert offered["blinks"] == "0"
    assert "subject" not in offered
    assert offered["motion"].shape == (60, 1)
    np.testing.assert_array_equal(np.concatenate([offered["start"], offered["rest"]]), offered["motion"])
    assert offered["more"] == tasks.hint(len(offered["rest"]) / 25)


def test_a_recording_is_not_asked_for_what_it_lacks():
    names = tasks.eligible(BUNDLED, filled(ROW | {"prompts": [], "edit": None}))
    assert "describe" in names
    assert not {"perform", "edit", "edit_turn"} & set(names)


def test_where_holds_rows_back():
    turned = ROW | {"labels": ROW["labels"] | {"gesture": "turn left"}}
    assert "count_nods" in tasks.eligible(BUNDLED, filled())
    assert "count_nods" not in tasks.eligible(BUNDLED, filled(turned))


def test_hint_is_what_generation_appends():
    assert tasks.timed("a man nods", 4) == "a man nods [4.0 s]"
    assert tasks.timed("a man nods", None) == "a man nods"


@pytest.mark.parametrize(("yaml", "said"), [
    ("messages: [{role: user, content: hi}]", "messages: Tuple should have at least 2"),
    ("messages: [{role: user, content: hi}, {role: user, content: hi}]", "expected the assistant's turn at the end"),
    ("messages: [{role: robot, content: hi}, {role: assistant, content: hi}]", "messages.0.role"),
    ("messages: [{role: user, content: '<|face|>'}, {role: assistant, content: hi}]", "words and $slots, got a token"),
    ("wight: 1\nmessages: [{role: user, content: hi}, {role: assistant, content: hi}]", "wight: unknown key"),
])
def test_files_that_are_no_task(tmp_path, yaml, said):
    (tmp_path / "mine.yaml").write_text(yaml)
    with pytest.raises(ValueError, match=r"mine\.yaml") as error:
        tasks.load(tmp_path)
    assert said in str(error.value)


def test_no_tasks_and_no_slot(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected task files"):
        tasks.load(tmp_path)
    task = tasks.Task.model_validate({"messages": [
        {"role": "user", "content": "$nothing"}, {"role": "assistant", "content": "yes"}
    ]})
    with pytest.raises(ValueError, match=r"expected slots among .*, got \$nothing"):
        tasks.fill(task, filled(), random.Random(0))

"""Videos for prompts: every fault of a server, kills and budgets; nothing is paid twice and nothing is left half."""

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from tdmm_lm import config, video
from tdmm_lm.corpus import generate as generating
from tdmm_lm.corpus import video_prompts
from tdmm_lm.corpus.asking.ledger import Ledger

FAKE = runpy.run_path(str(Path(__file__).resolve().parent / "fake_videos.py"))
serving, answer = FAKE["serving"], FAKE["answer"]
NO_PAUSE = {"tries": 3, "seconds": 20, "first_pause_seconds": 0, "longest_pause_seconds": 0}
HASTY = {**NO_PAUSE, "seconds": 1}  # less than a server is silent for


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    video.write(path, (np.full((64, 64, 3), 20 * n, np.uint8) for n in range(10)), fps=5)
    return path.read_bytes()


@pytest.fixture
def recipe(tmp_path):
    """Prompts for two generators of small videos, half each."""
    own = {"share": 1, "frames": 10, "fps": 5, "size": [64, 64], "form": "{shot} {facial}", "negative": "zoom"}
    said = {**video_prompts.load().model_dump(mode="json"), "generators": {"one": own, "other": own}}
    path = tmp_path / "prompts.yaml"
    path.write_text(yaml.safe_dump(said))
    return path


def settings(recipe, films, count=4, **said):
    api = {"adapter": "videos_api", "at_once": 2, "settings": api_settings(films), **said.pop("one", {})}
    made = {"prompts": recipe, "count": count, "generators": {"one": api}, **said}
    return config.check(generating.Settings, made, "test")


def api_settings(films, **said):
    return {"url": films.url, "poll_seconds": 0.01, "patience": NO_PAUSE, **said}


def folder(out):
    return sorted(path.name for path in (out / "videos").iterdir())


def test_a_run_makes_every_video_once(recipe, film, tmp_path):
    out = tmp_path / "out"
    with serving(film) as films:
        said = settings(recipe, films, one={"settings": api_settings(
            films, model="sora-2", seed="seed", negative="negative_prompt", options={"quality": "high"}
        )})
        summary = generating.generate(said, out)
        again = generating.generate(said, out)
    prompts = list(video_prompts.read(out / "prompts.jsonl"))
    assert (dict(summary.counts), dict(again.counts)) == ({"made": 4}, {"there before": 4})
    assert str(summary) == "4 made; spent: 4 videos."
    assert folder(out) == sorted(f"{prompt.id}.mp4" for prompt in prompts)
    assert (out / "videos" / f"{prompts[0].id}.mp4").read_bytes() == film
    assert films.paid() == 4
    body = next(body for body in films.bodies if body["prompt"] == prompts[0].text)
    assert body == {
        "prompt": prompts[0].text, "seconds": "2", "size": "64x64", "model": "sora-2", "seed": prompts[0].seed,
        "negative_prompt": "zoom", "quality": "high",
    }
    assert set(films.keys) == {prompt.id for prompt in prompts}
    done = [json.loads(line) for line in (out / "ledger.jsonl").open()]
    assert [row["frames"] for row in done if row.get("state") == "done"] == [10] * 4


GONE = [answer({"error": {"message": "This video has expired."}}, status) for status in (404, 410)]
BUSY, BROKEN = answer({"error": {"message": "slow down"}}, 429, retry_after="0"), answer({}, 500)
FAILED = answer({"id": "video_0", "status": "failed", "error": {"code": "internal", "message": "a GPU fell over"}})
REFUSED = answer({"id": "x", "status": "failed", "error": {"code": "moderation_blocked", "message": "no faces"}})


@pytest.mark.parametrize(
    ("what", "fault", "paid"),
    [
        ("create", BUSY, 1), ("create", BROKEN, 1), ("create", (200, {}, b"<html>"), 1), ("create", 0.0, 1),
        ("create", answer({"id": None}), 1), ("create", "silent but made", 1), ("create", 3.0, 1),
        ("poll", BUSY, 1), ("poll", BROKEN, 1), ("poll", (200, {}, b"{"), 1), ("poll", 3.0, 1), ("poll", FAILED, 2),
        ("poll", answer({"error": {"message": "gone"}}, 404), 2),
        ("content", BUSY, 1), ("content", BROKEN, 1), ("content", "cut", 1), ("content", (200, {}, b"no film"), 1),
        ("content", GONE[0], 2), ("content", GONE[1], 2),
    ],
)
def test_one_fault_is_survived_without_paying_twice(recipe, film, tmp_path, what, fault, paid):
    def faults(asked, count, prompt):
        return fault if (asked, count) == (what, 1) else None

    patience = HASTY if fault in (3.0, "silent but made") else NO_PAUSE
    with serving(film, faults) as films:
        said = settings(recipe, films, count=1, one={"settings": api_settings(films, patience=patience)})
        summary = generating.generate(said, tmp_path / "out")
    assert dict(summary.counts) == {"made": 1}, summary
    assert films.paid() == paid
    assert summary.spent["videos"] == paid


@pytest.mark.parametrize(
    ("what", "fault", "reason", "paid", "later"),
    [
        ("create", BUSY, "busy", 0, "made"), ("create", BROKEN, "http_500", 1, "made"),
        ("create", answer({}, 400), "http_400", 0, "made"), ("poll", FAILED, "failed_job", 3, "given up"),
        ("poll", REFUSED, "refused", 1, "given up"), ("poll", answer({"status": "dancing"}), "nonsense", 1, "made"),
        ("content", GONE[0], "job_gone", 3, "given up"),
        ("content", "cut", "cut_off", 1, "made"), ("content", (200, {}, b"no film"), "broken_video", 1, "made"),
    ],
)
def test_what_stays_broken_is_set_aside_and_the_others_go_on(
    recipe, film, tmp_path, what, fault, reason, paid, later
):
    first = next(video_prompts.prompts(generating_recipe(recipe)))
    well = threading.Event()

    def faults(asked, count, prompt):
        return fault if asked == what and prompt == first.text and not well.is_set() else None

    with serving(film, faults) as films:
        said = settings(recipe, films, count=3, one={"dollars_per_second": 0.25})
        summary = generating.generate(said, tmp_path / "out")
        assert dict(summary.counts) == {"made": 2, "failed": 1}
        assert dict(summary.reasons) == {reason: 1}
        assert f"failed: 1 {reason}" in str(summary)
        # what nobody knows to be free (a server that broke down while it was asked) counts as paid
        assert summary.spent["videos"] == 2 + paid
        assert summary.spent["dollars"] == pytest.approx(0.5 * (2 + paid))
        assert len(folder(tmp_path / "out")) == 2
        well.set()
        again = generating.generate(said, tmp_path / "out")
    assert dict(again.counts) == {"there before": 2, later: 1}
    assert again.spent["videos"] == 2 + max(paid, 1)
    assert films.paid() == 2 + max(paid, 1)


@pytest.mark.parametrize("knows_keys", [True, False])
@pytest.mark.parametrize("fault", [None, BROKEN, "silent but made"])
def test_after_a_job_that_failed_another_is_asked_for(recipe, film, tmp_path, knows_keys, fault):
    """And not the failed one taken up, which the server lists and may hand out again for the same key."""
    patience = HASTY if fault == "silent but made" else NO_PAUSE
    with serving(film, lambda what, count, prompt: fault if (what, count) == ("create", 2) else None) as films:
        films.failing, films.by_key = ("video_0",), {} if knows_keys else None
        said = settings(recipe, films, count=1, one={"settings": api_settings(films, patience=patience)})
        summary = generating.generate(said, tmp_path / "out")
    (prompt,) = video_prompts.read(tmp_path / "out" / "prompts.jsonl")
    assert dict(summary.counts) == {"made": 1}, summary
    assert films.keys == [prompt.id, f"{prompt.id}-1"]
    assert films.paid() == summary.spent["videos"] == 2
    with Ledger(tmp_path / "out" / "ledger.jsonl") as ledger:
        known = ledger.of(prompt.id)
    assert (known["dropped"], known["job"], known["paid_failures"]) == (["video_0"], "video_1", 1)


def test_films_that_expired_before_they_were_fetched_are_made_again(recipe, film, tmp_path):
    gone = threading.Event()

    def faults(what, count, prompt):
        if not gone.is_set():
            return answer({"status": "in_progress"}) if what == "poll" else None
        return GONE[1] if (what, count) == ("content", 1) else None

    with serving(film, faults) as films:
        slow = {"settings": api_settings(films, longest_seconds=0.1)}
        begun = generating.generate(settings(recipe, films, count=1, one=slow), tmp_path / "out")
        assert dict(begun.reasons) == {"still_running": 1}
        gone.set()
        assert dict(generating.generate(settings(recipe, films, count=1), tmp_path / "out").counts) == {"made": 1}
    assert films.paid() == 2


def generating_recipe(recipe):
    said = video_prompts.load(recipe)
    return said.model_copy(update={"generators": {"one": said.generators["one"]}})


@pytest.mark.parametrize("status", [401, 403])
def test_a_generator_without_access_stops_and_the_other_goes_on(recipe, film, tmp_path, status):
    refused = answer({"error": {"message": "Bad key."}}, status)
    with serving(film, lambda *asked: refused) as closed, serving(film) as open_:
        said = settings(recipe, closed, count=6)
        own = {"one": said.generators["one"], "other": said.generators["one"].model_copy(
            update={"settings": api_settings(open_)}
        )}
        summary = generating.generate(said.model_copy(update={"generators": own}), tmp_path / "out")
    assert dict(summary.counts) == {"made": 3, "waiting": 3}
    assert "one stopped: 127.0.0.1: expected an answer, got status" in str(summary)
    assert summary.spent["videos"] == 3


def test_budgets_are_not_exceeded_in_any_number_of_runs(recipe, film, tmp_path):
    with serving(film) as films:
        said = settings(
            recipe, films, count=8, one={"dollars_per_video": 0.1, "dollars_per_second": 0.2}, budget={"dollars": 1.6}
        )
        summary = generating.generate(said, tmp_path / "out")
        assert dict(summary.counts) == {"made": 3, "left for want of budget": 5}
        assert summary.spent["dollars"] == pytest.approx(1.5)
        again = generating.generate(said, tmp_path / "out")
        assert dict(again.counts) == {"there before": 3, "left for want of budget": 5}
        more = said.model_copy(update={"budget": generating.Budget(dollars=2.0)})
        assert generating.generate(more, tmp_path / "out").counts["made"] == 1
    assert films.paid() == 4


def test_a_dry_run_counts_and_asks_nobody(recipe, tmp_path):
    class Nobody:
        url = "http://127.0.0.1:9"

    one = {"dollars_per_video": 0.1, "dollars_per_second": 0.2, "gpu_seconds_per_video": 1800}
    told = generating.generate(
        settings(recipe, Nobody, count=6, one=one, dry_run=True, budget={"gpu_hours": 2}), tmp_path / "out"
    )
    assert told == (
        "one: 6 videos, 0.00 h, 3.00 dollars, 3.00 GPU hours\n"
        "total: 6 videos, 0.00 h, 3.00 dollars, 3.00 GPU hours\n"
        "over the budget: gpu_hours: 3 of 2"
    )
    assert not (tmp_path / "out").exists()


def run_apart(said, out):
    """The run in a process of its own."""
    code = (
        "import sys; from tdmm_lm.corpus import generate as g; "
        "s = g.Settings.model_validate_json(sys.argv[1]); print(g.generate(s, sys.argv[2]))"
    )
    return subprocess.Popen([sys.executable, "-c", code, said.model_dump_json(), str(out)])


def until(true, seconds=30.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("when", ["asking", "polling"])
def test_a_killed_run_goes_on_and_pays_nothing_twice(recipe, film, tmp_path, when):
    released = threading.Event()

    def faults(what, count, prompt):
        if what == "create" and when == "asking" and not released.is_set():
            return "silent but made"  # the job is begun, and the client is killed before it hears of it
        return answer({"status": "in_progress"}) if what == "poll" and not released.is_set() else None

    out = tmp_path / "out"
    with serving(film, faults) as films:
        said = settings(recipe, films, count=3, one={"at_once": 3, "settings": api_settings(films)})
        process = run_apart(said, out)
        until(lambda: len(films.jobs) == 3)
        if when == "polling":
            until(lambda: (out / "ledger.jsonl").read_text().count('"job"') == 3)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with (out / "ledger.jsonl").open("a") as file:
            file.write('{"id": "half a li')
        released.set()
        assert folder(out) == [] or all(name.startswith(".") for name in folder(out))
        summary = generating.generate(said, out)
    assert dict(summary.counts) == {"made": 3}
    assert films.paid() == 3
    assert summary.spent["videos"] == 3


def test_a_server_without_a_list_is_not_asked_again_unless_told(recipe, film, tmp_path):
    def faults(what, count, prompt):
        if what == "list":
            return answer({}, 404)
        return "silent but made" if (what, count) == ("create", 1) else None

    with serving(film, faults) as films:
        said = settings(recipe, films, count=1, one={"settings": api_settings(films, patience=HASTY)})
        summary = generating.generate(said, tmp_path / "out")
        assert dict(summary.reasons) == {"perhaps_paid": 1}
        assert films.paid() == 1
        said = settings(recipe, films, count=1, one={"settings": api_settings(films, lists=False)})
        assert generating.generate(said, tmp_path / "out").counts["made"] == 1
    assert films.paid() == 2


def test_a_stopped_run_is_taken_up(recipe, film, tmp_path):
    stop, out = threading.Event(), tmp_path / "out"

    def faults(what, count, prompt):
        if what == "poll" and not stop.is_set():
            if count == 3:
                stop.set()
            return answer({"status": "queued"})
        return None

    with serving(film, faults) as films:
        summary = generating.generate(settings(recipe, films), out, stop=stop)
        assert summary.counts["waiting"] >= 3
        begun = films.paid()
        assert generating.generate(settings(recipe, films), out).counts["made"] >= 3
    assert 1 <= begun <= films.paid() == 4


def test_a_job_that_takes_too_long_is_kept_for_the_next_run(recipe, film, tmp_path):
    with serving(film) as films:
        films.polls = 10**9
        said = settings(recipe, films, count=1, one={"settings": api_settings(films, longest_seconds=0.1)})
        assert dict(generating.generate(said, tmp_path / "out").reasons) == {"still_running": 1}
        films.polls = 0
        assert generating.generate(settings(recipe, films, count=1), tmp_path / "out").counts["made"] == 1
    assert films.paid() == 1


def test_finished_videos_from_a_folder_and_what_is_broken_there(recipe, film, tmp_path):
    ready = tmp_path / "ready"
    ready.mkdir()
    own = {"adapter": "folder", "settings": {"folder": str(ready)}}
    said = config.check(generating.Settings, {"prompts": recipe, "count": 4, "generators": {"one": own}}, "test")
    prompts = generating.wanted(said)
    (ready / f"{prompts[0].id}.mp4").write_bytes(film)
    (ready / f"{prompts[1].id}.webm").write_bytes(film[:500])
    summary = generating.generate(said, tmp_path / "out")
    assert dict(summary.counts) == {"made": 1, "failed": 3}
    assert dict(summary.reasons) == {"not_there": 2, "broken_video": 1}
    assert summary.spent["videos"] == 1
    (ready / f"{prompts[1].id}.webm").write_bytes(film)
    assert dict(generating.generate(said, tmp_path / "out").counts) == {"there before": 1, "made": 1, "failed": 2}
    assert folder(tmp_path / "out") == sorted(f"{prompt.id}.mp4" for prompt in prompts[:2])
    gone = said.model_copy(update={"generators": {"one": generating.Generator(
        adapter="folder", settings={"folder": str(tmp_path / "none")}
    )}})
    told = str(generating.generate(gone, tmp_path / "b"))
    assert "one stopped: " in told
    assert "none: expected a folder of videos named by their prompts' ids" in told


def test_parts_share_a_folder(recipe, film, tmp_path):
    with serving(film) as films:
        made = [
            generating.generate(settings(recipe, films, count=5, part=part, parts=2), tmp_path / "out")
            for part in range(2)
        ]
    assert [one.counts["made"] for one in made] == [3, 2]
    assert films.paid() == 5


def test_parts_share_a_budget_however_the_work_is_shared_out(recipe, film, tmp_path):
    def made(parts, budget=5):
        return [
            generating.generate(
                settings(recipe, films, count=8, part=part, parts=parts, budget={"videos": budget}), tmp_path / "out"
            ).counts["made"]
            for part in range(parts)
        ]

    with serving(film) as films:
        assert made(2) == [2, 2]  # of the five each may have two and a half
        assert made(1) == [1]
        assert made(3) == [0, 0, 0]
        assert films.paid() == 5
        assert sum(made(3, budget=8)) == 3
        assert films.paid() == 8


def test_what_another_part_began_is_taken_up(recipe, film, tmp_path):
    with serving(film) as films:
        films.polls = 10**9
        slow = {"settings": api_settings(films, longest_seconds=0.1)}
        begun = generating.generate(settings(recipe, films, count=2, one=slow), tmp_path / "out")
        assert dict(begun.reasons) == {"still_running": 2}
        films.polls = 0
        for part in range(2):
            said = settings(recipe, films, count=2, part=part, parts=2, budget={"videos": 2})
            assert generating.generate(said, tmp_path / "out").counts["made"] == 1
    assert films.paid() == 2


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"generators": {"third": {"adapter": "folder", "settings": {"folder": "x"}}}}, r"\(one, other\), got third"),
        ({"generators": {"one": {"adapter": "magic"}}}, "expected one of folder, videos_api, wan, got 'magic'"),
        ({"generators": {"one": {"adapter": "wan", "settings": {"weights": 1}}}}, "one.settings: .*weights: unknown"),
        ({"generators": {"one": {"adapter": "folder"}}}, "one.settings: folder: expected a value"),
        ({"part": 2, "parts": 2, "generators": {"one": {"adapter": "folder"}}}, "part: expected one of 0 to 1, got 2"),
        ({"generators": {}}, "generators: "),
    ],
)
def test_wrong_recipes_are_refused_before_anything_is_done(recipe, tmp_path, said, line):
    whole = {"prompts": recipe, "count": 2, **said}
    with pytest.raises(ValueError, match=line):
        generating.generate(config.check(generating.Settings, whole, "test"), tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_one_run_a_folder_and_ledgers_are_checked(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.note("a", state="taken", spend={"videos": 1})
        with pytest.raises(ValueError, match=r"ledger\.jsonl: expected to be the only run here"):
            Ledger(path)
        assert ledger.claim("a", "job")
        assert not ledger.claim("b", "job")
        ledger.note("a", job=None)
        assert ledger.claim("b", "job")
    path.write_bytes(path.read_bytes() + b'{"id": "c", "at": 1, "sta')
    with Ledger(path) as ledger:
        assert (ledger.of("a")["state"], ledger.of("c"), ledger.spent) == ("running", {}, {"videos": 1})
        ledger.note("c", state="taken")
    with Ledger(path) as ledger:
        assert ledger.of("c")["state"] == "taken"
    path.write_text("nonsense\n")
    with pytest.raises(ValueError, match=r"ledger\.jsonl: line 1: expected an entry, got b'nonsense'"):
        Ledger(path)


def test_the_bundled_recipe_says_what_it_would_cost(tmp_path):
    said = generating.load("recipes/corpus/generated.yaml")
    told = str(generating.generate(said, tmp_path / "out"))
    assert said.dry_run
    assert "total: 200 videos" in told
    assert told.endswith("within the budget")

"""The client of chat endpoints: patience, budgets and kept answers, against a server that does everything wrong."""

import runpy
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from tdmm_lm import config
from tdmm_lm.corpus.asking import endpoint as endpoints
from tdmm_lm.corpus.asking import patience
from tdmm_lm.corpus.asking.answers import Answers
from tdmm_lm.corpus.asking.budget import Purse, Spent
from tdmm_lm.corpus.asking.endpoint import Endpoint
from tdmm_lm.corpus.asking.patience import Failed, Hopeless, Patience

FAKE = runpy.run_path(str(Path(__file__).resolve().parent / "fake_chat.py"))
serving, error = FAKE["serving"], FAKE["error"]
QUESTION = [{"role": "user", "content": "hello"}]


def opened(chat, folder, waits=None, **said):
    said.setdefault("patience", {"tries": 4, "seconds": 5})
    settings = config.check(endpoints.Settings, {"url": chat.url, "model": "m", **said}, "test")
    return Endpoint(settings, folder / "answers.jsonl", wait=(waits if waits is not None else []).append)


def script(*answers):
    left = list(answers)
    return lambda body: left.pop(0) if len(left) > 1 else left[0]


def test_an_answer_with_the_key_from_the_environment_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "secret")
    with serving(script("hi", "ho")) as chat:
        with opened(chat, tmp_path, key_variable="SOME_KEY", options={"max_tokens": 9, "top_p": 0.5}) as endpoint:
            first = endpoint.ask(QUESTION)
            again = endpoint.ask(QUESTION)
            other = endpoint.ask(QUESTION, turn=1)
        with opened(chat, tmp_path, key_variable="SOME_KEY", options={"max_tokens": 9, "top_p": 0.5}) as endpoint:
            later = endpoint.ask(QUESTION)
    assert first == endpoints.Answer("hi", "stop", "fake-1", 100, 20, kept=False)
    assert (again.text, again.kept, later.text, later.kept, other.text) == ("hi", True, "hi", True, "ho")
    assert chat.asked[0] == {"max_tokens": 9, "top_p": 0.5, "model": "m", "messages": QUESTION}
    assert (len(chat.asked), chat.keys[0]) == (2, "Bearer secret")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (error(429, retry_after="7"), "busy"),
        (error(500), "http_500"),
        (error(503, "x" * 900), "http_503"),
        ((200, {}, b"<html>not json"), "nonsense"),
        ((200, {}, b"[]"), "nonsense"),
        ((200, {}, b'{"choices": []}'), "nonsense"),
        ((200, {}, b'{"choices": [{"message": {"content": 3}}]}'), "nonsense"),
        ((200, {"content-length": "999"}, b"{}"), "timed_out"),
        (0.0, "cut_off"),
    ],
)
def test_faults_are_tried_again_and_then_counted_by_reason(tmp_path, fault, reason):
    said = {"patience": {"tries": 3, "seconds": 0.3 if reason == "timed_out" else 5}}
    with serving(script(fault, "hi")) as chat, opened(chat, tmp_path, waits := [], **said) as endpoint:
        assert endpoint.ask(QUESTION).text == "hi"
    assert len(waits) == 1
    with (
        serving(script(fault)) as chat, opened(chat, tmp_path / "b", waits := [], **said) as endpoint,
        pytest.raises(Failed) as failure,
    ):
        endpoint.ask(QUESTION)
    assert failure.value.reason == reason
    assert len(str(failure.value)) < 300
    assert (len(chat.asked), len(waits)) == (3, 2)
    if reason == "busy":
        assert min(waits) >= 7


def test_a_silent_server_times_out_and_counts_as_paid(tmp_path):
    with serving(lambda body: 3) as chat:
        begun = time.monotonic()
        settings = {"patience": {"tries": 2, "seconds": 0.2}, "options": {"max_tokens": 50}}
        with opened(chat, tmp_path, **settings) as endpoint, pytest.raises(Failed, match="timed_out"):
            endpoint.ask(QUESTION)
        assert time.monotonic() - begun < 2
    assert endpoint.purse.spent["requests"] == 2
    assert endpoint.purse.spent["tokens"] == 2 * (16 + 5 + 50)


def test_nobody_there(tmp_path):
    with serving(script("hi")) as chat:
        pass
    with opened(chat, tmp_path, give_up_after=2) as endpoint:
        with pytest.raises(Failed, match=r"unreachable: .* could not be reached"):
            endpoint.ask(QUESTION)
        with pytest.raises(Hopeless, match="got 2 requests in a row without one; start again when it is well"):
            endpoint.ask(QUESTION, turn=1)
    assert endpoint.purse.spent["tokens"] == 0


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_no_request_can_mend_stops_at_once(tmp_path, status):
    line = f"got status {status}: Bad key. Check the address, model and key"
    with (
        serving(script(error(status, "Bad key."))) as chat, opened(chat, tmp_path) as endpoint,
        pytest.raises(Hopeless, match=line),
    ):
        endpoint.ask(QUESTION)
    assert len(chat.asked) == 1
    with (
        serving(script(error(429, "Pay.", "insufficient_quota"))) as chat, opened(chat, tmp_path) as endpoint,
        pytest.raises(Hopeless, match="status 429: Pay"),
    ):
        endpoint.ask(QUESTION)
    assert len(chat.asked) == 1


def test_a_request_that_is_refused_is_not_asked_again(tmp_path):
    with serving(script(error(400, "Too long."))) as chat, opened(chat, tmp_path, give_up_after=2) as endpoint:
        for turn in range(3):  # the row's fault, so that the endpoint is not given up
            with pytest.raises(Failed, match="http_400: Too long"):
                endpoint.ask(QUESTION, turn=turn)
    assert len(chat.asked) == 3


def test_no_budget_is_ever_exceeded_and_what_was_spent_outlives_the_run(tmp_path):
    with serving(script("hi")) as chat:
        with opened(chat, tmp_path, budget={"requests": 3}) as endpoint:
            for turn in range(3):
                endpoint.ask(QUESTION, turn=turn)
            with pytest.raises(Spent, match="budget: requests: 3 of 3 are spent"):
                endpoint.ask(QUESTION, turn=3)
            assert endpoint.ask(QUESTION, turn=0).kept
        with opened(chat, tmp_path, budget={"requests": 3}) as endpoint, pytest.raises(Spent):
            endpoint.ask(QUESTION, turn=3)
        assert len(chat.asked) == 3
        price = {"dollars_per_million_in": 10, "dollars_per_million_out": 100, "options": {"max_tokens": 50}}
        # an answer takes 100 tokens in and 20 out: .003 dollars; at most 21 and 50: .00521 must be left
        with opened(chat, tmp_path / "b", budget={"dollars": 0.0115}, **price) as endpoint:
            for turn in range(3):
                endpoint.ask(QUESTION, turn=turn)
            with pytest.raises(Spent, match=r"dollars: 0\.009 of 0\.0115 are spent, the next step may take 0\.00521"):
                endpoint.ask(QUESTION, turn=3)
            assert endpoint.purse.spent == pytest.approx({"requests": 3, "tokens": 360, "dollars": 0.009})


def test_a_budget_holds_among_threads(tmp_path):
    with serving(script("hi")) as chat, opened(chat, tmp_path, budget={"requests": 10}) as endpoint:

        def ask(turn):
            try:
                return endpoint.ask(QUESTION, turn=turn).text
            except Spent:
                return "spent"

        made = list(endpoints.each(ask, range(40), 8))
    assert [turn for turn, _ in made] == list(range(40))
    assert sorted(text for _, text in made) == ["hi"] * 10 + ["spent"] * 30
    assert len(chat.asked) == 10


def test_what_is_asked_twice_at_the_same_time_is_paid_once(tmp_path):
    both = threading.Barrier(2)  # different questions do not wait for each other

    def answer(body):
        both.wait(30)
        return "hi"

    said = {"patience": {"tries": 1, "seconds": 40}}
    with serving(answer) as chat, opened(chat, tmp_path, **said) as endpoint:
        made = list(endpoints.each(lambda turn: endpoint.ask(QUESTION, turn=turn), [0, 0, 0, 1], 4))
        assert [answer.text for _, answer in made] == ["hi"] * 4
        assert sorted(answer.kept for _, answer in made) == [False, False, True, True]
        assert len(chat.asked) == 2
        assert len(endpoint._answers._asking) == 0


def test_who_waited_for_an_answer_that_failed_asks_itself(tmp_path):
    faults = [error(400, "No.")]

    def answer(body):
        time.sleep(0.2)
        return faults.pop() if faults else "hi"

    def ask(_):
        try:
            return endpoint.ask(QUESTION).text
        except Failed as failure:
            return failure.reason

    with serving(answer) as chat, opened(chat, tmp_path) as endpoint:
        made = [said for _, said in endpoints.each(ask, range(3), 3)]
    assert sorted(made) == ["hi", "hi", "http_400"]
    assert len(chat.asked) == 2


def test_a_budget_holds_for_the_request_that_is_sent(tmp_path):
    said = {"options": {"max_tokens": 50}, "budget": {"tokens": 100}}
    with serving(script("hi")) as chat, opened(chat, tmp_path, **said) as endpoint:
        for longer in ({"max_tokens": 80}, {"max_completion_tokens": 80}):
            with pytest.raises(Spent, match="tokens: 0 of 100 are spent, the next step may take 101"):
                endpoint.ask(QUESTION, options=longer)
        with pytest.raises(ValueError, match="options: expected max_completion_tokens or max_tokens, a whole number"):
            endpoint.ask(QUESTION, options={"max_tokens": None})
    assert chat.asked == []


def test_a_bound_under_either_name():
    for options in ({"max_completion_tokens": None, "max_tokens": 5}, {"max_completion_tokens": 5}):
        assert endpoints.Settings(model="m", options=options).longest == 5


def test_many_at_once_and_no_more():
    lock, running, most = threading.Lock(), 0, 0

    def work(item):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        if item == 30:
            raise Hopeless("stop.")
        return item * 2

    taken = []

    def items():
        for item in range(1000):
            taken.append(item)
            yield item

    made = []
    with pytest.raises(Hopeless):
        made.extend(result for _, result in endpoints.each(work, items(), 4))
    assert made == [2 * item for item in range(30)]
    assert most == 4
    assert len(taken) <= 30 + 4 * 4 + 1, "what is not needed yet is not taken"


def test_pauses_grow_with_chance_and_keep_to_what_servers_ask():
    said = Patience(first_pause_seconds=1, longest_pause_seconds=10)
    assert [patience.pause(said, n, None, lambda: 1.0) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]
    assert [patience.pause(said, n, None, lambda: 0.0) for n in (1, 2)] == [0.5, 1]
    assert patience.pause(said, 1, 30.0, lambda: 0.0) == 30
    assert patience.retry_after("12") == 12
    assert patience.retry_after(formatdate(1000, usegmt=True), now=990) == 10
    assert patience.retry_after(formatdate(1000, usegmt=True), now=2000) == 0
    assert patience.retry_after("soon") is None
    assert patience.retry_after(None) is None


def test_a_server_that_asks_for_hours_is_not_waited_for(tmp_path):
    with (
        serving(script(error(429, retry_after="7200"))) as chat, opened(chat, tmp_path, waits := []) as endpoint,
        pytest.raises(Failed, match="busy"),
    ):
        endpoint.ask(QUESTION)
    assert waits == []


def test_a_purse_gives_back():
    purse = Purse({"dollars": 1.0}, {"dollars": 0.25})
    taken = purse.take({"dollars": 0.75})
    with pytest.raises(Spent):
        purse.take({"dollars": 0.01})
    purse.settle(taken, {"dollars": 0.5})
    assert purse.spent["dollars"] == 0.75


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"options": {}}, "options: expected max_completion_tokens or max_tokens"),
        ({"options": {"max_tokens": -1}}, "options: expected max_completion_tokens or max_tokens"),
        ({"options": {"max_tokens": 5, "stream": True}}, "expected none of stream"),
        ({"modell": "x"}, "modell: unknown key"),
    ],
)
def test_wrong_settings(said, line):
    with pytest.raises(ValueError, match=line):
        config.check(endpoints.Settings, {"model": "m", **said}, "test")


def test_wrong_places(tmp_path):
    with pytest.raises(ValueError, match=r"url: expected http://\.\.\. or https://\.\.\., got 'localhost:80'"):
        Endpoint(endpoints.Settings(url="localhost:80", model="m"), tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match=r"url: expected an address such as .*, got 'http://127\.0\.0\.1:80o0/v1' \("):
        Endpoint(endpoints.Settings(url="http://127.0.0.1:80o0/v1", model="m"), tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_bytes(b"no database at all, but longer than its head would be" * 30)
    with pytest.raises(ValueError, match=r"b\.jsonl: expected a file of kept answers, got something else"):
        Answers(tmp_path / "b.jsonl")


def test_a_line_that_was_cut_is_taken_back_and_the_rest_is_kept(tmp_path):
    path = tmp_path / "answers.jsonl"
    for cut in (1, 4, 30, None):
        path.unlink(missing_ok=True)
        answers = Answers(path)
        answers.put("a", {"text": "one"})
        answers.add({"tokens": 5.0})
        with pytest.raises(ValueError, match="another has it open"):
            Answers(path)
        beside = Answers(path, reading=True)
        assert beside.get("a") == {"text": "one"}
        beside.close()
        answers.close()
        whole = path.read_bytes()
        path.write_bytes(whole + b'{"key": "b", "answer": {"text": "two"}}\n'[:-1][:cut])
        answers = Answers(path)
        answers.put("c", {"text": "three"})
        assert (answers.get("a"), answers.get("b"), answers.get("c")) == ({"text": "one"}, None, {"text": "three"})
        assert answers.spent() == {"tokens": 5.0}
        answers.close()
        again = Answers(path)
        assert (again.get("a"), again.get("c")) == ({"text": "one"}, {"text": "three"})
        again.close()
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl: expected a file of kept answers, found none"):
        Answers(tmp_path / "none.jsonl", reading=True)

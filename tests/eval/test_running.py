"""A suite from the first question to the report, against hand-made endpoints that see with the instruments' eyes."""

import base64
import itertools
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from tdmm_lm import config, verbs
from tdmm_lm.corpus import caption, labels, prompts
from tdmm_lm.corpus.perform import perform
from tdmm_lm.eval import comparing, running, suites
from tdmm_lm.eval.suites import LeftOut, l2m
from tdmm_lm.formats import npz
from tdmm_lm.observe import run as observing
from tdmm_lm.rigs import load as rig

FAKE = runpy.run_path(str(Path(__file__).resolve().parents[1] / "corpus" / "fake_chat.py"))
serving, completion = FAKE["serving"], FAKE["completion"]
SUITES = Path(__file__).resolve().parents[2] / "eval" / "suites"


def watcher(tmp_path):
    """An endpoint that describes a file as the instruments see it."""
    def answer(body):
        data = base64.b64decode(body["messages"][0]["content"][0]["file"]["file_data"])
        path = tmp_path / f"{abs(hash(data))}.npz"
        path.write_bytes(data)
        seen = labels.of_observation(observing.run(npz.read(path), rig("head")))
        return caption.describe(seen, np.random.default_rng(0), "full")

    return answer


def grading(body):
    values = {}
    for axis in ("expression", "motion", "intensity"):
        values |= {f"{axis}_reason": "as the reference has it", axis: 4 if axis == "motion" else 5}
    return json.dumps(values)


def suite(name, *changes, url, judges=()):
    return running.load(
        SUITES / f"{name}.yaml",
        ["endpoint.patience={tries: 1, seconds: 10}", *changes], endpoint=f"{url}#fake",
        judges=[f"{one}#judge" for one in judges],
    )


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """A finished run of m2l with one judge: its folder and what was printed."""
    folder = tmp_path_factory.mktemp("m2l")
    with serving(watcher(folder)) as chat, serving(grading) as judge:
        told, missed = verbs.evaluate(
            SUITES / "m2l.yaml", folder / "out", ["data.n=8", "resamples=50", "thresholds={family: {least: 0.2}}"],
            endpoint=f"{chat.url}#fake", judges=[f"{judge.url}#judge"],
        )
        asked = len(chat.asked), len(judge.asked)
    return folder / "out", told, missed, asked


def test_every_file_of_a_report_is_there(described):
    out, told, missed, asked = described
    assert asked == (8, 8)
    assert missed == []
    for name in ("results.json", "samples.jsonl", "table.md", "table.tex", "report.html", "calls.jsonl", "run.json",
                 "figs/figures.png", "figs/figures.pdf", "figs/confusion.png", "figs/judges.pdf", "figs/length.png"):
        assert (out / name).stat().st_size > 100, name
    assert len(list((out / "media").glob("*.mp4"))) == 8
    results = json.loads((out / "results.json").read_text())
    assert (results["schema"], results["n"], results["model"], results["faults"]) == (1, 8, "fake", {})
    assert results["columns"]["family"]["value"] >= 0.5  # the instruments name the strongest expression
    assert results["columns"]["contradictions"]["value"] < 1
    assert results["judges"]["judge1"]["axes"]["motion"]["value"] == 4
    assert "judge not validated" in results["judges"]["judge1"]["banner"]
    assert "judge not validated" in told
    assert "2.45" in told  # what Gemini was given in the paper
    page = (out / "report.html").read_text()
    assert "judge not validated" in page
    assert page.count("<video") == 8


def test_offline_makes_the_same_results_bit_for_bit_and_asks_nothing(described, tmp_path):
    out = described[0]
    before = (out / "results.json").read_bytes(), (out / "samples.jsonl").read_bytes()
    settings = json.loads((out / "settings.json").read_text())
    assert settings["endpoint"]["model"] == "fake"
    url = settings["endpoint"]["url"]  # nobody listens there any more
    verbs.evaluate(
        SUITES / "m2l.yaml", out, ["data.n=8", "resamples=50"], endpoint=f"{url}#fake",
        judges=[f"{settings['judges'][0]['endpoint']['url']}#judge"], offline=True,
    )
    after = (out / "results.json").read_bytes(), (out / "samples.jsonl").read_bytes()
    known = json.loads(before[0]), json.loads(after[0])
    for one in known:
        one["settings"].pop("thresholds")
    assert known[0] == known[1]
    assert before[1] == after[1]


def test_a_folder_holds_one_run(described):
    with pytest.raises(ValueError, match="expected the suite, data and seed that were run there before"):
        verbs.evaluate(SUITES / "m2l.yaml", described[0], ["data.n=8", "seed=1"], endpoint="http://127.0.0.1:9/v1#fake")


def test_offline_without_answers(tmp_path):
    with pytest.raises(ValueError, match="expected the answers of a run for --offline"):
        verbs.evaluate(SUITES / "m2l.yaml", tmp_path, [], endpoint="http://127.0.0.1:9/v1#fake", offline=True)


def test_a_threshold_that_is_missed(tmp_path):
    with serving(lambda body: "nothing to see") as chat:
        settings = suite("m2l", "data.n=2", "thresholds={family: {least: 0.9}, words: {most: 9}}", url=chat.url)
        made = running.run(settings, tmp_path)
    lines = running.missed({"family": 0.0, "words": 3.0}, settings.thresholds)
    assert lines == ["family: expected at least 0.9, got 0."]
    with pytest.raises(ValueError, match=r"thresholds\.famly: expected one of family"):
        running.missed({"family": 0.0}, {"famly": settings.thresholds["family"]})
    assert [one.columns["family"] for one in made.samples] == [0.0, 0.0]


def test_faults_are_counted_and_the_others_go_on(tmp_path):
    answers = iter(["", "a man smiles", (500, {}, b"{}"), (429, {}, b"{}"), (200, {}, b"<html>"), "he nods"])
    with serving(lambda body: next(answers)) as chat:
        settings = suite("m2l", "data.n=6", "endpoint.at_once=1", url=chat.url)
        made = running.run(settings, tmp_path)
    assert [one.answer.fault for one in made.samples] == ["empty", "", "http_500", "busy", "nonsense", ""]
    assert all(len(one.columns) == len(made.suite.COLUMNS) for one in made.samples)


def test_a_model_is_asked_for_where_it_is_not_named(tmp_path):
    with pytest.raises(ValueError, match=r"/models: expected a list with a model"):
        verbs.evaluate(
            SUITES / "m2l.yaml", tmp_path, ["endpoint.patience={tries: 1, seconds: 1}"],
            endpoint="http://127.0.0.1:9/v1",
        )


def test_a_judge_needs_a_prompt(tmp_path):
    with pytest.raises(ValueError, match="judge_prompt: expected a file of eval/judges"):
        running.load(SUITES / "robustness.yaml", [], endpoint="http://x/v1#m", judges=["http://y/v1#m"])


def test_dry_run_asks_nothing_and_says_the_cost(tmp_path):
    told, _ = verbs.evaluate(
        SUITES / "m2l.yaml", tmp_path / "o", ["data.n=3", "endpoint.dollars_per_million_out=10"],
        endpoint="http://127.0.0.1:9/v1#m", judges=["http://127.0.0.1:9/v1#j"], dry_run=True,
    )
    assert "model (http://127.0.0.1:9/v1): 3 requests" in told
    assert "nothing was asked" in told
    assert "0.02 at most" in told  # 3 x 512 tokens at 10 dollars a million
    assert not (tmp_path / "o").exists()


def test_the_most_that_a_run_may_cost(tmp_path):
    with serving(lambda body: "a man smiles") as chat:
        settings = suite(
            "m2l", "data.n=4", "endpoint.at_once=1", "endpoint.dollars_per_million_out=1000",
            "endpoint.options={max_tokens: 1000}", url=chat.url,
        )
        made = running.run(settings, tmp_path, max_dollars=1.03)  # a dollar is set aside, .02 of it are used
    assert [one.answer.fault for one in made.samples] == ["", "", "budget", "budget"]
    assert len(chat.asked) == 2


def test_ids_that_come_twice_are_asked_once_and_counted(tmp_path, monkeypatch):
    settings = suite("m2l", "data.n=3", url="http://127.0.0.1:9/v1")
    kind, data = running.suite_of(settings)
    items = list(kind.items(data, 0))
    monkeypatch.setattr(kind, "items", lambda data, seed: iter([*items, items[1]]))
    found = running.taken(kind, data, 0, None)
    assert (len(found.items), found.twice, found.left_out) == (3, (items[1].id,), ())
    assert [one.id for one in running.taken(kind, data, 0, 2).items] == [one.id for one in items[:2]]
    monkeypatch.setattr(kind, "items", lambda data, seed: iter([]))
    with pytest.raises(ValueError, match=r"expected at least one sample, found none\.$"):
        running.taken(kind, data, 0, None)
    monkeypatch.setattr(kind, "items", lambda data, seed: iter([LeftOut("film.mp4", "no face")]))
    with pytest.raises(ValueError, match=r"found none; left out: film\.mp4: no face$"):
        running.taken(kind, data, 0, None)


def test_what_is_left_out_is_counted_and_said(tmp_path, monkeypatch):
    settings = suite("m2l", "data.n=2", url="http://127.0.0.1:9/v1")
    kind, data = running.suite_of(settings)
    items = list(kind.items(data, 0))
    monkeypatch.setattr(kind, "items", lambda data, seed: iter([items[0], LeftOut("film.mp4", "no face"), items[1]]))
    with serving(watcher(tmp_path)) as chat:
        verbs.evaluate(SUITES / "m2l.yaml", tmp_path / "o", ["data.n=2"], endpoint=f"{chat.url}#fake")
    results = json.loads((tmp_path / "o" / "results.json").read_text())
    assert results["n"] == 2
    assert results["left_out"] == {"film.mp4": "no face"}
    for name in ("table.md", "report.html"):
        assert "Left out, not asked about: film.mp4: no face" in (tmp_path / "o" / name).read_text()


def test_one_sample_has_figures_without_intervals(tmp_path):
    with serving(watcher(tmp_path)) as chat:
        verbs.evaluate(SUITES / "m2l.yaml", tmp_path / "o", ["data.n=1"], endpoint=f"{chat.url}#fake")
    results = json.loads((tmp_path / "o" / "results.json").read_text())
    assert results["columns"]["family"]["interval"] is None
    assert results["columns"]["family"]["reason"]
    assert "nan" not in (tmp_path / "o" / "results.json").read_text().lower()


def test_motion_tokens_of_an_engine_are_decoded_and_measured(tmp_path):
    from tdmm_lm import bundle, codec
    from tdmm_lm.lm import vocab

    network, head = codec.load(bundle.path("assets/lm/codec_face")), rig("head")
    settings = suite("l2m", "data.n=4", "data.swaps=2", "resamples=20", url="http://127.0.0.1:9/v1")
    kind, data = running.suite_of(settings)
    said = {}
    for item in kind.items(data, 0):
        clip = item.clip if item.clip is not None else None
        if clip is None:  # of pairs: a performance of the word that is asked for
            score = prompts.sample(int(item.id.split("-")[1]), split="test", word=item.truth.word, seconds=4.0)
            clip = perform(score)
        said[item.messages[0]["content"]] = vocab.text(codec.tokenize(network, clip, head))
    with serving(lambda body: said[body["messages"][0]["content"]]) as chat:
        made = running.run(suite("l2m", "data.n=4", "data.swaps=2", url=chat.url), tmp_path)
    assert all(one.columns["answered"] == 1 for one in made.samples)
    assert all(one.columns["seconds_off"] == 0 for one in made.samples)
    distances = [one.columns["expression_l2"] for one in made.samples[:4]]
    assert max(distances) < 1.0
    assert [one.columns["expression_l2"] for one in made.samples[4:]] == [None] * 4
    figures = kind.sets([one.item for one in made.samples], [one.answer for one in made.samples], data)
    assert set(figures) == {"fd", "swap_followed"}
    assert 0 <= figures["swap_followed"](np.arange(8)) <= 1


def test_broken_tokens_are_a_fault(tmp_path):
    with serving(lambda body: "<|face|><|face_0_001|>") as chat:
        made = running.run(suite("l2m", "data.n=2", "data.swaps=0", url=chat.url), tmp_path)
    assert [one.answer.fault for one in made.samples] == ["broken_tokens"] * 2
    assert [one.columns["answered"] for one in made.samples] == [0.0, 0.0]


def test_pairs_differ_in_one_word():
    found = [pair for pair in map(l2m.swapped, range(400)) if pair]
    assert len(found) > 20
    for (one, a), (other, b) in found:
        words, others = one.split(), other.split()
        same = [pair for pair in zip(words, others) if pair[0] == pair[1]]
        assert len(same) >= min(len(words), len(others)) - 1 or len(words) != len(others)
        assert a.family != b.family
        assert (caption.parse(one).family, caption.parse(other).family) == (a.family, b.family), (one, other)


def test_judges_beside_people_and_beside_each_other(tmp_path):
    """Two judges that grade by different rules; people agree with the first."""
    def grade_of(text, shift):
        return 1 + zlib.crc32(f"{shift} {text}".encode()) % 5

    def judging(shift):
        def answer(body):
            text = body["messages"][1]["content"].split("CANDIDATE ")[1].split("\n")[1]
            values = {}
            for axis in ("expression", "motion", "intensity"):
                values |= {f"{axis}_reason": "it is so", axis: grade_of(text, shift)}
            return json.dumps(values)

        return answer

    texts = iter(f"the person smiles at number {i}" for i in range(100))
    with serving(lambda body: next(texts)) as chat, serving(judging(0)) as one, serving(judging(1)) as other:
        arguments = {"endpoint": f"{chat.url}#fake", "judges": [f"{one.url}#one", f"{other.url}#two"]}
        changes = ["data.n=30", "endpoint.at_once=1", "resamples=200"]
        verbs.evaluate(SUITES / "m2l.yaml", tmp_path / "o", changes, **arguments)
        rows = [json.loads(line) for line in (tmp_path / "o" / "samples.jsonl").read_text().splitlines()]
        lines = ["id,axis,rater,score"]
        for row in rows:
            for axis, rater in itertools.product(("expression", "motion", "intensity"), ("ann", "bob")):
                lines.append(f"{row['id']},{axis},{rater},{row['judges']['judge1']['scores'][axis]}")
        lines.append("somebody-else,motion,ann,3")
        (tmp_path / "people.csv").write_text("\n".join(lines) + "\n")
        asked = len(one.asked)
        told, _ = verbs.evaluate(
            SUITES / "m2l.yaml", tmp_path / "o", [*changes, f"people={tmp_path / 'people.csv'}"], **arguments
        )
        assert len(one.asked) == asked  # people's grades change nothing that was asked
    results = json.loads((tmp_path / "o" / "results.json").read_text())
    good, bad = results["judges"]["judge1"], results["judges"]["judge2"]
    assert good["with_people"]["expression"]["kappa"]["value"] == 1
    assert good["banner"] == ""
    assert results["people"] == {"raters": 2, "ratings": 180, "of_other_samples": 1}
    assert "People: 2 raters, 180 ratings, 1 of_other_samples" in told
    assert bad["with_people"]["expression"]["kappa"]["value"] < 0.5
    assert "judge not validated" in bad["banner"]
    assert "judge2: judge not validated" in told
    assert results["agreement"]["expression"]["judges"] == ["judge1", "judge2"]
    assert abs(results["agreement"]["expression"]["alpha_ordinal"]["value"]) < 0.5
    assert (tmp_path / "o" / "figs" / "agreement.png").is_file()
    some = "\n".join([lines[0], *(line for line in lines[1:] if "expression" in line)])
    for text, line in (
        ("id,axis,rater,score\nx,expression,ann,good\n", r"people\.csv: line 2: score: expected a number, got 'good'"),
        ("id,axis,rater,score\nx,expression,ann,nan\n", r"line 2: score: expected 1 to 5, got 'nan'"),
        ("id,axis,rater,score\nx,expression,ann,9\n", r"line 2: score: expected 1 to 5, got '9'"),
        (f"{lines[0]}\n{lines[1]}\n{lines[1]}\n", r"line 3: expected one grade a rater, sample and axis"),
        ("", r"expected the columns id, axis, rater, score, got None"),
        ("\x00\xff" * 9, r"expected the columns id, axis, rater, score"),
        (some, None),
    ):
        (tmp_path / "people.csv").write_text(text)
        again = [*changes, f"people={tmp_path / 'people.csv'}"]
        if line is not None:
            with pytest.raises(ValueError, match=line):
                verbs.evaluate(SUITES / "m2l.yaml", tmp_path / "o", again, **arguments, offline=True)
            continue
        verbs.evaluate(SUITES / "m2l.yaml", tmp_path / "o", again, **arguments, offline=True)
        found = json.loads((tmp_path / "o" / "results.json").read_text())["judges"]["judge1"]["banner"]
        assert "expression" not in found  # one axis was checked, the others were not
        assert found.count("judge not validated") == 2
    with pytest.raises(FileNotFoundError, match=r"none\.csv: expected people's grades"):
        verbs.evaluate(
            SUITES / "m2l.yaml", tmp_path / "o", [*changes, f"people={tmp_path / 'none.csv'}"], **arguments,
            offline=True,
        )


def test_two_runs_side_by_side(described, tmp_path):
    out = described[0]
    with serving(lambda body: "the person smiles slightly, blinks twice and is silent") as chat:
        verbs.evaluate(SUITES / "m2l.yaml", tmp_path / "b", ["data.n=8", "resamples=50"], endpoint=f"{chat.url}#other")
    told = verbs.compare(out, tmp_path / "b", tmp_path / "ab")
    result = json.loads((tmp_path / "ab" / "compare.json").read_text())
    assert (result["n"], result["a"], result["b"]) == (8, "fake", "other")
    assert result["columns"]["family"]["difference"]["value"] < 0
    assert "p, Holm" in told
    assert "\\toprule" in (tmp_path / "ab" / "table.tex").read_text()
    with pytest.raises(FileNotFoundError, match="expected a finished run"):
        comparing.compare(out, tmp_path)
    rows = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    rows[0]["judges"]["judge1"] |= {"scores": {}, "fault": "prose"}
    shutil.copytree(out, tmp_path / "c")
    (tmp_path / "c" / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = comparing.compare(out, tmp_path / "c")["columns"]
    assert found["judge1.motion"]["difference"]["n"] == 7  # a grade that is missing takes its own sample away alone
    for text in ("", "{", "[]\n", '{"id": "x"}\n'):
        (tmp_path / "c" / "samples.jsonl").write_text(text)
        with pytest.raises(ValueError, match=r"expected (results\.json and samples|samples that)"):
            comparing.compare(out, tmp_path / "c")


@pytest.mark.slow
def test_killed_five_times_and_resumed_it_pays_for_nothing_twice(tmp_path):
    """The same results as undisturbed, and every question asked once."""
    command = [
        sys.executable, "-m", "tdmm_lm", "eval", "run", str(SUITES / "m2l.yaml"), "data.n=24", "resamples=50",
        "endpoint.at_once=2",
    ]
    watch = watcher(tmp_path)

    def slowly(body):
        time.sleep(0.25)
        return watch(body)

    found = {}
    for name, kills in (("calm", 0), ("killed", 5)):
        with serving(slowly) as chat, serving(grading) as judge:
            run = [
                *command, "--endpoint", f"{chat.url}#fake", "--judge", f"{judge.url}#judge", "-o", str(tmp_path / name),
            ]
            rng = np.random.default_rng(5)
            for _ in range(kills):
                quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
                process = subprocess.Popen(run, start_new_session=True, **quiet)
                time.sleep(float(rng.uniform(5, 9)))
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
            results = json.loads((tmp_path / name / "results.json").read_text())
            for asked in (results["settings"]["endpoint"], results["settings"]["judges"][0]["endpoint"]):
                asked.pop("url")
            questions = [json.dumps(body, sort_keys=True) for body in [*chat.asked, *judge.asked]]
            found[name] = results, len(questions), len(set(questions))
    assert found["calm"][0] == found["killed"][0]
    assert found["calm"][1:] == (48, 48)
    # a question that was under way when the process died was not answered to anybody: at most two a kill
    assert found["killed"][2] == 48
    assert found["killed"][1] <= 48 + 2 * 5


def test_a_module_that_is_no_suite():
    settings = suite("m2l", url="http://x/v1").model_copy(update={"suite": "os.path"})
    with pytest.raises(ValueError, match=r"suite: expected a module with Data, .* os\.path lacks Data"):
        running.suite_of(settings)


def test_every_suite_reads_and_keeps_the_contract():
    names = suites.NAMES
    for name in config.known("eval.suites"):
        kind = config.find("eval.suites", name)
        assert all(one in vars(kind) for one in names), name
        assert (SUITES / f"{name}.yaml").is_file(), name
    for path in SUITES.glob("*.yaml"):
        settings = running.load(path, [], endpoint="http://x/v1#m")
        running.suite_of(settings)
        text = path.read_text()
        assert text.startswith("# "), path
        assert "tdmm eval run" in text, path

"""The suites' own figures: perfect answers are perfect, wrong ones are not, and the papers' pairs hold together."""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from tdmm_lm import config
from tdmm_lm.corpus import caption, labels, prompts
from tdmm_lm.corpus.perform import perform
from tdmm_lm.eval import presenting, reading_answers, summaries, tables, texts
from tdmm_lm.eval.suites import Answered, LeftOut, codec, l2m, m2l, robustness
from tdmm_lm.metrics import measure
from tdmm_lm.motion import MotionClip

FAKE = runpy.run_path(str(Path(__file__).resolve().parents[1] / "corpus" / "fake_chat.py"))
serving = FAKE["serving"]


def described(n=6):
    return list(m2l.items(m2l.Data(n=n), 0))


def test_the_exact_description_is_right_in_every_column():
    data = m2l.Data(n=12)
    for item in m2l.items(data, 0):
        found = m2l.scored(item, Answered(item.reference, tokens_in=130), data)
        assert found["contradictions"] == 0, item.reference
        shares = {name: value for name, value in found.items() if m2l.COLUMNS[name].unit == "share"}
        wrong = [name for name, value in shares.items() if value not in (1.0, None)]
        assert wrong == [], item.reference
        assert found["tokens_per_second"] == 130 / item.truth[0].seconds


def test_another_description_is_wrong():
    items = described(8)
    data = m2l.Data(n=8)
    found = [m2l.scored(item, Answered("the person winks, nods four times and glances up"), data) for item in items]
    assert np.mean([one["family"] for one in found]) < 0.3
    assert sum(one["contradictions"] for one in found) > 8


def test_a_missing_description_has_nothing_right():
    item, = described(1)
    found = m2l.scored(item, Answered(fault="http_500"), m2l.Data())
    assert found["blinks_within_1"] == found["speech_within_10"] == 0
    assert found["words"] == 0


def test_baselines_ask_nobody():
    items = described(5)
    constant = {m2l.local(item, m2l.Data(baseline="constant")).text for item in items}
    assert len(constant) == 1
    near = m2l.local(items[0], m2l.Data(baseline="nearest")).text
    assert caption.parse(near).family is not None
    assert m2l.local(items[0], m2l.Data()) is None


def test_caption_metrics_are_those_of_the_metrics_folder():
    items = described(6)
    said = [item.truth[1][0].replace("nods", "shakes") if i % 2 else "a man smiles" for i, item in enumerate(items)]
    references = [list(item.truth[1]) for item in items]
    drawn = texts.drawn(said, references, ("bleu_1", "bleu_4", "rouge_l", "cider"))
    for name, function in drawn.items():
        assert function(np.arange(6)) == pytest.approx(measure(name, said, references).value, rel=1e-9), name
    again = texts.drawn([said[0]] * 2, [references[0]] * 2, ("bleu_1",))["bleu_1"]
    assert drawn["bleu_1"](np.array([0, 0])) == pytest.approx(again(np.arange(2)), rel=1e-12)


@pytest.mark.parametrize("way", ["file", "tokens", "sheet"])
def test_ways_to_present_a_motion(way):
    from tdmm_lm import bundle
    from tdmm_lm import codec as codecs

    clip = perform(prompts.sample(0, split="test", seconds=2.0))
    network = codecs.load(bundle.path("assets/lm/codec_face"))
    part, = presenting.parts(clip, way, network)
    assert part["type"] == {"file": "file", "tokens": "text", "sheet": "image_url"}[way]
    if way == "tokens":
        back = reading_answers.of_tokens(part["text"])
        assert back.frames == 50
        with pytest.raises(ValueError, match="expected the folder of the codec"):
            presenting.parts(clip, "tokens")
    assert presenting.parts(clip, way, network) == [part]  # the same question has the same hash


def test_the_exact_performance_of_a_prompt_is_what_was_asked_for():
    data = l2m.Data(n=10, swaps=0)
    items = list(l2m.items(data, 0))
    found = [l2m.scored(item, Answered("", item.clip), data) for item in items]
    assert all(one["expression_l2"] == one["pose_l2"] == one["seconds_off"] == 0 for one in found)
    assert np.mean([one["family"] for one in found]) >= 0.9
    assert np.mean([one["gesture"] for one in found]) >= 0.9
    sets = l2m.sets(items, [Answered("", item.clip) for item in items], data)
    assert sets["fd"](np.arange(10)) == pytest.approx(0, abs=1e-6)
    others = [Answered("", items[(i + 1) % 10].clip) for i in range(10)]
    assert np.mean([l2m.scored(a, b, data)["family"] for a, b in zip(items, others)]) < 0.6
    none = l2m.scored(items[0], Answered(fault="busy"), data)
    assert (none["answered"], none["family"], none["gesture"], none["expression_l2"]) == (0, 0, 0, None)


def test_transitions_are_found_in_their_order():
    data = l2m.Data(n=1)
    hits = []
    for seed in range(200):
        score = prompts.sample(seed, split="test", seconds=5.0)
        known = labels.of_score(score)
        if len(known.shown) == 2 and known.shown[0].family != known.shown[1].family:
            item = l2m._item("x", "x", caption.prompt(known, np.random.default_rng(0), split="test"), known, None, data)
            forward = l2m.scored(item, Answered("", perform(score)), data)["transition"]
            backward = l2m.in_order(Answered("", perform(score)).seen, [shown.family for shown in known.shown[::-1]])
            hits.append((forward, backward))
    forward, backward = np.mean(hits, 0)
    assert forward > 0.8
    assert backward < 0.1


def test_robustness_probes():
    data = robustness.Data(n=2)
    items = list(robustness.items(data, 0))
    by_kind = {}
    for item in items:
        by_kind.setdefault(item.id.split("-")[0], {}).setdefault(item.cluster, []).append(item)
    assert list(by_kind) == list(robustness.KINDS)
    sizes = {"paraphrase": 3, "swap": 2, "mirror": 2, "length": 3, "several": 1}
    for kind, probes in by_kind.items():
        assert [len(probe) for probe in probes.values()] == [sizes[kind]] * 2, kind
    left, right = next(iter(by_kind["mirror"].values()))
    assert left.truth.gesture.endswith("left")
    assert right.truth.gesture.endswith("right")
    read = [caption.parse(item.reference) for item in (left, right)]
    assert [one.gesture for one in read] == [left.truth.gesture, right.truth.gesture]
    assert set(robustness.scored(items[0], Answered(), data)) == set(robustness.COLUMNS)
    nothing = robustness.sets(items, [Answered()] * len(items), data)
    shares = {name: value(np.arange(len(items))) for name, value in nothing.items()}
    assert shares == dict.fromkeys(robustness.KINDS, 0.0)
    with pytest.raises(ValueError, match=r"data\.kinds: expected any of paraphrase"):
        list(robustness.items(robustness.Data(kinds=("upside_down",)), 0))


def test_a_codec_is_measured_without_an_endpoint():
    data = codec.Data(n=3)
    for item in codec.items(data, 0):
        answer = codec.local(item, data)
        found = codec.scored(item, answer, data)
        assert found["codes_per_second"] == pytest.approx(25, rel=0.02)
        assert 0 < found["landmarks_mm"] < 1.5
        same = codec.scored(item, Answered("", item.clip, tokens_in=1), data)
        assert (same["landmarks_mm"], same["head_deg"], same["family"]) == (0, pytest.approx(0, abs=0.1), 1)


def test_a_summary_is_of_the_motion():
    clip = perform(prompts.sample(0, split="test", seconds=3.0))
    other = perform(prompts.sample(1, split="test", seconds=3.0))
    assert summaries.of(clip).shape == (68,)
    assert np.array_equal(summaries.of(clip), summaries.of(clip))
    still = MotionClip(np.repeat(clip.values[:1], 50, 0), clip.fps, "face", "head")
    assert np.abs(summaries.of(still)[34:]).max() < 1e-5  # nothing deviates
    assert np.abs(summaries.of(clip) - summaries.of(other)).max() > 0.01


def test_the_best_clips_are_the_best():
    from types import SimpleNamespace

    from tdmm_lm.eval import page
    from tdmm_lm.eval.suites import body

    def sample(suite, **columns):
        return SimpleNamespace(columns=dict.fromkeys(suite.COLUMNS) | columns, grades={})

    bodies, talks = (SimpleNamespace(suite=suite, judges={}) for suite in (body, m2l))
    near, far = sample(body, mpjpe_mm=20.0, foot_skate=0.0), sample(body, mpjpe_mm=90.0, foot_skate=0.9)
    assert page.worth(near, bodies) > page.worth(far, bodies) > page.worth(sample(body), bodies)
    right, wrong = sample(m2l, family=1.0, contradictions=0.0), sample(m2l, family=0.0, contradictions=3.0)
    assert (page.worth(right, talks), page.worth(wrong, talks)) == (1, 0)


@pytest.mark.parametrize(("value", "said"), [
    (0.0, "0.000"), (1.2e-5, "1.2e−05"), (-4e-4, "−4.0e−04"), (0.0126, "0.013"), (3.456, "3.46"), (212.3, "212.3"),
])
def test_what_is_small_is_not_said_to_be_nothing(value, said):
    assert tables.shown(value) == said


def test_tables_say_which_is_best():
    def run(value):
        column = {"value": value, "interval": [value - 0.1, value + 0.1], "n": 9, "reason": "", "unit": "share",
                  "better": "higher", "what": "w"}
        return {"columns": {"family": column, "words_5": column | {"better": "none"}}, "judges": {}}

    text = tables.latex({"a": run(0.5), "b_1": run(0.75), "c": run(0.25)}, {"Paper & Co": {"family": 0.9}})
    assert "\\textbf{0.750}" in text
    assert "\\underline{0.500}" in text
    assert text.count("\\textbf") == 1
    assert "Paper \\& Co & 0.900" in text
    assert "b\\_1" in text
    assert "family $\\uparrow$" in text


def test_a_task_of_inspect_scores_as_a_run_does(tmp_path):
    inspect_ai = pytest.importorskip("inspect_ai")
    from inspect_ai.model import get_model

    from tdmm_lm.eval import inspect_tasks

    items = list(m2l.items(config.check(m2l.Data, {"n": 3, "present": "tokens"}, "data"), 0))
    said = {item.messages[0]["content"][0]["text"]: item.reference for item in items}

    def answer(body):
        content = json.dumps(body["messages"])
        text = next(reference for tokens, reference in said.items() if tokens in content)
        whole = {
            "id": "1", "object": "chat.completion", "created": 0, "model": "fake",
            "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        }
        return 200, {"content-type": "application/json"}, json.dumps(whole).encode()

    with serving(answer) as chat:
        model = get_model("openai-api/local/fake", base_url=chat.url, api_key="none")
        log, = inspect_ai.eval(
            inspect_tasks.m2l(n=3, present="tokens"), model=model, display="none", log_dir=str(tmp_path)
        )
    assert log.status == "success", log.error
    scores = {score.name: score.metrics["mean"].value for score in log.results.scores}
    assert scores["contradictions"] == 0
    assert scores["family"] == scores["gesture"] == 1


def test_teacher_forced_tokens_of_the_right_prompt_are_likelier():
    from tdmm_lm.eval import teacher

    words = ["smile", "terrified", "furious", "astonished"]
    right, wrong = [], []
    for seed in range(6):
        score = prompts.sample(seed, split="test", words=words, seconds=3.0)
        clip = perform(score)
        text = caption.prompt(labels.of_score(score), np.random.default_rng(0), split="test")
        right.append(teacher.token_accuracy("assets/lm", text, clip))
        wrong.append(teacher.token_accuracy("assets/lm", "someone turns the head to the left", clip))
    assert 0.3 < np.mean(right) <= 1
    assert np.mean(right) > np.mean(wrong)


def test_real_videos_as_geometry_and_as_films(tmp_path):
    from tdmm_lm import bundle

    if bundle.data() is None:
        pytest.skip("needs grid_s1/ of the real data: set $TDMM_DATA to their folder")
    folder = str(bundle.data() / "grid_s1" / "video")
    film, = m2l.items(m2l.Data(source="videos", folder=folder, n=1, natural=True, present="sheet", options={}), 0)
    pictures = [part for part in film.messages[0]["content"] if part["type"] == "image_url"]
    assert len(pictures) == 8
    drawn, = m2l.items(m2l.Data(source="videos", folder=folder, n=1, present="sheet", options={}), 0)
    assert drawn.messages != film.messages
    assert drawn.truth[0] == film.truth[0]
    found = m2l.scored(film, Answered(film.reference), m2l.Data(source="videos"))
    assert (found["blinks_within_1"], found["speech_within_10"], found["family"]) == (1, 1, None)
    (tmp_path / "broken.mp4").write_bytes(b"no film" * 100)
    short = {"natural": True, "present": "video", "longest_seconds": 0.5, "options": {}}
    shutil.copy(next(Path(folder).glob("*.mpg")), tmp_path / "long.mpg")
    (tmp_path / "empty.mov").touch()
    (tmp_path / "folder.mp4").mkdir()
    broken, empty, within, long = m2l.items(m2l.Data(source="videos", folder=str(tmp_path), **short), 0)
    assert {type(one) for one in (broken, empty, within, long)} == {LeftOut}
    assert [one.id for one in (broken, empty, within, long)] == ["broken.mp4", "empty.mov", "folder.mp4", "long.mpg"]
    assert within.reason == "expected a file, found a folder."
    assert long.reason == "expected at most 0.5 s of film, got 3.0."
    with pytest.raises(ValueError, match=r"data\.natural: expected source: videos"):
        list(m2l.items(m2l.Data(natural=True), 0))
    with pytest.raises(ValueError, match=r"data\.folder: expected a folder of videos"):
        list(m2l.items(m2l.Data(source="videos"), 0))


def test_bodies_by_humanml3ds_protocol(tmp_path):
    from tdmm_lm import bundle
    from tdmm_lm.bench.metrics import check_set
    from tdmm_lm.eval.suites import body

    text, real, made = check_set(640, 64)
    np.savez(tmp_path / "e.npz", text=text, real=real, made=made)
    data = body.Data(embeddings=str(tmp_path / "e.npz"), n=640)
    items = list(body.items(data, 0))
    answers = [body.local(item, data) for item in items]
    figures = body.sets(items, answers, data)
    every = np.arange(640)
    assert figures["fid"](every) == pytest.approx(measure("fid", made, real).value, rel=1e-9)
    assert figures["mm_dist"](every) == pytest.approx(np.linalg.norm(text - made, axis=1).mean(), rel=1e-12)
    assert figures["r_precision_1"](every) < figures["r_precision_3"](every)
    assert figures["r_precision_1"](every) == pytest.approx(measure("r_precision_1", made, text).value, abs=0.03)
    np.savez(tmp_path / "f.npz", text=text)
    with pytest.raises(ValueError, match=r"f\.npz: expected arrays text, real and made, made, real missing"):
        list(body.items(body.Data(embeddings=str(tmp_path / "f.npz")), 0))
    if bundle.data() is None:
        pytest.skip("needs cmu_mocap/ of the real data: set $TDMM_DATA to their folder")
    data = body.Data(n=2)
    for item in body.items(data, 0):
        found = body.scored(item, body.local(item, data), data)
        assert found["codes_per_second"] == pytest.approx(5, rel=0.1)
        assert 0 < found["pa_mpjpe_mm"] < found["mpjpe_mm"] < 250
        exact = body.scored(item, Answered("", item.clip, tokens_in=1), data)
        assert (exact["mpjpe_mm"], exact["acceleration_error"]) == (0, 0)
        assert exact["penetration_mm"] == pytest.approx(0, abs=0.1)
        values = item.clip.values.copy()
        values[:, 1] -= 0.1  # ten centimetres into the ground
        sunk = MotionClip(values, item.clip.fps, "body", item.clip.rig, item.clip.shape)
        assert body.scored(item, Answered("", sunk, tokens_in=1), data)["penetration_mm"] > 50
        assert exact["jitter"] == exact["jitter_real"]


def test_the_model_that_tok_needs_is_read_before_anybody_is_asked():
    from tdmm_lm.eval import teacher

    teacher.loaded.cache_clear()
    next(l2m.items(l2m.Data(n=1, swaps=0, lm="assets/lm"), 0))
    assert teacher.loaded.cache_info().currsize == 1
    with pytest.raises(FileNotFoundError, match="nowhere"):
        next(l2m.items(l2m.Data(n=1, swaps=0, lm="nowhere"), 0))


def test_an_encoder_that_is_not_there_is_said_before_anybody_is_asked():
    from tdmm_lm.eval.suites import retrieval

    with pytest.raises(FileNotFoundError, match="nowhere: expected a path, or the name of something bundled"):
        retrieval.items(retrieval.Data(encoder="nowhere"), 0)


def test_serving_times_what_came():
    from tdmm_lm.eval.suites import serving

    data = serving.Data(n=2)
    items = list(serving.items(data, 0))
    assert [item.id.split("-")[0] for item in items] == ["performance", "prompt"] * 2
    clip = perform(prompts.sample(0, split="test", seconds=4.0))
    busy = Answered(fault="busy")
    answers = [Answered("a man smiles", tokens_out=10, seconds=0.5), Answered("", clip, seconds=2.0), busy, busy]
    found = [serving.scored(item, answer, data) for item, answer in zip(items, answers)]
    assert [one["answered"] for one in found] == [1, 1, 0, 0]
    assert (found[0]["describe_seconds"], found[0]["tokens_per_second"], found[1]["real_time"]) == (0.5, 20, 2)
    assert found[2]["describe_seconds"] is None
    figures = serving.sets(items, answers, data)
    assert figures["describe_p99_seconds"](np.arange(4)) == 0.5
    assert figures["perform_p99_seconds"].n == 1

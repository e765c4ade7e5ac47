"""Generators that make videos for real: a tiny pipeline of diffusers, and this project's own gateway; then the source
that hands their videos to the capture."""

import functools
import json
import runpy
import sys
import threading
import types
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from tdmm_lm import config, video
from tdmm_lm.config import Settings
from tdmm_lm.corpus import generate as generating
from tdmm_lm.corpus import perform, video_prompts
from tdmm_lm.corpus.asking.ledger import Ledger
from tdmm_lm.corpus.generators import Failed, Hopeless, Notes, Request, wan
from tdmm_lm.corpus.generators import folder as finished
from tdmm_lm.corpus.score import Score
from tdmm_lm.corpus.sources import Item, Rejected, generated
from tdmm_lm.motion import face
from tdmm_lm.sample import Sample

HERE = Path(__file__).resolve().parent
REQUEST = Request("x", "a woman smiles", "woman nods", 5, 16.0, (64, 64), 3)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """Wan with random weights, a few kilobytes of it, saved as its owners save it."""
    diffusers = pytest.importorskip("diffusers")
    import tokenizers
    import transformers

    torch.manual_seed(0)
    words = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", "a", "woman", "smiles", "nods"])}
    words_only = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    words_only.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made = diffusers.WanPipeline(
        tokenizer=transformers.PreTrainedTokenizerFast(
            tokenizer_object=words_only, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
        ),
        text_encoder=transformers.UMT5EncoderModel(
            transformers.UMT5Config(vocab_size=16, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
        ),
        vae=diffusers.AutoencoderKLWan(
            base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
        ),
        transformer=diffusers.WanTransformer3DModel(
            num_attention_heads=2, attention_head_dim=12, in_channels=16, out_channels=16, text_dim=16, freq_dim=16,
            ffn_dim=16, num_layers=1, rope_max_seq_len=32,
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    folder = tmp_path_factory.mktemp("wan") / "pipeline"
    made.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Tests change pipelines without a pause."""
    monkeypatch.setattr(wan, "IDLE_SECONDS", 0.0)


def wanted(pipeline, **said):
    options = {"num_inference_steps": 2, "guidance_scale": 9.0}
    return wan.Settings(**{"folder": str(pipeline), "dtype": "float32", "device": "cpu", "options": options, **said})


@pytest.fixture
def notes(tmp_path):
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        yield Notes(ledger, "x", threading.Event())


def pixels(path):
    return np.stack([frame for _, frame in video.read(path)])


def test_a_pipeline_of_diffusers_makes_the_video_that_was_asked_for(pipeline, notes, tmp_path):
    for name, request in (
        ("a", REQUEST), ("same", REQUEST),
        ("seed", Request("x", "a woman smiles", "woman nods", 5, 16.0, (64, 64), 4)),
        ("text", Request("x", "a woman nods", "woman nods", 5, 16.0, (64, 64), 3)),
        ("negative", Request("x", "a woman smiles", "", 5, 16.0, (64, 64), 3)),
    ):
        wan.generate(request, wanted(pipeline), tmp_path / f"{name}.mp4", notes)
    shown = video.info(tmp_path / "a.mp4")
    assert (shown.fps, shown.size, len(pixels(tmp_path / "a.mp4"))) == (16.0, (64, 64), 5)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "same.mp4").read_bytes()
    assert np.abs(pixels(tmp_path / "a.mp4").astype(int) - pixels(tmp_path / "seed.mp4")).mean() > 5
    for name in ("text", "negative"):
        assert (tmp_path / "a.mp4").read_bytes() != (tmp_path / f"{name}.mp4").read_bytes(), name
    assert not notes.free


def test_halves_where_they_do_no_harm(pipeline):
    made = wan.loaded(str(pipeline), False, "bfloat16", "cpu", "none")
    assert {name: str(made.components[name].dtype) for name in ("transformer", "text_encoder", "vae")} == {
        "transformer": "torch.bfloat16", "text_encoder": "torch.bfloat16", "vae": "torch.float32"
    }


def test_half_precision_runs(pipeline, notes, tmp_path):
    wan.generate(REQUEST, wanted(pipeline, dtype="bfloat16"), tmp_path / "v.mp4", notes)
    assert len(pixels(tmp_path / "v.mp4")) == 5


def test_colours_become_bytes():
    assert wan.pictures(np.array([[[[-0.1, 0.5, 1.2]]]], np.float32)).tolist() == [[[[0, 128, 255]]]]


@pytest.mark.parametrize(
    ("said", "request_", "line"),
    [
        ({"folder": "/nowhere"}, REQUEST, "/nowhere: expected a folder with a diffusers pipeline, found none"),
        ({"device": "cuda:77"}, REQUEST, "expected a diffusers pipeline that runs on cuda:77, got "),
        ({"options": {"steps": 2}}, REQUEST, "takes steps, WanPipeline takes .*num_inference_steps"),
        ({}, Request("x", "a", "", 6, 16.0, (64, 64), 3), "x: expected 6 frames of 64x64, the pipeline made 5 of 64x"),
        ({}, Request("x", "a", "", 5, 16.0, (72, 64), 3), "x: expected what WanPipeline can make, it says: .*height"),
    ],
)
def test_what_no_video_can_come_of_is_said_in_one_line(pipeline, notes, tmp_path, said, request_, line):
    with pytest.raises(Hopeless, match=line) as error:
        wan.generate(request_, wanted(pipeline, **said), tmp_path / "v.mp4", notes)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "v.mp4").exists()


def test_a_folder_that_is_no_pipeline(notes, tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(Hopeless, match="expected a diffusers pipeline that runs on cpu"):
        wan.generate(REQUEST, wanted(tmp_path), tmp_path / "v.mp4", notes)
    assert notes.free


def recipe(tmp_path, count, generators, **prompts):
    """A run's settings, and prompts for small videos."""
    import yaml

    own = {"share": 1, "frames": 5, "fps": 16, "size": [64, 64], "form": "{shot} {facial}", **prompts}
    said = {**video_prompts.load().model_dump(mode="json"), "generators": dict.fromkeys(generators, own)}
    (tmp_path / "prompts.yaml").write_text(yaml.safe_dump(said))
    made = {"prompts": tmp_path / "prompts.yaml", "count": count, "generators": generators}
    return config.check(generating.Settings, made, "test")


def test_a_run_with_a_pipeline(pipeline, tmp_path):
    tiny = {"adapter": "wan", "settings": wanted(pipeline).model_dump(), "gpu_seconds_per_video": 36}
    summary = generating.generate(recipe(tmp_path, 3, {"tiny": tiny}), tmp_path / "out")
    assert str(summary) == "3 made; spent: 3 videos, 0.03 gpu_hours."
    assert len({path.read_bytes() for path in (tmp_path / "out" / "videos").iterdir()}) == 3


def test_two_pipelines_are_loaded_once_each_and_never_both_in_memory(pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(wan, "IDLE_SECONDS", 3.0)
    monkeypatch.setattr(wan, "_HELD", wan._Held())
    load, loads, alive = wan._load, [], weakref.WeakSet()

    def counted(*by):
        assert not alive
        made = load(*by)
        loads.append(by[2])
        alive.add(made)
        return made

    monkeypatch.setattr(wan, "_load", counted)
    two = {
        dtype: {"adapter": "wan", "settings": wanted(pipeline, dtype=dtype).model_dump()}
        for dtype in ("float32", "bfloat16")
    }
    summary = generating.generate(recipe(tmp_path, 6, two), tmp_path / "out")
    assert summary.counts == {"made": 6}
    assert sorted(loads) == ["bfloat16", "float32"]


@pytest.mark.parametrize(
    ("error", "raised", "line"),
    [
        (RuntimeError("cuDNN:\nnot supported"), Failed, "broken_pipeline: Broken: RuntimeError: cuDNN: not supported"),
        (TypeError("'str' + 'int'"), Failed, "broken_pipeline: Broken: TypeError: 'str'"),
        (IndexError("index out of range in self"), Failed, "broken_pipeline: Broken: IndexError: index"),
        (torch.OutOfMemoryError("no room"), Failed, "out_of_memory: 5 frames of 64x64"),
        (torch.AcceleratorError("illegal address"), Hopeless, "cpu: expected a device that works, got illegal address"),
        (ValueError("no such size"), Hopeless, "x: expected what Broken can make, it says: no such size"),
    ],
)
def test_a_pipeline_that_breaks_down_ends_no_other_generator(notes, tmp_path, monkeypatch, error, raised, line):
    class Broken:
        def __call__(self, prompt, negative_prompt, num_frames, width, height, generator, output_type):
            raise error

    monkeypatch.setattr(wan, "_load", lambda *by: Broken())
    monkeypatch.setattr(wan, "_HELD", wan._Held())
    with pytest.raises(raised, match=line) as caught:
        wan.generate(REQUEST, wanted("broken", options={}), tmp_path / "v.mp4", notes)
    assert "\n" not in str(caught.value)


def test_a_finished_video_behind_a_relative_link(notes, tmp_path):
    for name in ("store", "ready", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "store/film.mp4").write_bytes(b"film")
    (tmp_path / "ready/x.mp4").symlink_to("../store/film.mp4")
    path = tmp_path / "out/deep.mp4"
    finished.generate(REQUEST, finished.Settings(folder=tmp_path / "ready"), path, notes)
    assert not path.is_symlink()
    assert path.read_bytes() == b"film"


@pytest.mark.slow
def test_a_run_with_this_projects_own_gateway(tmp_path, monkeypatch):
    store_app = runpy.run_path(str(HERE.parent / "serve" / "store_app.py"))
    monkeypatch.setenv("OPENAI_API_KEY", "ann")
    server = store_app["Process"](tmp_path / "store").wait()
    try:
        own = {"adapter": "videos_api", "at_once": 2}
        own["settings"] = {"url": f"{server.url}/v1", "poll_seconds": 0.1, "seed": "seed", "longest_seconds": 60}
        said = recipe(tmp_path, 1, {"house": own}, frames=10, fps=25)
        summary = generating.generate(said, tmp_path / "out")
    finally:
        server.stop()
    assert str(summary) == "1 made; spent: 1 videos."
    (path,) = (tmp_path / "out" / "videos").iterdir()
    assert pixels(path).shape == (10, 64, 64, 3)


class Capture(Settings):
    """Stands for the section of the source that captures."""

    folder: Path
    least_seconds: float = 1.0


def captured(item, settings):
    """Stands for the capture: a sample, something rejected, then a video that it breaks on."""
    if item.what["path"].endswith("broken.mp4"):
        raise ValueError(f"{item.what['path']}: expected a video, got none or one that is cut off.")
    if settings.least_seconds == 7:
        raise FileNotFoundError("face_landmarker.task: expected a model, found none.")
    weights = np.zeros((50, 52), np.float32)
    weights[10:40, [face.ARKIT.index("mouthSmileLeft"), face.ARKIT.index("mouthSmileRight")]] = 0.9
    clip = face.assemble({"expression": weights}, fps=25, rig="head")
    yield Sample(
        f"{item.id}/0", ("seen",), {"face": clip}, item.split, "videos", "", {"family": "joy"},
        provenance={"start": 0.0},
    )
    yield Rejected(f"{item.id}/1", "videos", "no_face", "found none", {"seconds": settings.least_seconds})


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A folder of prompts, of which two have videos."""
    module = types.ModuleType("capture")
    module.Settings, module.samples = Capture, captured
    monkeypatch.setitem(sys.modules, "capture_for_tests", module)
    monkeypatch.setattr(generated, "CAPTURE", "capture_for_tests")
    said = video_prompts.load(None, ["count=12", "words=[smile, scowl]"])
    video_prompts.write(said, tmp_path / "prompts.jsonl")
    (tmp_path / "videos").mkdir()
    prompts = list(video_prompts.read(tmp_path / "prompts.jsonl"))
    for prompt in (prompts[3], prompts[10]):  # of one word each, and nothing small beside it
        (tmp_path / "videos" / f"{prompt.id}.mp4").write_bytes(b"film")
    return tmp_path, prompts


def test_prompts_with_videos_become_samples_with_what_was_asked(made):
    folder, prompts = made
    settings = generated.Settings(folder=folder, videos={"least_seconds": 2}, licence="mine")
    found = list(generated.items(settings, 0))
    assert [item.id for item in found] == [f"generated/{prompts[place].id}" for place in (3, 10)]
    assert json.loads(json.dumps(found[0].what)) == found[0].what
    assert list(generated.items(settings, 5)) == found
    smile, scowl = sorted(found, key=lambda item: item.what["asked"]["family"] != "joy")
    sample, rejected = generated.samples(smile, settings)
    prompt = next(prompt for prompt in prompts if prompt.id in smile.id)
    assert (prompt.labels["level"], prompt.labels["micro"]) == ("clear", "none")
    assert (sample.id, sample.texts) == (f"generated/{prompt.id}/0", (prompt.facial, "seen"))
    assert sample.labels == {"family": "joy", "asked": prompt.labels, "obeyed": True}
    disobeyed, _ = generated.samples(scowl, settings)
    assert (disobeyed.texts, disobeyed.labels["obeyed"]) == (("seen",), False)
    trusted, _ = generated.samples(scowl, settings.model_copy(update={"trusting": True}))
    assert len(trusted.texts) == 2
    assert (sample.source, sample.licence) == (f"generated: {prompt.generator}", "mine")
    assert sample.provenance == {
        "start": 0.0, "generator": prompt.generator, "prompt": prompt.text, "seed": prompt.seed
    }
    assert (rejected.source, rejected.reason, rejected.figures) == ("generated", "no_face", {"seconds": 2.0})


ASKED = {
    "family": "joy", "level": "strong", "side": "both", "micro_family": "", "blinks": 0, "gesture": "none", "count": 0,
    "gaze": "front",
}


@pytest.mark.parametrize(
    ("asked", "did"),
    [
        ({}, True),
        ({"level": "clear"}, True),
        ({"level": "slight"}, False),
        ({"family": "anger"}, False),
        ({"family": "neutral", "level": ""}, False),
        ({"micro_family": "brow_raise"}, False),
        ({"blinks": 1}, True),
        ({"blinks": 2}, False),
        ({"gesture": "nod", "count": 2}, True),
        ({"gesture": "nod", "count": 1}, False),
        ({"gesture": "tilt_left", "count": 1}, False),
        ({"gaze": "left"}, True),
        ({"gaze": "right"}, False),
    ],
)
def test_a_prompt_is_a_text_only_if_the_face_did_all_of_it(asked, did):
    assert generated.obeyed(_smiling(), ASKED | asked) is did


@pytest.mark.parametrize(("side", "did"), [("left", True), ("right", False)])
def test_a_wink_of_the_other_eye_is_not_what_was_asked(side, did):
    one = perform.perform(Score.model_validate({"seconds": 3, "expressions": [
        {"word": "wink", "intensity": 0.9, "onset": 0.8, "attack": 0.2, "hold": 0.6, "release": 0.3, "side": "left"},
    ]}))
    assert generated.obeyed(one, ASKED | {"family": "wink", "level": "clear", "side": side}) is did


@functools.lru_cache(maxsize=1)
def _smiling():
    """A strong smile, two nods, one blink and a glance to the left."""
    return perform.perform(Score.model_validate({
        "seconds": 6, "blinks": [4.6],
        "expressions": [{"word": "smile", "intensity": 0.9, "onset": 0.4, "attack": 0.3, "hold": 3, "release": 0.4}],
        "head": [{"gesture": "nod", "count": 2, "onset": 1, "seconds": 1.2, "degrees": 12}],
        "gaze": [{"direction": "left", "onset": 2.8, "seconds": 1.2, "amount": 0.8}],
    }))


def test_a_broken_video_is_rejected_and_a_missing_model_is_not_its_fault(made):
    folder, _ = made
    what = {"path": str(folder / "videos" / "broken.mp4"), "generator": "g", "prompt": "", "seed": 0}
    (broken,) = generated.samples(Item("generated/broken", "train", what), generated.Settings(folder=folder))
    assert (broken.reason, broken.source) == ("broken_video", "generated")
    assert "cut off" in broken.detail
    settings = generated.Settings(folder=folder, videos={"least_seconds": 7})
    item = next(generated.items(settings, 0))
    with pytest.raises(FileNotFoundError, match="expected a model, found none"):
        list(generated.samples(item, settings))
    wrong = generated.Settings(folder=folder, videos={"shortest": 7})
    with pytest.raises(ValueError, match=r"generated\.videos: shortest: unknown key"):
        list(generated.samples(item, wrong))


def test_splits_are_by_id_and_of_their_size(tmp_path):
    settings = generated.Settings(folder=tmp_path, dev=0.1, test=0.2)
    names = [generated._split(f"{number:06d}-wan21-14b-abc", settings) for number in range(2000)]
    assert names.count("test") == pytest.approx(400, abs=60)
    assert names.count("dev") == pytest.approx(200, abs=45)
    with pytest.raises(FileNotFoundError, match=r"prompts\.jsonl: expected a file of prompts, found none"):
        list(generated.items(settings, 0))

"""What the command line's verbs do, as functions of their arguments that return the line to be printed."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from tdmm_lm import bundle, codec, config, formats, rigs
from tdmm_lm.files import replacing
from tdmm_lm.motion import MotionClip, body

SECONDS = (0.2, 10.0)  # how long a performance may be asked to last
PROMPT_CHARACTERS = 2000
RENDERED = (".mp4",)
SHOWN = {"face": "mesh", "body": "skeleton"}  # by which renderer, where none is named


def check_prompt(text: str) -> str:
    """The prompt without outer blanks.

    Raises:
        ValueError: it is empty or too long.
    """
    text = text.strip()
    if not text:
        raise ValueError("prompt: expected a sentence, got nothing.")
    if len(text) > PROMPT_CHARACTERS:
        raise ValueError(f"prompt: expected at most {PROMPT_CHARACTERS} characters, got {len(text)}.")
    return text


def frames_of(seconds: float | None, code_fps: float) -> int | None:
    """Whole frames for a duration.

    Raises:
        ValueError: the duration is outside `SECONDS`.
    """
    if seconds is None:
        return None
    if not SECONDS[0] <= seconds <= SECONDS[1]:
        raise ValueError(f"--seconds: expected {SECONDS[0]} to {SECONDS[1]}, got {seconds}.")
    return round(seconds * code_fps)


def check_ending(path: Path) -> None:
    """Refuse an output nobody can write before anything is computed."""
    known = (*formats.written(), *RENDERED)
    if path.suffix.lower() not in known:
        raise ValueError(f"{path}: expected an ending among {', '.join(sorted(known))}, got {path.suffix or 'none'}.")


def write(
    clip: MotionClip, path: Path, rig: rigs.Rig | None, audio: Path | Float[np.ndarray, " samples"] | None = None
) -> None:
    """A clip to any file, pictures included. A body needs no rig; sound goes into pictures only."""
    if path.suffix.lower() in RENDERED:
        config.find("render", SHOWN[clip.modality]).write(clip, path, rig, audio=audio)
    else:
        formats.write(clip, path, rig=rig)


def read(file: Path, source_rig: str | None = None) -> MotionClip:
    """A clip, for the rig that its file names or that the user does."""
    clip = formats.read(file)
    return clip if source_rig is None else dataclasses.replace(clip, rig=source_rig)


def _face(clip: MotionClip, file: Path) -> MotionClip:
    if clip.modality != "face":
        raise ValueError(f"{file}: expected a face clip, got a {clip.modality} clip; convert and render take those.")
    return clip


def describe(
    file: Path, *, question: str | None = None, as_json: bool = False, lm: Path | None = None,
    source_rig: str | None = None,
) -> str:
    """A clip in words; as JSON with what `observe` measures on it."""
    from tdmm_lm.lm import generate

    if question is not None:
        question = check_prompt(question)
    clip = _face(read(file, source_rig), file)
    model = generate.load(lm or bundle.path("assets/lm"))
    codes = codec.tokenize(model.codec(), clip)
    text = generate.describe(model, codes, question)
    return json.dumps({"text": text, "observed": _observed(clip)}, indent=2) if as_json else text


def animate(
    text: str,
    outputs: list[Path],
    *,
    modality: str = "face",
    seconds: float | None = None,
    seed: int = 0,
    rig: str = "head",
    lm: Path | None = None,
) -> int:
    """Perform a prompt, or a score.yaml exactly as written, into every output; the number of frames.

    What a score says is heard in an mp4, and in a .wav beside every other output.
    """
    sound = None
    for path in outputs:
        check_ending(path)
    if modality != "face":
        raise ValueError(f"--modality: expected face, got {modality!r}.")
    target = rigs.load(rig)
    if text.endswith((".yaml", ".yml")):
        from tdmm_lm.corpus import perform, score
        from tdmm_lm.geometry import solve

        if seconds is not None:
            raise ValueError(f"--seconds: expected none with a score, whose own length counts, got {seconds:g}.")
        asked = config.load(score.Score, text)
        clip, sound = perform.perform(asked.model_copy(update={"seed": seed}) if seed else asked), perform.sound(asked)
        if rig != clip.rig:
            clip, _ = solve.retarget(clip, rigs.load(clip.rig), target)
    else:
        from tdmm_lm.lm import generate

        prompt = check_prompt(text)
        model = generate.load(lm or bundle.path("assets/lm"))
        network = model.codec()
        frames = frames_of(seconds, network.code_fps)
        codes = generate.perform(model, prompt, frames=frames, seed=seed)
        clip = codec.detokenize(network, codes, target)
    for path in outputs:
        write(clip, path, target, audio=sound)
        if sound is not None and path.suffix.lower() not in RENDERED:
            _write_sound(sound, path.with_suffix(".wav"))
    return clip.frames


def _write_sound(sound: Float[np.ndarray, " samples"], path: Path) -> None:
    import soundfile

    from tdmm_lm.video import AUDIO_RATE

    with replacing(path) as beside:
        soundfile.write(beside, sound, AUDIO_RATE, subtype="PCM_16", format="WAV")


def convert(
    source: Path, target: Path, *, rig: str | None = None, source_rig: str | None = None, fps: float | None = None
) -> str:
    """Between formats, and between rigs through geometry; ``fps`` also resamples bodies."""
    check_ending(target)
    if fps is not None and not 1 <= fps <= 1000:
        raise ValueError(f"--fps: expected 1 to 1000 Hz, got {fps:g}.")
    clip = formats.read(source, fps=fps)
    if clip.modality == "body":
        _no_rig(rig, source_rig)
        clip = body.resample(clip, clip.fps if fps is None else fps)
        write(clip, target, None)
        return f"{clip.frames} frames at {clip.fps:g} Hz -> {target}"
    driven = rigs.load(source_rig or clip.rig)
    line = f"{clip.frames} frames at {clip.fps:g} Hz -> {target}"
    if rig is not None and rig != (source_rig or clip.rig):
        from tdmm_lm.geometry import solve

        wanted = rigs.load(rig)
        clip, residual = solve.retarget(clip, driven, wanted)
        driven, line = wanted, f"{line}; {rig}: residual {residual:.3f} mm mean"
    write(clip, target, driven)
    return line


def _no_rig(*names: str | None) -> None:
    given = [name for name in names if name is not None]
    if given:
        raise ValueError(f"--rig: expected none for a body, which moves its own skeleton, got {given[0]!r}.")


def tokenize(file: Path, output: Path, *, source_rig: str | None = None, codec_folder: Path | None = None) -> str:
    """Codes as JSON, with what is needed to decode them."""
    if output.suffix != ".json":
        raise ValueError(f"{output}: expected an ending .json, got {output.suffix or 'none'}.")
    clip = read(file, source_rig)
    folder = codec_folder or bundle.path(f"tokenizers/{clip.modality}")
    network = codec.load(folder)
    rows = codec.rows(network, clip)
    codes = network.encode(torch.from_numpy(rows)[None])[0]
    about = {
        "format_version": 1,
        "modality": clip.modality,
        "code_fps": network.code_fps,
        "books": network.books,
        "frames": len(rows),
        "codec_sha256": codec.weights_sha256(folder),
        "codes": codes.tolist(),
    }
    with replacing(output) as path:
        path.write_text(json.dumps(about) + "\n")
    return f"{len(codes)} codes -> {output}"


def detokenize(file: Path, output: Path, *, rig: str | None = None, codec_folder: Path | None = None) -> str:
    """A clip from what `tokenize` wrote."""
    check_ending(output)
    try:
        about = json.loads(file.read_text())
        codes, made_by, modality = np.asarray(about["codes"]), about["codec_sha256"], about["modality"]
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, ValueError):
        raise ValueError(
            f"{file}: expected JSON with `codes`, `modality` and `codec_sha256`, as `tdmm tokenize` writes it."
        ) from None
    if codes.ndim != 2 or codes.dtype.kind != "i" or not len(codes):
        raise ValueError(f"{file}: codes: expected whole numbers (frames, books), got {codes.dtype} {codes.shape}.")
    if modality not in ("face", "body"):
        raise ValueError(f"{file}: modality: expected face or body, got {modality!r}.")
    folder = codec_folder or bundle.path(f"tokenizers/{modality}")
    ours = codec.weights_sha256(folder)
    if made_by != ours:
        raise ValueError(
            f"{file}: codes were made by codec {str(made_by)[:12]}, this is {ours[:12]}; tokenize again."
        )
    if modality == "body":
        _no_rig(rig)
    target = rigs.load(rig or "head") if modality == "face" else None
    clip = codec.detokenize(codec.load(folder), codes, target)
    frames = about.get("frames", clip.frames)
    if not isinstance(frames, int) or not 0 < frames <= clip.frames:
        raise ValueError(f"{file}: frames: expected 1 to {clip.frames}, got {frames!r}.")
    clip = dataclasses.replace(clip, values=clip.values[:frames])
    write(clip, output, target)
    return f"{clip.frames} frames -> {output}"


def _observed(clip: MotionClip) -> dict[str, object]:
    from tdmm_lm.observe import run

    return run.to_json(run.run(clip, rigs.load(clip.rig)))


def observe(file: Path, *, source_rig: str | None = None) -> str:
    """Timed attributes of a clip as JSON."""
    return json.dumps(_observed(_face(read(file, source_rig), file)), indent=2)


def capture(video: Path, output: Path) -> str:
    """A face clip from a video, with a progress bar."""
    from tdmm_lm import progress
    from tdmm_lm.formats import video as capturing

    check_ending(output)
    with progress.bar() as bar:
        task = bar.add_task("capture", total=None)
        clip = capturing.capture(video, progress=lambda frames: bar.update(task, completed=frames))
    write(clip, output, rigs.load(clip.rig))
    return f"{clip.frames} frames at {clip.fps:g} Hz -> {output}"


def render(
    file: Path,
    output: Path,
    *,
    renderer: str | None = None,
    audio: Path | None = None,
    rig: str | None = None,
    size: int = 512,
) -> str:
    """A clip as mp4, with sound if there is any."""
    if output.suffix.lower() not in RENDERED:
        raise ValueError(f"{output}: expected an ending among {', '.join(RENDERED)}, got {output.suffix or 'none'}.")
    if size % 2 or not 64 <= size <= 4096:
        raise ValueError(f"--size: expected an even number of pixels from 64 to 4096, got {size}.")
    module = None if renderer is None else config.find("render", renderer)
    clip = formats.read(file)
    module = module or config.find("render", SHOWN[clip.modality])
    if clip.modality not in module.MODALITIES:
        known = " or ".join(module.MODALITIES)
        raise ValueError(f"--renderer {renderer}: expected a {known} clip, got a {clip.modality} clip; leave it out.")
    if clip.modality == "body":
        _no_rig(rig)
        module.write(clip, output, None, audio=audio, size=(size, size))
        return f"{clip.frames} frames at {clip.fps:g} Hz -> {output}"
    driven = rigs.load(clip.rig)
    if rig is not None and rig != clip.rig:
        from tdmm_lm.geometry import solve

        wanted = rigs.load(rig)
        clip, _ = solve.retarget(clip, driven, wanted)
        driven = wanted
    module.write(clip, output, driven, audio=audio, size=(size, size))
    return f"{clip.frames} frames at {clip.fps:g} Hz -> {output}"


def train(recipe: Path, changes: list[str], output: Path) -> None:
    """Run the step that the recipe names."""
    data = config.override(config.read(recipe), changes)
    if "step" not in data:
        raise ValueError(f"{recipe}: step: expected one of {', '.join(config.known('train'))}, found none.")
    step = config.find("train", str(data.pop("step")))
    step.main(config.check(step.Settings, data, str(recipe)), output)


def extend(base: str, output: Path, *, codec: Path | None = None) -> str:
    """A language model grown by a codec's tokens."""
    from tdmm_lm.lm import extend as step

    return step.extend(base, output, codecs={"face": codec or bundle.path("tokenizers/face")})


def export(adapter: Path, out: Path, *, dtype: str = "bfloat16") -> str:
    """A servable folder from an adapter or a checkpoint."""
    from tdmm_lm.lm import export as step

    return step.export(adapter, out, dtype=dtype)


def import_rig(file: Path, output: Path) -> str:
    """A FLAME file of its owner's, or a GLB avatar, as a folder that `--rig` takes."""
    from tdmm_lm import flame_file
    from tdmm_lm.formats import video
    from tdmm_lm.geometry import avatar, sight
    from tdmm_lm.rigs import flame

    if file.suffix.lower() in (".glb", ".gltf", ".vrm"):
        return avatar.import_glb(file, output, model=video.landmarker())
    arrays = flame_file.read_owner(file)
    flame.save(arrays, output, landmarks=sight.landmark_flame(arrays, video.landmarker()))
    return f"{len(arrays.v_template)} vertices -> {output}"


def evaluate(
    suite: Path, output: Path, changes: list[str], *, endpoint: str | None = None, judges: Sequence[str] = (),
    limit: int | None = None, dry_run: bool = False, offline: bool = False, max_dollars: float | None = None,
) -> tuple[str, list[str]]:
    """Run a suite and write all its files; what to print, and the thresholds that are missed."""
    from tdmm_lm.eval import charts, page, results, running, tables

    settings = running.load(suite, changes, endpoint=endpoint, judges=judges)
    if dry_run:
        return running.estimate(settings, limit), []
    made = running.run(settings, output, limit=limit, offline=offline, max_dollars=max_dollars)
    found = results.made(made)
    missed = running.missed(results.values(found), settings.thresholds)
    results.write(made, found, results.rows(made), output)
    pictures = charts.write(made, found, output / "figs")
    for name, text in {
        "table.md": tables.markdown(found), "table.tex": tables.latex({found["model"]: found}, found["published"]),
    }.items():
        with replacing(output / name) as path:
            path.write_text(text)
    page.write(made, found, pictures, output)
    return "\n".join([tables.markdown(found), *missed, f"{output}/report.html"]), missed


def compare(first: Path, second: Path, output: Path | None, *, judge: str | None = None) -> str:
    """Two runs side by side, with a judge pairwise too."""
    from tdmm_lm.eval import comparing, judging

    if judge is not None and output is None:
        raise ValueError("--judge: expected -o FOLDER to keep its answers in, got none.")
    settings = None
    if judge is not None:
        url, _, model = judge.partition("#")
        asked = {"url": url, "model": model or "auto", "options": {"max_tokens": 500, "temperature": 0}}
        settings = config.check(judging.Settings, {"name": "judge", "prompt": "pair", "endpoint": asked}, "--judge")
    return comparing.markdown(comparing.compare(first, second, judge=settings, out=output))


def bench(name: str) -> str:
    """A benchmark's figures as JSON; in a checkout they are kept."""
    from tdmm_lm import report

    module = config.find("bench", name)
    if "run" not in vars(module):
        raise ValueError(f"{name}: expected a benchmark, got a part of one.")
    figures = module.run()
    made = report.report(name, settings={}, figures=figures)
    text = json.dumps(made, indent=2)
    kept = bundle.PACKAGE.parent / "eval" / "bench"
    if kept.is_dir() and (bundle.PACKAGE.parent / "pyproject.toml").is_file():
        with replacing(kept / f"{name}.json") as path:
            path.write_text(text + "\n")
    return text

"""The command line: ``tdmm VERB``. Every verb imports what it needs when it is called."""

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from tdmm_lm import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="A language model that reads and writes human motion: describe, perform, convert, train and serve.",
)
corpus_app = typer.Typer(no_args_is_help=True, help="Make and check data sets.")
app.add_typer(corpus_app, name="corpus")
eval_app = typer.Typer(no_args_is_help=True, help="Measure an endpoint: suites, judges, comparisons, human studies.")
app.add_typer(eval_app, name="eval")
study_app = typer.Typer(no_args_is_help=True, help="Human studies: a page for raters, and what they said.")
eval_app.add_typer(study_app, name="study")

In = Annotated[Path, typer.Argument(help="A clip, CSV, BVH, GLB, AMASS, joints or video: what `tdmm convert` reads.")]
Out = Annotated[Path, typer.Option("-o", "--output", help="Where to write; the ending decides the format.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
Model = Annotated[Path | None, typer.Option("--lm", help="A model folder; without it the bundled nano model.")]
RigName = Annotated[str, typer.Option("--rig", help="head (bundled), ict (scanned), or an imported rig's folder.")]
Driven = Annotated[
    str | None, typer.Option("--from", help="The rig that the file drives, where it is your own (a FLAME folder).")
]
CodecFolder = Annotated[Path | None, typer.Option(help="Folder of the codec; the bundled one of the modality.")]
Changes = Annotated[list[str] | None, typer.Argument(help="Settings to change: key.sub=value.")]


@app.command(epilog="Example: `tdmm demo -o out/demo`")
def demo(output: Out = Path("out/demo")) -> None:
    """The whole loop offline with the bundled models: describe a sample, perform two prompts, export and render."""
    from tdmm_lm import demo as step

    step.run(output)


@app.command(epilog="Example: `tdmm describe talk.mp4 -q 'How often does he blink?'`")
def describe(
    file: In,
    question: Annotated[str | None, typer.Option("-q", "--question", help="Ask this instead.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Text and observed attributes as JSON.")] = False,
    lm: Model = None,
    source_rig: Driven = None,
) -> None:
    """Say in words what a face does."""
    from tdmm_lm import verbs

    typer.echo(verbs.describe(file, question=question, as_json=json, lm=lm, source_rig=source_rig))


@app.command(epilog='Example: `tdmm animate "a woman smiles broadly, then nods twice" --seconds 4 --seed 1 -o x.glb`')
def animate(
    text: Annotated[str, typer.Argument(help="A prompt, or a score.yaml to be performed as written.")],
    output: Annotated[list[Path], typer.Option("-o", "--output", help="May be repeated: .npz .glb .csv .mp4")],
    modality: Annotated[str, typer.Option(help="face")] = "face",
    seconds: Annotated[float | None, typer.Option(help="Exact length; without it the model chooses.")] = None,
    seed: Seed = 0,
    rig: RigName = "head",
    lm: Model = None,
) -> None:
    """Perform a sentence."""
    from tdmm_lm import verbs

    frames = verbs.animate(text, output, modality=modality, seconds=seconds, seed=seed, rig=rig, lm=lm)
    typer.echo(f"{frames} frames -> {', '.join(map(str, output))}")


@app.command(epilog="Examples: `tdmm convert take.csv take.glb --rig head`, `tdmm convert walk.bvh walk.npz --fps 30`")
def convert(
    source: In,
    target: Annotated[Path, typer.Argument(help="Where to write; the ending decides the format.")],
    rig: Annotated[str | None, typer.Option("--rig", help="Move the motion to this rig.")] = None,
    source_rig: Driven = None,
    fps: Annotated[
        float | None, typer.Option(help="The rate of a file that states none; bodies are resampled to it.")
    ] = None,
) -> None:
    """Between every format and rig; going to another rig prints the residual in millimetres."""
    from tdmm_lm import verbs

    typer.echo(verbs.convert(source, target, rig=rig, source_rig=source_rig, fps=fps))


@app.command(epilog="Example: `tdmm tokenize clip.npz -o codes.json`")
def tokenize(file: In, output: Out, source_rig: Driven = None, codec: CodecFolder = None) -> None:
    """Clip of a face or a body -> codes, as JSON."""
    from tdmm_lm import verbs

    typer.echo(verbs.tokenize(file, output, source_rig=source_rig, codec_folder=codec))


@app.command(epilog="Example: `tdmm detokenize codes.json -o clip.npz`")
def detokenize(
    file: Annotated[Path, typer.Argument(help="What `tdmm tokenize` wrote.")],
    output: Out,
    rig: Annotated[str | None, typer.Option(help="Head that a face shall move: head, ict, or a folder.")] = None,
    codec: CodecFolder = None,
) -> None:
    """Codes -> clip, in any format."""
    from tdmm_lm import verbs

    typer.echo(verbs.detokenize(file, output, rig=rig, codec_folder=codec))


@app.command(epilog="Example: `tdmm observe talk.mp4`")
def observe(file: In, source_rig: Driven = None) -> None:
    """Timed attributes as JSON, measured on the geometry; no model involved."""
    from tdmm_lm import verbs

    typer.echo(verbs.observe(file, source_rig=source_rig))


@app.command(epilog="Example: `tdmm capture talk.mp4 -o talk.npz`")
def capture(video: Annotated[Path, typer.Argument(help="A video of one face.")], output: Out) -> None:
    """Video -> face clip, at the video's own rate."""
    from tdmm_lm import verbs

    typer.echo(verbs.capture(video, output))


@app.command(epilog="Example: `tdmm render clip.npz -o clip.mp4 --audio voice.wav`")
def render(
    file: In,
    output: Out,
    renderer: Annotated[
        str | None, typer.Option(help="A file of tdmm_lm/render: mesh (faces) or skeleton (bodies).")
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="Sound to put under the picture.")] = None,
    rig: Annotated[str | None, typer.Option("--rig", help="Show the motion on this rig.")] = None,
    size: Annotated[int, typer.Option(help="Width and height, pixels, even.")] = 512,
) -> None:
    """Clip -> mp4."""
    from tdmm_lm import verbs

    typer.echo(verbs.render(file, output, renderer=renderer, audio=audio, rig=rig, size=size))


@corpus_app.command("build", epilog="Example: `tdmm corpus build recipes/corpus/nano.yaml -o runs/corpus`")
def corpus_build(recipe: Path, output: Out, changes: Changes = None) -> None:
    """A data set from a recipe; started again it goes on where it was. `workers=2`, `runner=ray` share out the work."""
    from tdmm_lm import config
    from tdmm_lm.corpus import build

    typer.echo(build.build(config.load(build.Settings, recipe, changes), output))


@corpus_app.command("check", epilog="Example: `tdmm corpus check runs/corpus`")
def corpus_check(folder: Path) -> None:
    """Verify every row of a data set and its card's numbers; the first thing wrong ends it with one line."""
    from tdmm_lm.corpus.building import checking

    typer.echo(checking.check(folder))


@corpus_app.command("videos", epilog="Example: `tdmm corpus videos recipes/corpus/generated.yaml -o runs/generated`")
def corpus_videos(recipe: Path, output: Out, changes: Changes = None) -> None:
    """Prompts, and videos for them by text-to-video generators; `dry_run=true` says what it would cost."""
    from tdmm_lm.corpus import generate

    typer.echo(generate.generate(generate.load(recipe, changes), output))


@corpus_app.command("paraphrase", epilog="Example: `tdmm corpus paraphrase runs/performed -o runs/paraphrases`")
def corpus_paraphrase(source: Path, output: Out, changes: Changes = None) -> None:
    """Captions in natural words by a chat endpoint (recipes/corpus/paraphrase.yaml), kept where labels survive."""
    from tdmm_lm.corpus.asking import paraphrase

    typer.echo(paraphrase.run(paraphrase.load(None, changes), source, output))


@corpus_app.command("watch", epilog="Example: `tdmm corpus watch runs/captured -o runs/watched`")
def corpus_watch(source: Path, output: Out, changes: Changes = None) -> None:
    """Descriptions of captured clips by a vision-language model (recipes/corpus/watching.yaml)."""
    from tdmm_lm.corpus.asking import watching

    typer.echo(watching.run(watching.load(None, changes), source, output))


@eval_app.command(
    "run", epilog="Example: `tdmm eval run eval/suites/m2l.yaml --endpoint http://127.0.0.1:8000/v1 -o runs/m2l`"
)
def eval_run(
    suite: Annotated[Path, typer.Argument(help="A YAML of eval/suites.")],
    output: Out,
    changes: Changes = None,
    endpoint: Annotated[str | None, typer.Option(help="URL or URL#MODEL of what is measured.")] = None,
    judge: Annotated[list[str] | None, typer.Option(help="URL or URL#MODEL of a judge; may be repeated.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many samples.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would ask and cost, ask nothing.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="From kept answers alone.")] = False,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Dollars, by the prices in the YAML.")] = None,
) -> None:
    """A suite against any OpenAI-compatible endpoint; started again it goes on. Exit code 1: a threshold is missed."""
    from tdmm_lm import verbs

    told, missed = verbs.evaluate(
        suite, output, changes or [], endpoint=endpoint, judges=judge or [], limit=limit, dry_run=dry_run,
        offline=offline, max_dollars=max_cost,
    )
    typer.echo(told)
    if missed:
        raise typer.Exit(1)


@eval_app.command("compare", epilog="Example: `tdmm eval compare runs/a runs/b -o runs/ab`")
def eval_compare(
    first: Path,
    second: Path,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A folder for tables and answers.")] = None,
    judge: Annotated[str | None, typer.Option(help="URL or URL#MODEL: texts are compared in both orders.")] = None,
) -> None:
    """Two runs of one suite on the same samples: differences, intervals, p-values."""
    from tdmm_lm import verbs

    typer.echo(verbs.compare(first, second, output, judge=judge))


@study_app.command(
    "page", epilog="Example: `tdmm eval study page eval/studies/l2m_user.yaml items.jsonl samples=20 -o study`"
)
def eval_study_page(
    recipe: Path, items: Annotated[Path, typer.Argument(help="JSON lines of items.")], output: Out,
    changes: Changes = None, seed: Seed = 0,
) -> None:
    """A blinded page for raters, to be put on any web server or opened as a file."""
    from tdmm_lm.eval import studies

    typer.echo(studies.make(recipe, items, output, seed=seed, changes=changes or []))


@study_app.command("read", epilog="Example: `tdmm eval study read study answers/*.csv`")
def eval_study_read(
    study: Annotated[Path, typer.Argument(help="The folder that `page` made.")], answers: list[Path]
) -> None:
    """What raters said, unblinded, with intervals, agreement and everybody who is left out."""
    from tdmm_lm.eval import studies

    typer.echo(studies.report(study, answers))


@app.command(epilog="Example: `tdmm train tokenizers/face.yaml steps=2000 -o runs/face`")
def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML whose `step:` names a file of tdmm_lm/train.")],
    changes: Changes = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: runs/<recipe's name>.")] = None,
) -> None:
    """Run one training step; started again it resumes."""
    from tdmm_lm import verbs

    verbs.train(recipe, changes or [], output or Path("runs") / recipe.stem)


@app.command(epilog="Example: `tdmm extend Qwen/Qwen3-0.6B -o runs/qwen-motion`")
def extend(
    base: Annotated[str, typer.Argument(help="A Hugging Face causal LM: folder or hub name.")],
    output: Out,
    codec: Annotated[Path | None, typer.Option(help="A codec's folder; without it the bundled face codec.")] = None,
) -> None:
    """Grow a language model by the motion tokens."""
    from tdmm_lm import verbs

    typer.echo(verbs.extend(base, output, codec=codec))


@app.command(epilog="Example: `tdmm export runs/lora/adapter runs/servable`")
def export(
    adapter: Path, out: Path, dtype: Annotated[str, typer.Option(help="bfloat16 or float32.")] = "bfloat16"
) -> None:
    """Adapter or checkpoint -> an ordinary, servable Hugging Face folder, checked."""
    from tdmm_lm import verbs

    typer.echo(verbs.export(adapter, out, dtype=dtype))


@app.command(name="import", epilog="Example: `tdmm import avatar.glb -o rigs/avatar`")
def import_rig(
    file: Annotated[Path, typer.Argument(help="FLAME .pkl or .npz from its owner, or a GLB head with ARKit's shapes.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder that `--rig` is then given.")],
) -> None:
    """A rig from its owner's file into a folder for `--rig`, read without executing anything in it."""
    from tdmm_lm import verbs

    typer.echo(verbs.import_rig(file, output))


@app.command(epilog="Example: `tdmm serve serve/transformers.yaml port=8000`")
def serve(
    recipe: Annotated[Path | None, typer.Argument(help="A YAML; serve/transformers.yaml where it is left out.")] = None,
    changes: Changes = None,
) -> None:
    """The OpenAI-compatible endpoint."""
    from tdmm_lm import bundle, config
    from tdmm_lm.serve import launch
    from tdmm_lm.serve.settings import Settings

    if recipe is not None and "=" in recipe.name and not recipe.exists():  # no recipe, a change alone
        recipe, changes = None, [str(recipe), *(changes or [])]
    launch.run(config.load(Settings, recipe or bundle.path("serve/transformers.yaml"), changes))


@app.command(epilog="Example: `tdmm bench head`")
def bench(name: Annotated[str, typer.Argument(help="A file of tdmm_lm/bench.")]) -> None:
    """A benchmark as JSON; kept as eval/bench/NAME.json in a checkout."""
    from tdmm_lm import verbs

    typer.echo(verbs.bench(name))


@app.command(epilog="Example: `tdmm doctor --fetch`")
def doctor(
    fetch: Annotated[bool, typer.Option("--fetch", help="Get what may be got, by checksum.")] = False,
) -> None:
    """What is installed, what is missing, how to get it."""
    from tdmm_lm import doctor as step

    typer.echo(step.report(fetch=fetch))


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"tdmm_lm {__version__}")
        raise typer.Exit


def main() -> None:
    """The user's mistakes end in one line and exit 2; ours in a traceback. Warnings of ours are one line too."""
    warnings.formatwarning = lambda message, *_, **__: f"note: {' '.join(str(message).split())}\n"
    try:
        app()
    except (
        ValueError,
        FileNotFoundError,
        FileExistsError,
        IsADirectoryError,
        PermissionError,
        ModuleNotFoundError,
    ) as error:
        if isinstance(error, ModuleNotFoundError):
            missing = (error.name or "?").split(".")[0]
            typer.echo(
                f"error: expected the package {missing!r}, found none; `tdmm doctor` says how to get it.", err=True
            )
        else:
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

"""``tdmm demo``: the whole loop offline with the bundled nano models.

Describes a bundled motion, performs two prompts, exports each for animators (npz, GLB, ARKit CSV), renders them to
mp4, and lays frames of both side by side on a contact sheet.
"""

import json
from pathlib import Path

from rich.console import Console

from tdmm_lm import bundle, codec, formats, rigs, verbs
from tdmm_lm.files import replacing

PROMPTS = {
    "smile_and_nod": "a woman smiles broadly, then nods twice",
    "surprise_and_tilt": "a girl looks astonished, then tilts her head to the left",
}
SECONDS = 4.0
ENDINGS = (".npz", ".glb", ".csv", ".mp4")


def run(output: Path) -> None:
    """Write everything into ``output`` and say on the terminal what was made."""
    from tdmm_lm.lm import generate
    from tdmm_lm.observe import run as observing
    from tdmm_lm.render import mesh

    say = Console(highlight=False).print
    rig, model = rigs.load("head"), generate.load(bundle.path("assets/lm"))
    network = model.codec()
    made: dict[str, object] = {}

    sample = sorted(bundle.path("assets/samples").glob("*.npz"))[0]
    clip = formats.read(sample)
    text = generate.describe(model, codec.tokenize(network, clip), None)
    say(f"[bold]{sample.name}[/bold] ({clip.seconds:.1f} s): {text}")
    made["description"] = {"file": sample.name, "text": text, "observed": observing.to_json(observing.run(clip, rig))}

    rows = []
    for seed, (name, prompt) in enumerate(PROMPTS.items(), start=1):
        codes = generate.perform(model, prompt, frames=round(SECONDS * network.code_fps), seed=seed)
        clip = codec.detokenize(network, codes, rig)
        seen = observing.run(clip, rig)
        for ending in ENDINGS:
            verbs.write(clip, output / f"{name}{ending}", rig)
        rows.append((prompt, clip))
        made[name] = {"prompt": prompt, "frames": clip.frames, "observed": observing.to_json(seen)}
        say(
            f"[bold]{prompt}[/bold] -> {output / name}.{{npz,glb,csv,mp4}} "
            f"(seen in it: {seen.family}, {seen.gesture} x{seen.count})"
        )
    mesh.contact_sheet(rows, rig, output / "contact_sheet.png")
    say(f"frames of both -> {output / 'contact_sheet.png'}")
    with replacing(output / "demo.json") as path:
        path.write_text(json.dumps(made, indent=2) + "\n")

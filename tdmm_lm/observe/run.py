"""A clip's observation: geometry, its curves, and every step of this folder on them. The same for every rig.

    python -m tdmm_lm observe clip.npz
"""

from dataclasses import asdict
from typing import Any

from tdmm_lm.geometry.measure import Geometry, measure
from tdmm_lm.motion import MotionClip
from tdmm_lm.observe import Observation, actions, blinks, gaze, head, shapes, signals, speech
from tdmm_lm.observe.signals import Signals
from tdmm_lm.rigs import Rig


def run(clip: MotionClip, rig: Rig) -> Observation:
    """All that is seen in a face clip on its rig.

    Raises:
        ValueError: the clip is no face, or its channels are not this rig's.
    """
    if clip.modality != "face":
        raise ValueError(f"observe: expected a face clip, got modality {clip.modality!r}.")
    return of_geometry(measure(clip, rig))


def of_geometry(geometry: Geometry, reference: str = signals.REFERENCE) -> Observation:
    """The same of a face on no particular rig, as a codec decodes it."""
    return of_signals(signals.read(geometry, reference))


def of_signals(seen: Signals) -> Observation:
    """The steps on their curves."""
    fps, frames = seen.fps, len(seen.weights)
    talk = speech.find(seen.mouth, fps)
    shown = actions.find(seen.weights, fps, speech.mask(talk, frames, fps))
    moved, shut = head.find(seen.rotation, fps), blinks.find(seen.lids, fps)
    looked = gaze.find(seen.gaze, seen.lids, fps)
    expression, gesture = actions.strongest(shown), head.salient(moved)
    every = [*shapes.find(seen.weights, fps), *shown, *shut, *looked, *moved, *talk]
    return Observation(
        seconds=frames / fps, fps=fps,
        family=expression.name if expression else "neutral", intensity=expression.intensity if expression else 0.0,
        gesture=gesture.name if gesture else "none", count=gesture.count if gesture else 0,
        gaze=gaze.salient(looked), blinks=len(shut), speech_share=speech.share(talk, frames / fps),
        events=sorted(every, key=lambda event: (event.onset, event.kind, event.name)),
    )


def to_json(observation: Observation) -> dict[str, Any]:
    """Plain data for JSON: seconds to the millisecond, intensities to the hundredth."""
    result = asdict(observation)
    for part in (result, *result["events"]):
        for key, value in part.items():
            if isinstance(value, float):
                part[key] = round(value, 2 if key in ("intensity", "speech_share") else 3)
    return result

"""How good made motion is, as numbers. Every other file is one metric, named by its file, with the same names:

    BETTER        "lower", "higher", or "nearer": to the reference's own value, or to 0 where it is a signed difference
    UNIT          of the value
    TAKES         what a prediction and a reference are: a word of `KINDS`
    REFERENCE     "paired": the i-th reference belongs to the i-th prediction; "set": another set, of any size; "none"
    LEAST         the least sizes, by the names in `KINDS` and by "samples"; what is not named is 1
    each(predicted, reference, *, ...)    -> (n,) float64: a value a sample, the metric is their weighted mean
    whole(predicted, reference, *, ...)   -> float, where the value belongs to the set
    weights(predicted, *, ...)            -> (n,) of the samples in that mean; None: all the same

Of ``each`` and ``whole`` one is None. Without a reference (``REFERENCE = "none"``) they take the predictions alone.
What comes after the star are options, and the same word is the same thing in every file:

    fps                  frames a second
    lips, lids, upper    which points these are: indices. ``upper`` is the upper face
    template             the face at rest, (points, 3) metres, for all samples or one for each
    floor_metres         height of the floor
    sigma_seconds        standard deviation of a Gaussian
    pairs                how many pairs are drawn
    seed                 of ``np.random.RandomState``, which the published scripts draw with; None: the order as given
    query                "text": motions are searched by text; "motion": the other way
    alike                (samples, samples) bool: whose texts are as good as one's own
    encoder              folder of a transformers encoder

Metres, Y up. A metric is called by `measure`, which checks all that goes in, so that no file does it again.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float

from tdmm_lm import config

Values = Float[np.ndarray, " samples"]
Clips = list[Float[np.ndarray, "frames points 3"]]
Vectors = Float[np.ndarray, "samples width"]

POINTS = ("frames", "points", 3)  # metres
JOINTS = ("frames", 22, 3)  # metres, Y up, as `motion.body.JOINTS`
KINDS: dict[str, tuple[Any, Any]] = {  # a prediction, a reference: the sizes of an array, or a word for texts
    "points": (POINTS, POINTS),
    "joints": (JOINTS, JOINTS),
    "rows": (("frames", "channels"), ("frames", "channels")),  # parameters of a rig
    "curve": (("frames",), ("frames",)),  # how wide a mouth is open, how loud a voice is
    "beats": (POINTS, ("times",)),  # a body in motion, the beats of its music or speech in seconds
    "vector": (("width",), ("width",)),  # an embedding; where texts are searched, the reference is the text's
    "generations": (("generations", "width"), ("generations", "width")),  # embeddings of several motions for one text
    "codes": (("codes",), ("codes",)),  # integers
    "text": ("text", "text"),
    "captions": ("text", "texts"),  # a caption, the captions that people wrote
}
VARYING = ("frames", "times", "codes")  # sizes that may differ from sample to sample


@dataclass(frozen=True, eq=False)
class Measured:
    """What `measure` found.

    Attributes:
        n: samples that count.
        each: a value a sample; the value is their mean, weighted by ``weights`` where these are not None.
        target: what "nearer" is nearer to; where a metric takes no reference, the same of the reference, if one came.
    """

    name: str
    value: float
    unit: str
    better: str
    n: int
    each: Values | None = None
    weights: Values | None = None
    target: float | None = None


def measure(name: str, predicted: Any, reference: Any = None, **options: Any) -> Measured:
    """One metric of samples: lists of arrays, of texts, or one array whose first axis is the samples.

    The options (the only `**`) are passed whole to the metric's function. Numbers are computed in double precision.

    Raises:
        ValueError: no such metric or option, or input that the metric does not take; one line says what and where.
        ImportError: the metric needs a package that is not installed.
    """
    module = config.find("metrics", name)
    where = f"metrics.{name}"
    kinds = KINDS[module.TAKES]
    ours = _samples(predicted, kinds[0], f"{where}: predictions", module.LEAST)
    theirs = None
    if reference is not None:
        theirs = _samples(reference, kinds[1], f"{where}: references", module.LEAST)
        _agree(ours, theirs, kinds, paired=module.REFERENCE == "paired", where=where)
    elif module.REFERENCE != "none":
        raise ValueError(f"{where}: expected references, found none.")
    options = _options(module, options, ours, where)
    target = 0.0 if module.BETTER == "nearer" and module.REFERENCE != "none" else None
    try:
        with np.errstate(all="ignore"):  # what is not finite in the end is said below
            alone = module.REFERENCE == "none"
            value, each, weights = _run(module, (ours,) if alone else (ours, theirs), options)
            if alone and theirs is not None:
                target = _run(module, (theirs,), options)[0]
    except ValueError as error:  # files say what is wrong, and this is where
        raise ValueError(f"{where}: {error}") from error
    if not np.isfinite([value, target or 0.0]).all():
        raise ValueError(f"{where}: expected numbers of a size that can be squared, got a value of {value}.")
    n = len(ours) if weights is None else int(np.count_nonzero(weights))
    return Measured(name, value, module.UNIT, module.BETTER, n, each, weights, target)


def _run(
    module: ModuleType, samples: tuple[Any, ...], options: Mapping[str, Any]
) -> tuple[float, Values | None, Values | None]:
    if module.each is None:
        return float(module.whole(*samples, **options)), None, None
    each = np.asarray(module.each(*samples, **options), np.float64)
    assert each.shape == (len(samples[0]),), f"metrics: {module.__name__}.each gave {each.shape}"
    weights = None
    if module.weights is not None:
        weights = np.asarray(_call(module.weights, samples[0], options), np.float64)
    return float(np.average(each, weights=weights)), each, weights


def _call(function: Callable[..., Any], samples: Any, options: Mapping[str, Any]) -> Any:
    """With the options that it has."""
    return function(samples, **{key: value for key, value in options.items() if key in parameters(function)})


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The options of a metric's function."""
    found = inspect.signature(function).parameters.values()
    return {one.name: one for one in found if one.kind is inspect.Parameter.KEYWORD_ONLY}


def _samples(values: Any, shape: Any, where: str, least: Mapping[str, int]) -> Any:
    """Checked samples: an array where all have one size, else a list."""
    if isinstance(values, str | bytes | Mapping):
        raise ValueError(f"{where}: expected a list of samples, got {type(values).__name__}.")
    if isinstance(values, np.ndarray) and values.dtype.kind in "OU" and values.ndim == 1:
        values = list(values)  # arrays of different sizes; texts
    if not isinstance(values, Sequence):
        values = _array(values, where)
        if not values.ndim:
            raise ValueError(f"{where}: expected a list of samples, got one number.")
    if len(values) < least.get("samples", 1):
        raise ValueError(f"{where}: expected at least {least.get('samples', 1)}, got {len(values)}.")
    if isinstance(shape, str):
        return [_text(value, shape, f"{where}[{i}]") for i, value in enumerate(values)]
    whole_numbers = shape == ("codes",)
    if isinstance(values, np.ndarray) and values.ndim == 1 + len(shape):  # in one go: as fast as the sum of it
        made = _fitting(values, ("samples", *shape), where, least, whole_numbers)
        return list(made) if set(shape) & set(VARYING) else made
    rows = [
        _fitting(_array(value, f"{where}[{i}]"), shape, f"{where}[{i}]", least, whole_numbers)
        for i, value in enumerate(values)
    ]
    for axis, size in enumerate(shape):
        for i, row in enumerate(rows):
            if size not in VARYING and row.shape[axis] != rows[0].shape[axis]:
                raise ValueError(
                    f"{where}[{i}]: expected {rows[0].shape[axis]} {size} as the first has, got {row.shape[axis]}."
                )
    return rows if set(shape) & set(VARYING) else np.stack(rows)


def _array(value: Any, where: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):  # ragged; no numbers; a tensor that is not on this device
        raise ValueError(f"{where}: expected an array of numbers, got {type(value).__name__}.") from None
    if array.size and array.dtype.kind not in "iuf":
        raise ValueError(f"{where}: expected an array of numbers, got {array.dtype} in {type(value).__name__}.")
    return array


def _fitting(
    array: np.ndarray, shape: Sequence[str | int], where: str, least: Mapping[str, int], whole_numbers: bool
) -> np.ndarray:
    words = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
    if array.ndim != len(shape) or any(isinstance(size, int) and size != got for size, got in zip(shape, array.shape)):
        raise ValueError(f"{where}: expected {words}, got {array.shape}.")
    for size, got in zip(shape, array.shape):
        if isinstance(size, str) and got < least.get(size, 1):
            raise ValueError(f"{where}: expected at least {least.get(size, 1)} {size}, got {got}.")
    if whole_numbers:
        if array.dtype.kind not in "iu" or array.min() < 0:
            raise ValueError(f"{where}: expected integers of at least 0, got {array.dtype} from {array.min()}.")
        return array.astype(np.int64)
    array = array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{where}: expected finite numbers, got {array[~np.isfinite(array)][0]}.")
    return array


def _text(value: Any, kind: str, where: str) -> str | list[str]:
    if kind == "text":
        if not isinstance(value, str):
            raise ValueError(f"{where}: expected a text, got {type(value).__name__}.")
        return value
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{where}: expected a list of texts, got {type(value).__name__}.")
    if not any(text.strip() for text in value):
        raise ValueError(f"{where}: expected at least one text with a word in it, got none.")
    return list(value)


def _agree(ours: Any, theirs: Any, kinds: tuple[Any, Any], *, paired: bool, where: str) -> None:
    """
    Raises:
        ValueError: a prediction without a reference, or one of another size.
    """
    if paired and len(ours) != len(theirs):
        raise ValueError(f"{where}: expected as many references as predictions, got {len(theirs)} and {len(ours)}.")
    if isinstance(kinds[0], str) or kinds[0] != kinds[1]:
        return
    one_size = isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray)
    for i, (one, other) in enumerate(zip(ours[:1] if one_size else ours, theirs)):
        for axis, size in enumerate(kinds[0]):
            if one.shape[axis] != other.shape[axis] and (paired or size not in VARYING):
                raise ValueError(
                    f"{where}: references[{i}]: expected {one.shape[axis]} {size} as the prediction has, "
                    f"got {other.shape[axis]}."
                )


def _options(module: ModuleType, options: Mapping[str, Any], ours: Any, where: str) -> dict[str, Any]:
    known = parameters(module.each or module.whole)
    for key in options:
        if key not in known:
            raise ValueError(f"{where}: expected no option but {', '.join(known) or 'none'}, got {key!r}.")
    for key, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and key not in options:
            raise ValueError(f"{where}: {key}: expected a value, found none.")
    return {key: _option(key, value, ours, f"{where}: {key}") for key, value in options.items()}


def _option(key: str, value: Any, ours: Any, where: str) -> Any:
    """
    Raises:
        ValueError: not what the word means in every file.
    """
    match key:
        case "fps" | "sigma_seconds":
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < np.inf:
                raise ValueError(f"{where}: expected a number above 0, got {value!r}.")
        case "floor_metres":
            if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
                raise ValueError(f"{where}: expected a number, got {value!r}.")
        case "pairs":
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{where}: expected an integer above 0, got {value!r}.")
        case "seed":
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32):
                raise ValueError(f"{where}: expected an integer from 0 to 2**32 - 1, got {value!r}.")
        case "query":
            if value not in ("text", "motion"):
                raise ValueError(f"{where}: expected text or motion, got {value!r}.")
        case "lips" | "lids" | "upper":
            points = ours[0].shape[1]
            chosen = _array(value, where)
            if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind not in "iu":
                raise ValueError(f"{where}: expected a list of indices, got {value!r}.")
            if chosen.min() < 0 or chosen.max() >= points:
                wrong = chosen[(chosen < 0) | (chosen >= points)][0]
                raise ValueError(f"{where}: expected indices from 0 to {points - 1}, got {wrong}.")
            return chosen
        case "template":
            rest = _array(value, where).astype(np.float64)
            wanted = (ours[0].shape[1], 3)
            if rest.shape not in (wanted, (len(ours), *wanted)) or not np.isfinite(rest).all():
                raise ValueError(f"{where}: expected {wanted} finite numbers, or so for each sample, got {rest.shape}.")
            return np.broadcast_to(rest, (len(ours), *wanted))
        case "alike":
            same = np.asarray(value)
            if same.shape != (len(ours),) * 2 or same.dtype != bool:
                raise ValueError(f"{where}: expected ({len(ours)}, {len(ours)}) bool, got {same.shape} {same.dtype}.")
            return same
    return value

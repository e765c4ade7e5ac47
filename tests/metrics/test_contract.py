"""What every metric promises, of every file in the folder: names, perfect is best, worse is worse, clear refusals."""

import inspect
import re
from typing import Any

import numpy as np
import pytest

from tdmm_lm import config, metrics
from tests.metrics.made import AMOUNTS, OPTIONS, pairs, spoiled

NAMES = config.known("metrics")
DRAWS = 2


def options(name: str) -> dict[str, Any]:
    module = config.find("metrics", name)
    return {key: value for key, value in OPTIONS.items() if key in metrics.parameters(module.each or module.whole)}


def measure(name: str, predicted: list[Any], reference: list[Any] | None, **more: Any) -> metrics.Measured:
    try:
        return metrics.measure(name, predicted, reference, **options(name) | more)
    except ImportError as error:
        pytest.skip(str(error))


def badness(measured: metrics.Measured) -> float:
    """Larger is worse."""
    if measured.better == "nearer":
        assert measured.target is not None
        return abs(measured.value - measured.target)
    return measured.value if measured.better == "lower" else -measured.value


@pytest.mark.parametrize("name", NAMES)
def test_the_file_has_the_names(name):
    module = config.find("metrics", name)
    assert module.BETTER in ("lower", "higher", "nearer")
    assert module.TAKES in metrics.KINDS
    assert module.REFERENCE in ("paired", "set", "none")
    assert module.UNIT
    assert (module.each is None) != (module.whole is None)
    assert module.weights is None or module.each is not None
    sizes = {size for shape in metrics.KINDS[module.TAKES] if isinstance(shape, tuple) for size in shape}
    assert set(module.LEAST) <= sizes | {"samples"}
    function = module.each or module.whole
    wanted = ["predicted"] if module.REFERENCE == "none" else ["predicted", "reference"]
    assert [key for key in inspect.signature(function).parameters if key not in metrics.parameters(function)] == wanted
    for key in metrics.parameters(function):
        said = re.search(rf"^    [a-z_, ]*\b{key}\b", metrics.__doc__, re.MULTILINE)
        assert said, "an option is the same word everywhere: say it there"


@pytest.mark.parametrize("name", NAMES)
def test_perfect_is_best_and_worse_is_worse(name):
    takes = config.find("metrics", name).TAKES
    found = np.zeros((DRAWS, len(AMOUNTS)))
    for draw in range(DRAWS):
        clean, reference = pairs(takes, np.random.default_rng(draw))
        for i, amount in enumerate(AMOUNTS):
            worse = spoiled(takes, clean, amount, np.random.default_rng(100 + draw))
            measured = measure(name, worse, reference)
            found[draw, i] = badness(measured)
            assert measured.n <= len(clean)
    assert (found[:, :1] <= found + 1e-9 * np.abs(found).max()).all()
    assert (np.diff(found.mean(0)) >= 0).all(), found.mean(0)
    assert found.mean(0)[0] < found.mean(0)[-1]


@pytest.mark.parametrize("name", NAMES)
def test_the_value_is_the_mean_of_each(name):
    module = config.find("metrics", name)
    clean, reference = pairs(module.TAKES, np.random.default_rng(0))
    measured = measure(name, spoiled(module.TAKES, clean, 1.0, np.random.default_rng(1)), reference)
    assert (measured.name, measured.unit, measured.better) == (name, module.UNIT, module.BETTER)
    if module.each is None:
        assert measured.each is None
        assert measured.n == len(clean)
        return
    assert measured.each is not None
    assert measured.each.shape == (len(clean),)
    assert measured.value == pytest.approx(np.average(measured.each, weights=measured.weights), rel=1e-12)
    again = measure(name, spoiled(module.TAKES, clean, 1.0, np.random.default_rng(1)), reference)
    assert again.value == measured.value
    if module.REFERENCE == "none":
        assert measured.target == pytest.approx(measure(name, reference, None).value)


def refused(name: str, predicted: Any, reference: Any, **more: Any) -> str:
    with pytest.raises(ValueError, match=r"^metrics\.") as error:
        measure(name, predicted, reference, **more)
    message = str(error.value)
    assert message.startswith(f"metrics.{name}: ")
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_measured_is_refused_in_one_line(name):
    module = config.find("metrics", name)
    kind = metrics.KINDS[module.TAKES][0]
    clean, reference = pairs(module.TAKES, np.random.default_rng(0))
    least = module.LEAST.get("samples", 1)
    assert refused(name, [], []) == f"metrics.{name}: predictions: expected at least {least}, got 0."
    if least > 1:
        few = least - 1
        assert f"expected at least {least}, got {few}." in refused(name, clean[:few], reference[:few])
    if module.REFERENCE != "none":
        assert refused(name, clean, None) == f"metrics.{name}: expected references, found none."
    if module.REFERENCE == "paired":
        n = len(clean)
        line = f"metrics.{name}: expected as many references as predictions, got {n - 1} and {n}."
        assert refused(name, clean, reference[:-1]) == line
    assert "expected a list of samples, got str." in refused(name, "abc", reference)
    assert "expected no option but " in refused(name, clean, reference, nonsense=1)
    assert "predictions[1]: expected " in refused(name, [clean[0], None, *clean[2:]], reference)
    if isinstance(kind, str):
        return
    assert "predictions[1]: expected (" in refused(name, [clean[0], clean[1][None], *clean[2:]], reference)
    words = [*clean[:2], "x", *clean[3:]]
    assert "predictions[2]: expected an array of numbers, got " in refused(name, words, reference)
    for size, smallest in module.LEAST.items():
        if size != "samples":
            axis = kind.index(size)
            short = [one.take(range(smallest - 1), axis) for one in clean]
            assert f"[0]: expected at least {smallest} {size}, got {smallest - 1}." in refused(name, short, short)
    if kind == ("codes",):
        halves = [codes / 2 for codes in clean]
        assert "predictions[0]: expected integers of at least 0, got float64" in refused(name, halves, reference)
        return
    broken = [one.copy() for one in clean]
    broken[3].flat[0] = np.nan
    assert "predictions[3]: expected finite numbers, got nan." in refused(name, broken, reference)
    if module.REFERENCE != "none" and metrics.KINDS[module.TAKES][1] == kind:
        assert "references[3]: expected finite numbers, got nan." in refused(name, clean, broken)
        if any(size in metrics.VARYING for size in kind) and module.REFERENCE == "paired":
            longer = [np.concatenate([one, one[:1]]) for one in reference]
            assert "references[0]: expected 50 frames as the prediction has, got 51." in refused(name, clean, longer)


@pytest.mark.parametrize("name", [name for name in NAMES if config.find("metrics", name).TAKES in ("vector", "joints")])
def test_arrays_and_tensors_are_samples_too(name):
    import torch

    module = config.find("metrics", name)
    clean, reference = pairs(module.TAKES, np.random.default_rng(0))
    worse = spoiled(module.TAKES, clean, 1.0, np.random.default_rng(1))
    both = [np.stack([one[:50] for one in ones]) for ones in (worse, reference)]
    value = measure(name, list(both[0]), list(both[1])).value
    assert measure(name, *both).value == value
    assert measure(name, *map(torch.from_numpy, both)).value == value
    half = measure(name, *(one.astype(np.float32) for one in both))
    assert half.value == pytest.approx(value, rel=1e-4, abs=1e-6)
    both[0][1, 0] = np.nan
    assert "predictions: expected finite numbers, got nan." in refused(name, *both)


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("jitter", "fps", 0, "fps: expected a number above 0, got 0."),
        ("jitter", "fps", "20", "fps: expected a number above 0, got '20'."),
        ("jitter", "fps", np.nan, "fps: expected a number above 0, got nan."),
        ("penetration_mm", "floor_metres", np.inf, "floor_metres: expected a number, got inf."),
        ("lve_mm", "lips", [0, 6], "lips: expected indices from 0 to 5, got 6."),
        ("lve_mm", "lips", [], "lips: expected a list of indices, got []."),
        ("lve_mm", "lips", [0.5], "lips: expected a list of indices, got [0.5]."),
        (
            "fdd_signed", "template", np.zeros((5, 3)),
            "template: expected (6, 3) finite numbers, or so for each sample, got (5, 3).",
        ),
        ("diversity", "pairs", 0, "pairs: expected an integer above 0, got 0."),
        ("diversity", "pairs", 40, "expected more than 40 samples for 40 pairs, got 40."),
        ("multimodality", "pairs", 12, "expected more than 12 generations for 12 pairs, got 12."),
        ("diversity", "seed", -1, "seed: expected an integer from 0 to 2**32 - 1, got -1."),
        ("recall_1", "query", "texts", "query: expected text or motion, got 'texts'."),
        ("recall_1", "alike", np.zeros((2, 2)), "alike: expected (40, 40) bool, got (2, 2) float64."),
        ("embedding_f1", "encoder", "/nowhere", "encoder: expected a folder with config.json, got '/nowhere'."),
        ("foot_skate", "fps", 5000, "foot skate: expected fps of 1 to 1000 Hz, got 5000."),
    ],
)
def test_options_are_checked(name, key, value, message):
    clean, reference = pairs(config.find("metrics", name).TAKES, np.random.default_rng(0))
    assert refused(name, clean, reference, **{key: value}) == f"metrics.{name}: {message}"


def test_arrays_of_arrays_and_of_texts():
    clean, reference = pairs("joints", np.random.default_rng(0))
    ragged = np.empty(len(clean), object)
    ragged[:] = spoiled("joints", clean, 1.0, np.random.default_rng(1))
    plain = metrics.measure("mpjpe_mm", list(ragged), reference)
    assert metrics.measure("mpjpe_mm", ragged, reference).value == plain.value
    texts = np.array(["a b", "b c d"])
    assert metrics.measure("text_distinct_2", texts).value == metrics.measure("text_distinct_2", list(texts)).value == 1


@pytest.mark.parametrize(
    ("name", "predicted", "reference", "more", "message"),
    [
        ("lve", [], None, {}, r"^metrics: expected one of .*lve_mm.*, got 'lve'\.$"),
        ("jitter", np.zeros((2, 9, 22, 3)), None, {}, r"^metrics\.jitter: fps: expected a value, found none\.$"),
        ("jitter", np.zeros((2, 9, 22, 3)), None, {"seconds": 2}, r"expected no option but fps, got 'seconds'\.$"),
        ("jitter", np.zeros((2, 9, 21, 3)), None, {"fps": 2}, r"\(samples, frames, 22, 3\), got \(2, 9, 21, 3\)"),
        ("fid", np.ones((3, 4)), np.ones((6, 5)), {}, r"s\[0\]: expected 4 width as the prediction has, got 5\.$"),
        ("fid", [np.ones(4), np.ones(5)], np.ones((6, 5)), {}, r"\[1\]: expected 4 width as the first has, got 5\.$"),
        ("fid", np.eye(4) * 1e200, np.eye(4), {}, r"expected numbers of a size that can be squared, got a value of"),
        ("bleu_4", ["a", "b"], ["a", "b"], {}, r"references\[0\]: expected a list of texts, got str\.$"),
        ("bleu_4", ["a", "b"], [["a"], []], {}, r"references\[1\]: expected at least one text with a word"),
        ("recall_1", np.diag([1, 0, 1]), np.eye(3), {}, r"predictions\[1\]: expected an embedding that is not 0, got"),
        ("lip_sync_correlation", [np.arange(9)], [np.ones(9)], {}, r"references\[0\]: expected a loudness that"),
    ],
)
def test_other_refusals(name, predicted, reference, more, message):
    with pytest.raises(ValueError, match=message):
        metrics.measure(name, predicted, reference, **more)

"""The metrics through Hugging Face's `evaluate`, of every kind of sample, without a network."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tdmm_lm import config, metrics
from tests.metrics.made import OPTIONS, pairs, spoiled

BY_KIND = {config.find("metrics", name).TAKES: name for name in reversed(config.known("metrics"))}
NAMES = sorted({*BY_KIND.values(), "fid", "jitter"})
SAMPLES = 10

# In a process of its own, so that what `evaluate` writes into its folder of modules is written elsewhere.
SCRIPT = """
import json, sys
import evaluate
from tdmm_lm.eval import hf

found = {}
for name, (predictions, references, options) in json.load(sys.stdin).items():
    metric = evaluate.load(hf.path(), name)
    given = {"predictions": predictions} | ({} if references is None else {"references": references})
    found[name] = metric.compute(**given, **options)
    if name == "fid":
        for part in (slice(0, 4), slice(4, None)):
            metric.add_batch(**{key: values[part] for key, values in given.items()})
        assert metric.compute(**options) == found[name]
for name in ("default", "nothing"):
    try:
        evaluate.load(hf.path(), name)
    except ValueError as error:
        found[name] = str(error)
print(json.dumps(found))
"""


def test_every_kind_of_sample_goes_through_evaluate(tmp_path):
    pytest.importorskip("evaluate")
    given, wanted = {}, {}
    for name in NAMES:
        module = config.find("metrics", name)
        clean, reference = (some[:SAMPLES] for some in pairs(module.TAKES, np.random.default_rng(0)))
        predicted = spoiled(module.TAKES, clean, 1.0, np.random.default_rng(1))
        known = metrics.parameters(module.each or module.whole)
        options = {key: value for key, value in OPTIONS.items() if key in known}
        alone = module.REFERENCE == "none"
        measured = metrics.measure(name, predicted, None if alone else reference, **options)
        wanted[name] = {name: measured.value, "n": measured.n}
        given[name] = (predicted, None if alone else reference, options)
    assert {config.find("metrics", name).TAKES for name in NAMES} == set(metrics.KINDS)
    text = json.dumps(given, default=lambda array: array.tolist())
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", SCRIPT], input=text, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    for name in NAMES:
        assert found[name] == pytest.approx(wanted[name], rel=1e-12), name
    for name in ("default", "nothing"):
        assert found[name].startswith("evaluate: expected a metric among acceleration_error, ")
        assert found[name].endswith(f"got {name!r}.")

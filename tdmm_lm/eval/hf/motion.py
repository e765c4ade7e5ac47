"""Every metric of `tdmm_lm.metrics` as an `evaluate.Metric`, which `evaluate.load` reads from this file: see `hf.path`.

The metric's name is the configuration; its options are arguments of ``compute``. `evaluate` keeps predictions and
references in one table, so that sets come in equal numbers here, and a metric without references gives no target.
"""

from typing import Any

import datasets
import evaluate

from tdmm_lm import config, metrics

DESCRIPTION = "Metrics of human motion: faces, bodies, captions and codes. The configuration is a metric's name."
CITATION = ""
INPUTS = """
    predictions: a list of samples; what a sample is, the metric's TAKES and `tdmm_lm.metrics.KINDS` say.
    references: likewise, where the metric has any.
    Options of the metric, such as fps, are further arguments. The result is {name: value, "n": samples}.
"""


class Motion(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        known = config.known("metrics")
        if self.config_name not in known:
            raise ValueError(f"evaluate: expected a metric among {', '.join(known)}, got {self.config_name!r}.")
        module = config.find("metrics", self.config_name)
        predicted, reference = map(feature, metrics.KINDS[module.TAKES])
        columns = {"predictions": predicted}
        if module.REFERENCE != "none":
            columns["references"] = reference
        return evaluate.MetricInfo(
            description=DESCRIPTION, citation=CITATION, inputs_description=INPUTS, features=datasets.Features(columns),
        )

    def _compute(self, predictions: Any, references: Any = None, **options: Any) -> dict[str, float | int]:
        found = metrics.measure(self.config_name, predictions, references, **options)
        return {found.name: found.value, "n": found.n}


def feature(shape: Any) -> Any:
    """A sample's column: lists in lists as deep as the array has axes, of any length; or a text, or a list of them."""
    if isinstance(shape, str):
        text = datasets.Value("string")
        return text if shape == "text" else datasets.List(text)
    made: Any = datasets.Value("int64" if shape == ("codes",) else "float64")
    for _ in shape:
        made = datasets.List(made)
    return made

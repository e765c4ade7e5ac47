"""FID of text-to-motion (Guo et al. 2022): `fd` of the embeddings that the pretrained evaluator gives motions, made
against real. About 4,402 test samples of HumanML3D; the published figure is the mean of 20 replications."""

from tdmm_lm.metrics import fd

BETTER = "lower"
UNIT = "squared distance"
TAKES = "vector"
REFERENCE = "set"
LEAST = {"samples": 2}
each = weights = None
whole = fd.frechet

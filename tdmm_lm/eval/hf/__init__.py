"""The metrics as a module of Hugging Face's `evaluate`:

    import evaluate
    from tdmm_lm.eval import hf

    evaluate.load(hf.path(), "mpjpe_mm").compute(predictions=..., references=...)
"""

from pathlib import Path


def path() -> str:
    """The loading script, for `evaluate.load`; it needs no network."""
    return str(Path(__file__).parent / "motion.py")

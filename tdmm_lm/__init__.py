"""tdmm_lm: a language model that reads and writes human motion."""

__version__ = "0.1.0"

"""Training, one straight-line file a method: ``tdmm train RECIPE``."""

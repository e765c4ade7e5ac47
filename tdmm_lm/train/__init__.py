"""Training, one straight-line file a step, each with ``Settings`` and ``main(settings, out)``: ``tdmm train``."""

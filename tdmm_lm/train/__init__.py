"""Training, one straight-line file a method, each with ``Settings`` and ``main(settings, out)``: ``tdmm train RECIPE``."""

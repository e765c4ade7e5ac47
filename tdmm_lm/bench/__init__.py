"""What `tdmm bench NAME` measures: a file each with `run() -> figures`, in the shape of `tdmm_lm.report`."""

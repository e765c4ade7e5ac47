"""The bundled language model in figures: both directions on held-out performances and prompts, and real recordings.

tdmm bench nano
"""

from typing import Any

from tdmm_lm import bundle
from tdmm_lm.eval import nano


def run() -> dict[str, dict[str, Any]]:
    """The keys of the nano report; those of real recordings only where ``$TDMM_DATA`` names the data folder."""
    bench = nano.load()
    figures = nano.described(bench) | nano.performed(bench) | nano.parameters(bench)
    data = bundle.data()
    if data is not None:
        figures |= nano.recorded(bench, list(nano.recordings(data)))
    return figures

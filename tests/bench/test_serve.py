"""The arithmetic of the gateway's benchmark on numbers made by hand; nothing is served (`tdmm bench serve` is)."""

import numpy as np
import orjson
import pytest

from tdmm_lm import bundle
from tdmm_lm.bench import serve, soak, traffic
from tdmm_lm.bench.traffic import Round
from tdmm_lm.lm import vocab
from tdmm_lm.report import KEYS
from tdmm_lm.serve.engine import Options
from tdmm_lm.serve.openai_engine import OpenAIEngine

TEXT = """# TYPE tdmm:first_motion_lag_seconds histogram
tdmm:first_motion_lag_seconds_bucket{le="0.01"} 2.0
tdmm:first_motion_lag_seconds_bucket{le="0.02"} 8.0
tdmm:first_motion_lag_seconds_bucket{le="+Inf"} 10.0
tdmm:first_motion_lag_seconds_count 10.0
tdmm:other_bucket{le="0.01"} 99.0
"""


def a_round(*, wall: float = 2.0, whole: float = 0.5, first: float = 0.1, count: int = 4) -> Round:
    return Round(
        wall, np.full(count, first), np.full(count, whole), np.full(3 * count, 0.02), 0, "", 100,
        {"gateway": 0.004, "engine": 0.02, "client": 0.001},
    )


def test_quantiles_lie_straight_between_the_bounds_of_buckets():
    counts = serve.buckets(TEXT, "tdmm:first_motion_lag_seconds")
    assert counts == {0.01: 2, 0.02: 8, float("inf"): 10}
    assert serve.quantile(counts, 0.1) == pytest.approx(0.005)
    assert serve.quantile(counts, 0.5) == pytest.approx(0.015)
    assert serve.quantile(counts, 0.99) == 0.02, "above all bounds: the last one"
    assert serve.quantile({}, 0.5) is None
    assert serve.quantile({0.01: 0.0, float("inf"): 0.0}, 0.5) is None
    two = 'x_bucket{a="1",le="1"} 2\nx_bucket{a="2",le="1"} 3\n'
    assert serve.buckets(two, "x") == {1.0: 5.0}, "label sets together"


def test_first_motion_is_told_in_milliseconds():
    figures = serve.lagged(serve.buckets(TEXT, serve.LAG))
    assert figures["first_motion_ms_after_tokens"]["value"] == pytest.approx(15)
    assert figures["first_motion_ms_after_tokens_p99"]["value"] == pytest.approx(20)
    assert figures["first_motion_ms_after_tokens"]["n"] == 10
    assert serve.lagged({})["first_motion_ms_after_tokens"]["value"] is None


def test_arrivals_are_poissons():
    times = serve.poisson(20.0, 500.0, seed=3)
    assert len(times) == pytest.approx(10_000, rel=0.05)
    assert (np.diff(times) >= 0).all()
    assert 0 <= times[0] <= times[-1] < 500
    gaps = np.diff(times)
    assert gaps.mean() == pytest.approx(gaps.std(), rel=0.05), "exponential between them"
    assert (serve.poisson(20.0, 500.0, seed=3) == times).all()


def test_intervals_are_of_rounds():
    assert serve.interval([1.0], np.mean) is None
    assert serve.interval([2.0, 2.0, 2.0], np.mean) == (2.0, 2.0)
    low, high = serve.interval([1.0, 2.0, 3.0], np.mean)
    assert 1 <= low < 2 < high <= 3


def test_the_summary_of_rounds():
    rounds = {(way, many): [a_round(), a_round()] for many in serve.LEVELS for way in ("direct", "gateway")}
    rounds["gateway", 32] = [a_round(wall=2.5), a_round(wall=2.5)]
    rounds["codes", 32] = rounds["whole", 32] = [a_round(wall=2.0)] * 2
    figures = serve.summed(rounds)
    assert all(tuple(figure) == KEYS for figure in figures.values())
    for way in ("direct", "gateway"):
        for many in serve.LEVELS:
            for name in ("request_throughput", "output_throughput"):
                assert f"{way}_{many}_{name}" in figures
            for kind in ("ttft", "tpot", "itl", "e2el"):
                assert {f"{way}_{many}_{name}_{kind}_ms" for name in ("mean", "median", "p99")} <= set(figures)
    assert figures["throughput_kept"]["value"] == pytest.approx(0.8)
    assert figures["throughput_kept"]["interval"] == pytest.approx([0.8, 0.8])
    assert figures["throughput_kept_codes"]["value"] == figures["throughput_kept_whole"]["value"] == pytest.approx(1)
    assert figures["requests_per_second_32"]["value"] == pytest.approx(8 / 5)
    assert figures["motion_seconds_per_second_32"]["value"] == pytest.approx(8)
    assert figures["direct_1_median_e2el_ms"]["value"] == pytest.approx(500)
    assert figures["direct_1_mean_tpot_ms"]["value"] == pytest.approx(400 / (serve.TOKENS - 1))
    assert figures["direct_1_output_throughput"]["value"] == pytest.approx(2 * serve.TOKENS)
    assert figures["gateway_cpu_ms"]["value"] == pytest.approx(4)
    assert figures["requests_failed"]["value"] == 0


def test_what_the_gateway_adds():
    arrivals = {"direct": [a_round(), a_round()], "gateway": [a_round(whole=0.53, first=0.112)] * 2,
                "codes": [a_round(whole=0.51)] * 2}
    figures = serve.added(arrivals, 1.0)
    assert figures["gateway_added_p50_ms"]["value"] == pytest.approx(30)
    assert figures["gateway_added_p99_ms"]["value"] == pytest.approx(30)
    assert figures["gateway_added_first_chunk_p50_ms"]["value"] == pytest.approx(12)
    assert figures["gateway_added_codes_p50_ms"]["value"] == pytest.approx(10)
    assert figures["gateway_added_p99_ms"]["peer_value"] == pytest.approx(500)
    assert figures["arrivals_failed"]["value"] == 0


def test_vllm_is_asked_directly_what_the_gateway_asks_it():
    folder = bundle.path("assets/lm")
    grown = vocab.load(folder)
    direct = orjson.loads(traffic.body("direct", 7, "tdmm-nano", grown))
    engine = OpenAIEngine("tdmm-nano", folder, [])
    options = Options(form="motion", frames=traffic.FRAMES, seed=7, stream=True)
    assert direct == engine._body(direct["messages"], options, "motion")
    assert direct["max_tokens"] == traffic.TOKENS
    ours = orjson.loads(traffic.body("gateway", 7, "tdmm-nano", grown))
    assert direct["messages"][0]["content"].startswith(ours["messages"][0]["content"])
    assert len({traffic.prompt(number) for number in range(2000)}) == 2000


def test_growth_is_of_the_last_minute_over_the_second():
    when = np.arange(0.0, 1200.0, 5.0)
    values = np.where(when < 60, 100.0, 200.0 + when / 3600 * 6)
    first, middle, last = soak.marks(when, values, 1200.0)
    assert (first, last) == (pytest.approx(200.15, abs=0.01), pytest.approx(201.95, abs=0.02))
    assert middle == pytest.approx(201.0, abs=0.01)
    assert soak.slope(when, values, 1200.0) == pytest.approx(6)

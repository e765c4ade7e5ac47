"""Do texts find their motions? R-precision, recall, distances and clusters in the space of an encoder (TMR; T22, V35).

The encoder is trained apart from every language model. ``of: performances`` measures a corpus (texts against the
motions that they were made from); ``of: endpoint`` measures what an endpoint performs for the texts.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from tdmm_lm import bundle
from tdmm_lm.eval.suites import Answered, Column, Item, OfSamples, Vectors, l2m, of_values
from tdmm_lm.lm import retrieval
from tdmm_lm.metrics import fd, kid

candidate, told = l2m.candidate, l2m.told
SHARE = "share"
CANDIDATES = 32  # of R-precision: the right one and 31 others
COLUMNS: dict[str, Column] = {"answered": l2m.COLUMNS["answered"]}
SETS = {
    **{f"r_precision_{k}": Column(SHARE, "higher", f"the motion is among the {k} nearest of 32") for k in (1, 2, 3)},
    **{f"recall_{k}": Column(SHARE, "higher", f"the motion is among the {k} nearest of all, text to motion")
       for k in (1, 5, 10)},
    "median_rank": Column("rank", "lower", "of the motion among all, text to motion"),
    "mm_dist": Column("distance", "lower", "mean distance of a text and its motion"),
    "fd": Column("Fréchet", "lower", "motions to exact performances, in the encoder's space", "t"),
    "kid": Column("MMD²", "lower", "the same, unbiased (cubic kernel)", "t"),
    "families_apart": Column("silhouette", "higher", "clusters of the families, cosine (T22)"),
}


class Data(l2m.Data):
    """As in l2m; ``encoder`` is a bundled name or a folder that ``tdmm train recipes/retrieval.yaml`` made."""

    swaps: int = Field(0, ge=0, le=0)
    of: Literal["performances", "endpoint"] = "endpoint"
    encoder: str = "assets/retrieval"


@cache
def encoder(folder: str) -> retrieval.Retrieval:
    """The encoder in a folder, loaded once."""
    try:
        return retrieval.load(bundle.either(folder))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"data.encoder: {error} Make one: tdmm train recipes/retrieval.yaml.") from None


def items(data: Data, seed: int) -> Iterator[Item]:
    """The prompts of l2m.

    Raises:
        FileNotFoundError: no encoder, before anybody is asked.
    """
    encoder(data.encoder)
    return l2m.items(data, seed)


def local(item: Item, data: Data) -> Answered | None:
    """The exact performance, where a corpus is measured."""
    return Answered("", item.clip) if data.of == "performances" else None


def scored(item: Item, answer: Answered, data: Data) -> dict[str, float | None]:
    """Whether a motion came."""
    return {"answered": float(answer.clip is not None)}


def sets(items: Sequence[Item], answers: Sequence[Answered], data: Data) -> dict[str, OfSamples]:
    """Everything is computed once on all samples that have a motion; draws take means of a sample's own values, but
    distances of distributions are computed on the draw."""
    there = [place for place, answer in enumerate(answers) if answer.clip is not None]
    if len(there) < 2:
        return {}
    used = encoder(data.encoder)
    texts = _vectors(used.of_texts([items[place].reference for place in there]))
    motions = _vectors(used.of_clips([clip for place in there if (clip := answers[place].clip) is not None]))
    away = np.linalg.norm(texts[:, None] - motions[None], axis=-1)
    ranks = (away < np.diag(away)[:, None]).sum(1) + 1.0
    values: dict[str, Float[np.ndarray, " n"]] = {f"recall_{k}": (ranks <= k).astype(float) for k in (1, 5, 10)}
    near = _batched(away)
    values |= {f"r_precision_{k}": np.where(np.isnan(near), np.nan, near <= k) for k in (1, 2, 3)}
    values["mm_dist"] = np.diag(away).copy()
    values["families_apart"] = _apart(motions, [items[place].truth.family for place in there])
    result = {name: of_values(_spread(value, there, len(items))) for name, value in values.items()}
    result["median_rank"] = of_values(_spread(ranks, there, len(items)), np.median)
    if data.of == "endpoint":
        true = _vectors(used.of_clips([clip for place in there if (clip := items[place].clip) is not None]))
        where = np.full(len(items), -1)
        where[there] = np.arange(len(there))

        def drawn(measure: Callable[[np.ndarray, np.ndarray], float]) -> OfSamples:
            def value(places: np.ndarray) -> float:
                chosen = where[places]
                chosen = chosen[chosen >= 0]
                return float(measure(motions[chosen], true[chosen])) if len(chosen) > 1 else float("nan")

            return OfSamples(value, len(there))

        result |= {"fd": drawn(fd.whole), "kid": drawn(kid.whole)}
    return {name: result[name] for name in SETS if name in result}


def _vectors(tensor: object) -> Float[np.ndarray, "n d"]:
    return np.asarray(tensor, np.float64)


def _batched(away: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " n"]:
    """Rank of the right motion among 32, in batches shuffled once; nan in the last, smaller batch, which is dropped."""
    order = np.random.default_rng(0).permutation(len(away))
    ranks = np.full(len(away), np.nan)
    for start in range(0, len(order) - CANDIDATES + 1, CANDIDATES):
        batch = order[start : start + CANDIDATES]
        part = away[np.ix_(batch, batch)]
        ranks[batch] = (part < np.diag(part)[:, None]).sum(1) + 1
    return ranks


def _apart(motions: Float[np.ndarray, "n d"], names: list[str]) -> Float[np.ndarray, " n"]:
    from sklearn.metrics import silhouette_samples

    if not 2 <= len(set(names)) < len(names):
        return np.full(len(names), np.nan)
    return np.asarray(silhouette_samples(motions, names, metric="cosine"), np.float64)


def _spread(values: Float[np.ndarray, " some"], there: list[int], n: int) -> Float[np.ndarray, " n"]:
    whole = np.full(n, np.nan)
    whole[there] = values
    return whole


def vectors(items: Sequence[Item], answers: Sequence[Answered], data: Data) -> Vectors | None:
    """Motions and their families, for a picture of clusters (t-SNE)."""
    there = [(item, answer.clip) for item, answer in zip(items, answers) if answer.clip is not None]
    if len(there) < 8:
        return None
    made = encoder(data.encoder).of_clips([clip for _, clip in there])
    return _vectors(made), [item.truth.family for item, _ in there]

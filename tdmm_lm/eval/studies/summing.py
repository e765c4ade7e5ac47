"""From answers to figures: who is left out, means or win rates with intervals, and whether raters agree.

Intervals are clustered as the recipe says: over items (`cluster` of the items, which groups share), over raters, or
over both at once (`tdmm_lm.eval.statistics`).
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy import stats

from tdmm_lm.eval import agreement, statistics
from tdmm_lm.eval.studies.form import Key
from tdmm_lm.eval.studies.reading import Answer, Answers


def summarise(answers: Answers, *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """All figures of a study as plain data; `tdmm_lm.eval.studies.summary` tells them in words."""
    key, study = answers.key, answers.key.recipe
    raters = sorted({row.rater for row in answers.rows})
    excluded = _excluded(answers, raters)
    kept = [row for row in answers.rows if row.rater not in excluded and not key.questions[row.token].right]
    found: dict[str, Any] = {
        "study": key.study,
        "title": study.title,
        "form": study.form,
        "axes": [axis.name for axis in study.axes],
        "seed": seed,
        "resamples": resamples,
        "clusters": study.clusters,
        "raters": {"wanted": study.raters, "read": len(raters), "kept": len(raters) - len(excluded)},
        "excluded": excluded,
        "rows": {"read": len(answers.rows), "kept": len(kept)},
        "faults": list(answers.faults),
        "missing": answers.missing,
        "seconds_median": float(np.median([row.seconds for row in kept])) if kept else None,
        "agreement": _agreement(key, kept, resamples, seed),
        "reasons": [_reason(key, row) for row in kept if row.reason],
    }
    found |= _likert(key, kept, resamples, seed) if study.form == "likert" else _pairs(key, kept)
    plain: dict[str, Any] = json.loads(json.dumps(found, allow_nan=False))
    return plain


def _excluded(answers: Answers, raters: Sequence[str]) -> dict[str, str]:
    """Raters below the bar, and why; a check is right where all its axes are."""
    study, questions = answers.key.recipe, answers.key.questions
    if not any(question.right for question in questions.values()):
        return {}
    right: dict[str, list[bool]] = defaultdict(list)
    for row in answers.rows:
        wanted = questions[row.token].right
        if wanted:
            right[row.rater].append(all(row.given[axis] in accepted for axis, accepted in wanted.items()))
    reasons = {}
    for rater in raters:
        passed = right[rater]
        if not passed:
            reasons[rater] = "answered none of the attention checks"
        elif sum(passed) < study.checks.at_least * len(passed):
            told = f"{sum(passed)} of {len(passed)} attention checks right"
            reasons[rater] = f"{told}, expected a share of {study.checks.at_least:g}"
    return reasons


def _clusters(key: Key, names: Sequence[tuple[str, str]]) -> tuple[list[str], list[str] | None]:
    """The first and the crossed clustering of rows given as (cluster of the item, rater)."""
    of_items, of_raters = [item for item, _ in names], [rater for _, rater in names]
    if key.recipe.clusters == "both":
        return of_items, of_raters
    return (of_raters if key.recipe.clusters == "rater" else of_items), None


def _scores(key: Key, rows: Sequence[Answer]) -> np.ndarray:
    """(rows, axes): grades, or 1, 0.5 and 0 for the candidate whose system comes first by name."""
    axes = [axis.name for axis in key.recipe.axes]
    if key.recipe.form == "likert":
        return np.array([[float(row.given[axis]) for axis in axes] for row in rows]).reshape(-1, len(axes))
    scores = []
    for row in rows:
        x, y = key.questions[row.token].candidates
        ours = {"x": 1.0, "same": 0.5, "y": 0.0}
        scores.append([ours[row.given[axis]] if x.system < y.system else 1 - ours[row.given[axis]] for axis in axes])
    return np.array(scores).reshape(-1, len(axes))


def _agreement(key: Key, rows: Sequence[Answer], resamples: int, seed: int) -> dict[str, Any]:
    """Krippendorff's ordinal alpha of every axis; a question is a unit, questions of one cluster are drawn together."""
    tokens = {token: k for k, token in enumerate(sorted({row.token for row in rows}))}
    raters = {rater: k for k, rater in enumerate(sorted({row.rater for row in rows}))}
    axes = [axis.name for axis in key.recipe.axes]
    table = np.full((len(tokens), len(raters), len(axes)), np.nan)
    for row, scores in zip(rows, _scores(key, rows)):
        table[tokens[row.token], raters[row.rater]] = scores
    clusters = [key.questions[token].cluster for token in tokens]
    return {
        axis: asdict(agreement.alpha(table[:, :, k], clusters, resamples=resamples, seed=seed))
        for k, axis in enumerate(axes)
    }


def _reason(key: Key, row: Answer) -> dict[str, Any]:
    """A reason with what it was about, unblinded."""
    question = key.questions[row.token]
    chosen = {"x": 0, "y": 1}
    given = {
        axis: question.candidates[chosen[answer]].system if answer in chosen else answer
        for axis, answer in row.given.items()
    }
    systems = sorted(one.system for one in question.candidates)
    return {"rater": row.rater, "group": question.group, "systems": systems, "given": given, "reason": row.reason}


def _likert(key: Key, rows: Sequence[Answer], resamples: int, seed: int) -> dict[str, Any]:
    scores = _scores(key, rows)
    found: dict[str, Any] = {
        "systems": _means(key, rows, scores, resamples, seed),
        "differences": _differences(key, rows, scores, resamples, seed),
    }
    if key.recipe.z_scores:
        found["z_scores"] = _means(key, rows, _standardised(rows, scores), resamples, seed)
    return found


def _standardised(rows: Sequence[Answer], scores: np.ndarray) -> np.ndarray:
    """Every rater's grades less their mean, over their spread; nan where a rater gives one grade throughout."""
    result = np.full(scores.shape, np.nan)
    raters = np.array([row.rater for row in rows])
    for rater in set(raters):
        own = scores[raters == rater]
        spread = own.std(axis=0)
        with np.errstate(invalid="ignore"):
            result[raters == rater] = np.where(spread > 0, (own - own.mean(axis=0)) / spread, np.nan)
    return result


def _means(key: Key, rows: Sequence[Answer], scores: np.ndarray, resamples: int, seed: int) -> dict[str, Any]:
    """Every system's mean on every axis."""
    axes = [axis.name for axis in key.recipe.axes]
    of = [key.questions[row.token] for row in rows]
    found = {}
    for system in sorted({question.candidates[0].system for question in of}):
        here = [k for k, question in enumerate(of) if question.candidates[0].system == system]
        clusters, crossed = _clusters(key, [(of[k].cluster, rows[k].rater) for k in here])
        means = statistics.means(scores[here], clusters, crossed=crossed, resamples=resamples, seed=seed)
        found[system] = {axis: asdict(one) for axis, one in zip(axes, means)}
    return found


def _differences(
    key: Key, rows: Sequence[Answer], scores: np.ndarray, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Every two systems where one rater graded both of a group; Holm's correction is over all pairs and axes."""
    axes = [axis.name for axis in key.recipe.axes]
    graded: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for k, row in enumerate(rows):
        question = key.questions[row.token]
        graded[question.candidates[0].system][question.group, row.rater] = k
    found: list[dict[str, Any]] = []
    for a, b in itertools.combinations(sorted(graded), 2):
        shared = sorted(set(graded[a]) & set(graded[b]))
        if not shared:
            continue
        first, second = ([graded[system][one] for one in shared] for system in (a, b))
        names = [(key.questions[rows[k].token].cluster, rows[k].rater) for k in first]
        clusters, crossed = _clusters(key, names)
        compared = statistics.compare(
            scores[first], scores[second], clusters, crossed=crossed, resamples=resamples, seed=seed
        )
        found += [{"a": a, "b": b, "axis": axis, "compared": asdict(one)} for axis, one in zip(axes, compared)]
    corrected = statistics.holm([one["compared"]["p"] for one in found])
    for one, p in zip(found, corrected):
        one["compared"]["holm"] = p
    return found


def _pairs(key: Key, rows: Sequence[Answer]) -> dict[str, Any]:
    """Win rates of every two systems, and how much more often the left side is chosen than the right."""
    axes = [axis.name for axis in key.recipe.axes]
    scores = _scores(key, rows)
    of: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for k, row in enumerate(rows):
        of[tuple(sorted(one.system for one in key.questions[row.token].candidates))].append(k)
    found: list[dict[str, Any]] = []
    for (a, b), here in sorted(of.items()):
        clusters, crossed = _clusters(key, [(key.questions[rows[k].token].cluster, rows[k].rater) for k in here])
        for column, axis in enumerate(axes):
            score = scores[here, column]
            rate = statistics.share(score, clusters, crossed=crossed)
            counts = {"wins": score == 1, "ties": score == 0.5, "losses": score == 0}
            p = max(_sign_test(score, names) for names in (clusters, crossed) if names is not None)
            told = {name: int(hits.sum()) for name, hits in counts.items()}
            found.append({"a": a, "b": b, "axis": axis, "win_rate": asdict(rate), **told, "sign_test": p})
    for one, corrected in zip(found, statistics.holm([one["sign_test"] for one in found])):
        one["holm"] = corrected
    return {"pairs": found, "left": _left(rows)}


def _sign_test(scores: np.ndarray, clusters: Sequence[str]) -> float:
    """Two-sided; every cluster is one vote for the system that it prefers on average, if it prefers one."""
    sums: dict[str, float] = defaultdict(float)
    for name, score in zip(clusters, scores):
        sums[name] += score - 0.5
    votes = [total > 0 for total in sums.values() if abs(total) > 1e-9]
    return float(stats.binomtest(sum(votes), len(votes)).pvalue) if votes else 1.0


def _left(rows: Sequence[Answer]) -> dict[str, Any]:
    """The share of choices that fell on the left side, "no preference" left out, over raters; 0.5 is no bias."""
    chosen = [
        (float(answer == row.left), row.rater) for row in rows for answer in row.given.values() if answer != "same"
    ]
    return asdict(statistics.share(np.array([one for one, _ in chosen]), [rater for _, rater in chosen]))

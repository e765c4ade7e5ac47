"""The figures of a study in words and tables, Markdown."""

from typing import Any

OVER = {"item": "items", "rater": "raters", "both": "items and raters"}


def summary(found: dict[str, Any]) -> str:
    """What `tdmm_lm.eval.studies.summarise` found, for people."""
    raters, rows = found["raters"], found["rows"]
    wanted = f", {raters['wanted']} wanted" if raters["wanted"] else ""
    lines = [
        f"# {found['title']}",
        "",
        f"Study {found['study']}. {raters['kept']} raters of {raters['read']} read{wanted}; {rows['kept']} answers of "
        f"{rows['read']}, without those left out and attention checks; {len(found['faults'])} faults.",
        f"95 % intervals over {OVER[found['clusters']]}; seed {found['seed']}, {found['resamples']} resamples.",
        "",
        *(f"- left out: rater {rater}: {why}" for rater, why in found["excluded"].items()),
        *(f"- fault: {fault}" for fault in found["faults"]),
    ]
    if found["excluded"] or found["faults"]:
        lines.append("")
    if found["form"] == "likert":
        lines += _likert(found)
    else:
        lines += _pairs(found)
    lines += ["| agreement of raters | ordinal alpha | 95 % interval | questions |", "|---|---|---|---|"]
    lines += [f"| {axis} | {_number(one)} | {_ends(one)} | {one['n']} |" for axis, one in found["agreement"].items()]
    return "\n".join([*lines, ""])


def _likert(found: dict[str, Any]) -> list[str]:
    lines = _systems("mean", found["systems"])
    if "z_scores" in found:
        lines += _systems("mean of raters' z-scores", found["z_scores"])
    if found["differences"]:
        lines.append("| difference | axis | b - a | 95 % interval | p | p (Holm) | Wilcoxon | n |")
        lines.append("|---|---|---|---|---|---|---|---|")
        for one in found["differences"]:
            gap, tests = one["compared"]["difference"], (one["compared"][key] for key in ("p", "holm", "wilcoxon"))
            told = " | ".join(map(_p, tests))
            lines.append(
                f"| {one['b']} - {one['a']} | {one['axis']} | {_number(gap)} | {_ends(gap)} | {told} | {gap['n']} |"
            )
        lines.append("")
    return lines


def _systems(called: str, systems: dict[str, Any]) -> list[str]:
    lines = [f"| system | axis | {called} | 95 % interval | n | clusters |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {system} | {axis} | {_number(one)} | {_ends(one)} | {one['n']} | {one['clusters']} |"
        for system, axes in systems.items()
        for axis, one in axes.items()
    ]
    return [*lines, ""]


def _pairs(found: dict[str, Any]) -> list[str]:
    lines = [
        "| a against b | axis | a wins | 95 % interval | wins / ties / losses | sign test | p (Holm) | n |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found["pairs"]:
        rate, counts = one["win_rate"], f"{one['wins']} / {one['ties']} / {one['losses']}"
        tests = f"{_p(one['sign_test'])} | {_p(one['holm'])}"
        lines.append(
            f"| {one['a']} against {one['b']} | {one['axis']} | {_number(rate)} | {_ends(rate)} | {counts} | {tests} "
            f"| {rate['n']} |"
        )
    left = found["left"]
    return [*lines, "", f"The left side was chosen in a share of {_number(left)}, {_ends(left)}.", ""]


def _number(one: dict[str, Any]) -> str:
    return "none" if one["value"] is None else f"{one['value']:.3f}"


def _ends(one: dict[str, Any]) -> str:
    if one["interval"] is None:
        return f"none ({one['reason']})"
    low, high = one["interval"]
    return f"{low:.3f} to {high:.3f}"


def _p(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"

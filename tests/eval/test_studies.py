"""Pages that give nothing away, recipes that load, CSV files with every fault, figures that find what was put in."""

import csv
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from tdmm_lm import bundle, config
from tdmm_lm.eval import studies
from tdmm_lm.eval.studies import reading

RECIPES = sorted(bundle.path("eval/studies").glob("*.yaml"))
ANCHORS = ("none", "little", "half", "most", "all")
SYSTEMS = ("acme", "bmod")


def likert(**more):
    axes = [{"name": name, "question": "?", "definition": "As told.", "anchors": ANCHORS} for name in ("face", "head")]
    given = {"title": "A & B", "introduction": "Look.", "form": "likert", "axes": axes, **more}
    return config.check(studies.Study, given, "study")


def pairs(**more):
    axes = [{"name": "better", "question": "Better?", "definition": "As told."}]
    given = {"title": "Two", "introduction": "Look.", "form": "pairs", "axes": axes, **more}
    return config.check(studies.Study, given, "study")


@pytest.fixture
def lines(tmp_path):
    """A function that writes a file of items; media of every system are there."""

    def write(rows):
        for name in {str(row["media"]) for row in rows if "media" in row}:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(name.encode())
        (tmp_path / "items.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
        return tmp_path / "items.jsonl"

    return write


def films(groups, systems=SYSTEMS):
    return [
        {"id": f"{system}:{k}", "system": system, "group": f"prompt-{k}", "cluster": f"speaker-{k // 2}",
         "media": f"{system}/{k}.mp4", "reference": f"he nods </script> {k}"}
        for k in range(groups) for system in systems
    ]


def told(folder):
    """What the page was given."""
    text = (folder / "index.html").read_text()
    return json.loads(re.search(r'<script type="application/json" id="study">(.*?)</script>', text).group(1))


def rate(folder, rater, answer, part=1):
    """A rater's CSV file, as the page writes it; ``answer`` takes a question of the key and an axis."""
    key = reading.key_of(folder)
    rows = [
        {"study": key.study, "rater": rater, "part": part, "item": token, "position": 1, "seconds": "2.5",
         "left": "xy"[int(token[1:]) % 2] if key.recipe.form == "pairs" else "", "reason": "because",
         **{axis.name: answer(question, axis.name) for axis in key.recipe.axes}}
        for token, question in key.questions.items() if question.part == part
    ]
    path = folder.parent / f"{rater}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*reading.COLUMNS, *(axis.name for axis in key.recipe.axes)])
        writer.writeheader()
        writer.writerows(rows)
    return path


def attentive(otherwise):
    """Right in every attention check."""
    return lambda question, axis: question.right[axis][0] if axis in question.right else otherwise(question, axis)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_makes_a_page_that_can_be_read(path, lines, tmp_path):
    text = path.read_text()
    assert text.startswith("# ")
    for command in (f"tdmm eval study page eval/studies/{path.name} ITEMS.jsonl -o OUT", "tdmm eval study read OUT"):
        assert command in text
    comment = text.replace("\n# ", " ")
    example, _ = json.JSONDecoder().raw_decode(comment, comment.index('{"id"'))
    study = config.load(studies.Study, path, ["samples=3", "parts=1"])
    assert all(len(axis.definition) > 30 for axis in study.axes)
    rows = [{**example, "id": f"{k}", "group": f"g{k // 2}", "system": SYSTEMS[k % 2]} for k in range(6)]
    items = lines(rows)
    for shown in example["reference"] if isinstance(example["reference"], list) else [example["reference"]]:
        if "media" in shown:
            (tmp_path / shown["media"]).parent.mkdir(exist_ok=True)
            (tmp_path / shown["media"]).write_bytes(b"film")
    made = studies.page(study, studies.items(items), tmp_path / "out", seed=0)
    assert made.questions == (6 if study.form == "likert" else 3)
    assert made.checks == study.checks.instructed
    file = rate(made.folder, "r1", attentive(lambda question, axis: "3" if study.form == "likert" else "x"))
    found = studies.summarise(studies.read([file], made.folder), resamples=50)
    assert (found["faults"], found["excluded"], found["rows"]["kept"]) == ([], {}, made.questions)
    assert studies.summary(found).startswith(f"# {study.title}\n")


def test_what_the_commands_say(lines, tmp_path):
    items, recipe = lines(films(4)), bundle.path("eval/studies/naturalness_pairs.yaml")
    with pytest.raises(ValueError, match=r"^samples: expected 10 groups of items, got 4; give more items or "):
        studies.make(recipe, items, tmp_path / "out")
    said = studies.make(recipe, items, tmp_path / "out", changes=["samples=3", "parts=3"])
    hashed = reading.key_of(tmp_path / "out").study
    assert said == (
        f"study {hashed}: 3 groups, 3 questions, 2 attention checks in each of 3 parts -> {tmp_path / 'out'}\n"
        "Give raters index.html and media/; keep key.json, which says what was whose."
    )
    files = [rate(tmp_path / "out", "r1", attentive(lambda question, axis: "x"), part=2)]
    assert "1 raters of 1 read, 10 wanted; 1 answers of 3" in studies.report(tmp_path / "out", files)


def test_the_papers_studies_have_their_shape():
    loaded = {path.stem: config.load(studies.Study, path) for path in RECIPES}
    shape = {name: (study.form, len(study.axes), study.samples, study.raters) for name, study in loaded.items()}
    assert shape == {
        "film_pairs": ("pairs", 6, None, None),
        "l2m_user": ("likert", 1, 300, None),
        "m2l_humans": ("likert", 2, 300, None),
        "naturalness_pairs": ("pairs", 1, 10, 10),
        "renderer_pairs": ("pairs", 4, 10, 10),
        "talking_head": ("likert", 6, 50, 50),
    }
    assert loaded["film_pairs"].reason == "required"


def test_the_page_gives_nothing_away_and_fetches_nothing(lines, tmp_path):
    trap = {"id": "trap", "media": "acme/0.mp4", "reference": "she sings", "right": {"face": [1], "head": [1, 2]}}
    rows = [*films(6), trap]
    made = studies.page(likert(), studies.items(lines(rows)), tmp_path / "out", seed=3)
    text = (made.folder / "index.html").read_text()
    for secret in (*SYSTEMS, "prompt-", "speaker-", "trap", "right\"", str(tmp_path)):
        assert secret not in text
    assert not re.search(r"https?:|//[a-z]+\.|src=|href=|@import|url\(", text)
    assert text.count("</script>") == 2  # captions cannot end one
    assert "<title>A &amp; B</title>" in text
    assert sorted(path.name for path in made.folder.iterdir()) == ["index.html", "key.json", "media"]
    assert sorted(path.name for path in (made.folder / "media").iterdir()) == [f"m{k:04d}.mp4" for k in range(1, 13)]
    key = reading.key_of(made.folder)
    for question in told(made.folder)["questions"]:
        behind = key.questions[question["item"]].candidates[0]
        if behind.system in SYSTEMS:
            shown = (made.folder / question["candidates"][0]["source"]).read_bytes().decode()
            assert shown == behind.id.replace(":", "/") + ".mp4"
    assert made.study == key.study == told(made.folder)["study"]
    assert (made.groups, made.questions, made.checks, made.media) == (6, 12, 3, 12)


def test_the_same_seed_gives_the_same_bytes(lines, tmp_path):
    items = studies.items(lines(films(6)))
    made = [studies.page(pairs(), items, tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    for name in ("index.html", "key.json"):
        first, second, third = ((one.folder / name).read_bytes() for one in made)
        assert first == second
        assert first != third
    assert made[0].study == made[1].study != made[2].study


def test_media_can_travel_inside_the_page(lines, tmp_path):
    made = studies.page(likert(embed=True), studies.items(lines(films(2))), tmp_path / "out")
    assert not (made.folder / "media").exists()
    sources = [question["candidates"][0].get("source", "") for question in told(made.folder)["questions"]]
    assert sum(source.startswith("data:video/mp4;base64,") for source in sources) == 4


def test_pairs_are_all_pairs_with_places_dealt_evenly(lines, tmp_path):
    systems = ("acme", "bmod", "cnet")
    made = studies.page(pairs(samples=10), studies.items(lines(films(12, systems))), tmp_path / "out", seed=0)
    assert (made.groups, made.questions) == (10, 30)
    asked = [one for one in reading.key_of(made.folder).questions.values() if not one.right]
    for pair in (("acme", "bmod"), ("acme", "cnet"), ("bmod", "cnet")):
        first = [one.candidates[0].system for one in asked if {c.system for c in one.candidates} == set(pair)]
        assert [first.count(system) for system in pair] == [5, 5]


def test_parts_hold_whole_groups_and_every_check(lines, tmp_path):
    made = studies.page(likert(parts=3, checks={"instructed": 2}), studies.items(lines(films(9))), tmp_path / "out")
    questions = reading.key_of(made.folder).questions.values()
    of: dict[str, set[int]] = {}
    for one in questions:
        if not one.right:
            of.setdefault(one.group, set()).add(one.part)
    assert all(len(parts) == 1 for parts in of.values())
    for part in (1, 2, 3):
        assert sum(one.part == part for one in questions if not one.right) == 6
        assert sum(one.part == part for one in questions if one.right) == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a"}], r"items.jsonl:1: expected either media or text\.$"),
        ([{"id": "a", "text": "x"}],
         r"items.jsonl:1: system: expected a name, got none; only attention checks go without\.$"),
        ([{"id": "a", "system": "s", "text": "x", "size": 3}], r"items.jsonl:1: size: unknown key; known: id, sys"),
        ([{"id": "a", "system": "s", "media": "x.avi"}], r"media: expected a file ending in .mp4, .*, got 'x.avi'\.$"),
        ([{"id": "a", "system": "s", "text": "x"}] * 2,
         r"items.jsonl:2: id: expected every id once, got 'a', which line 1 has\.$"),
        ([{"id": "a", "system": "s", "text": "x", "reference": {"media": "no.mp4"}}],
         r"items.jsonl:1: media: expected a file at .*no.mp4, found none\.$"),
        ([], r"items.jsonl: expected items, one JSON object a line, found none\.$"),
        (["x"], r"items.jsonl:1: expected a JSON object, got str\.$"),
    ],
    ids=["empty", "system", "unknown", "ending", "twice", "reference", "nothing", "string"],
)
def test_items_that_are_none(rows, message, tmp_path):
    (tmp_path / "x.avi").write_bytes(b"")
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match=message):
        studies.items(tmp_path / "items.jsonl")


def test_items_that_cannot_be_read(tmp_path):
    (tmp_path / "items.jsonl").write_text('{"id": \n')
    with pytest.raises(ValueError, match=r"items.jsonl:1: expected a JSON object, got Expecting value at col"):
        studies.items(tmp_path / "items.jsonl")
    with pytest.raises(FileNotFoundError, match=r"none.jsonl: expected a file of items, one JSON object a line, found"):
        studies.items(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("study", "rows", "message"),
    [
        (likert(samples=9), films(2),
         r"^samples: expected 9 groups of items, got 2; give more items or ask for fewer samples.$"),
        (pairs(), films(2, ["acme"]), r"^group 'prompt-0': expected two systems or more to compare, got acme.$"),
        (likert(), [*films(1), {**films(1)[0], "id": "z"}],
         r"^group 'prompt-0': expected every system once, got 'acme' 2 times.$"),
        (likert(), [*films(1), {"id": "z", "text": "t", "right": {"size": [1]}}],
         r"^item 'z': right answers: expected one of face, head, got 'size'.$"),
        (likert(), [*films(1), {"id": "z", "text": "t", "right": {"face": [6]}}],
         r"^item 'z': right.face: expected grades in 1 to 5, got \(6,\).$"),
        (likert(), [*films(1), {"id": "z", "text": "t", "wins": ["face"]}],
         r"^item 'z': expected right in a study of the form likert, got wins.$"),
        (pairs(), [*films(1), {"id": "z", "text": "t", "wins": ["better"]}],
         r"^group 'z': expected an attention check of two items, one of which wins, got 1 items and 1 that win.$"),
    ],
    ids=["few", "alone", "again", "axis", "grade", "wins", "check"],
)
def test_items_that_do_not_fit(study, rows, message, lines, tmp_path):
    items = studies.items(lines(rows))
    with pytest.raises(ValueError, match=message):
        studies.page(study, items, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_left_alone(lines, tmp_path):
    items = studies.items(lines(films(1)))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "key.json").write_text("older")
    with pytest.raises(ValueError, match=r"out: expected a new or empty folder, got one in use; an older key would "):
        studies.page(likert(), items, tmp_path / "out")
    assert (tmp_path / "out" / "key.json").read_text() == "older"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"colour": 1}, r"^study: colour: unknown key; known: title, "),
        ({"form": "ranks"}, r"^study: form: Input should be 'likert' or 'pairs', got 'ranks'.$"),
        ({"form": "pairs"}, r"^study: axes.face: expected no anchors, which pairs do not have, got 5.$"),
        ({"axes": []}, r"^study: axes: expected one or more, got none.$"),
        ({"axes": [{"name": "rater", "question": "?", "definition": "."}]},
         r"^study: axes.0.name: expected small letters, digits and _, none of study, rater, .*, got 'rater'.$"),
        ({"axes": [{"name": "a", "question": "?", "definition": ".", "anchors": ["x"]}]},
         r"^study: axes.0.anchors: expected 5 anchors, one for each of 1 to 5, got 1.$"),
        ({"axes": [{"name": "a", "question": "?", "definition": ".", "anchors": ANCHORS}] * 2},
         r"^study: axes: expected different names, got a, a.$"),
    ],
    ids=["unknown", "form", "anchors", "none", "column", "few", "twice"],
)
def test_recipes_that_are_wrong(more, message):
    with pytest.raises(ValueError, match=message):
        likert(**more)


def test_pairs_have_no_grades():
    with pytest.raises(ValueError, match=r"^study: z_scores: expected false in a study of pairs, which have no "):
        pairs(z_scores=True)


def test_every_fault_is_one_line_and_leaves_out_its_row(lines, tmp_path):
    made = studies.page(likert(checks={"instructed": 0}), studies.items(lines(films(2))), tmp_path / "out")
    good = rate(made.folder, "r1", lambda question, axis: "4").read_text().splitlines()
    header, rows = good[0], good[1:]
    named = made.study

    def broken(name, *changed):
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *changed]))
        return tmp_path / f"{name}.csv"

    cases = {
        rows[0].replace(named, "0" * 16): f"study: expected {named}, got {'0' * 16}",
        rows[0].replace("r1", "R. Roe"): "rater: expected 2 to 32 of a-z, 0-9, - and _, got 'R. Roe'",
        rows[0].replace(",1,q", ",1,z"): "item: expected one of the study's 4, got z000",
        rows[0].replace(",1,q", ",2,q"): "part: expected 1 for item q000",
        rows[0].replace(",4,4", ",6,4"): "face: expected one of 1, 2, 3, 4, 5, got 6",
        rows[0].replace(",4,4", ",4,"): "head: expected one of 1, 2, 3, 4, 5, got nothing",
        rows[0].replace(",1,,2.5", ",1,x,2.5"): "left: expected nothing, got x",
        rows[0].replace(",2.5,", ",fast,"): "seconds: expected a number, got fast",
    }
    for row, said in cases.items():
        assert row != rows[0]
        found = studies.read([broken("bad", row)], made.folder)
        assert found.rows == ()
        assert len(found.faults) == 1
        assert found.faults[0].startswith(f"{tmp_path / 'bad.csv'}:2: {said}")
        assert found.faults[0].endswith(": the row is left out.")
    found = studies.read([broken("twice", *rows, rows[2], "a,b")], made.folder)
    assert len(found.rows) == 4
    assert [fault.partition(": ")[2] for fault in found.faults] == [
        "rater r1 has answered item q0003 before: the row is left out.",
        "expected 10 values, got 2: the row is left out.",
    ]
    found = studies.read([broken("half", *rows[:3])], made.folder)
    assert found.faults == ("rater r1: expected 4 answers in part 1, got 3: the others count.",)
    assert found.missing == {"r1": 1}
    assert "- fault: rater r1: expected 4 answers in part 1, got 3" in studies.summary(studies.summarise(found))


def test_files_that_are_no_answers(lines, tmp_path):
    made = studies.page(likert(), studies.items(lines(films(2))), tmp_path / "out")
    (tmp_path / "other.csv").write_text("a;b\n1;2\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "latin.csv").write_bytes(b"\xe9")
    found = studies.read([tmp_path / f"{name}.csv" for name in ("other", "empty", "latin")], made.folder)
    columns = "study,rater,part,item,position,left,seconds,reason,face,head"
    assert found.faults == (
        f"{tmp_path / 'other.csv'}: expected the columns {columns}, got a;b: the file is left out.",
        f"{tmp_path / 'empty.csv'}: expected the columns {columns}, got nothing: the file is left out.",
        f"{tmp_path / 'latin.csv'}: expected UTF-8 text: the file is left out.",
    )
    nobody = studies.summarise(found)
    assert nobody["raters"] == {"wanted": None, "read": 0, "kept": 0}
    assert (nobody["systems"], nobody["differences"]) == ({}, [])
    assert "0 raters of 0 read" in studies.summary(nobody)
    with pytest.raises(FileNotFoundError, match=r"none.csv: expected a rater's CSV file, found none.$"):
        studies.read([tmp_path / "none.csv"], made.folder)
    with pytest.raises(FileNotFoundError, match=r"key.json: expected the key.json that was written with the page, "):
        studies.read([], tmp_path)
    (tmp_path / "key.json").write_text("{")
    with pytest.raises(ValueError, match=r"key.json: expected JSON, got .* in line 1.$"):
        studies.read([], tmp_path)


def test_a_spreadsheets_mark_is_read_over(lines, tmp_path):
    made = studies.page(likert(), studies.items(lines(films(2))), tmp_path / "out")
    path = rate(made.folder, "r1", attentive(lambda question, axis: "4"))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert studies.read([path], made.folder).faults == ()


def test_raters_who_do_not_read_are_left_out_and_named(lines, tmp_path):
    made = studies.page(likert(), studies.items(lines(films(4))), tmp_path / "out")
    files = [rate(made.folder, name, attentive(lambda question, axis: "4")) for name in ("a1", "a2")]
    files.append(rate(made.folder, "lazy", lambda question, axis: "6" if question.right else "1"))
    wrong = {str(k + 1): str((k + 1) % 5 + 1) for k in range(5)}
    files.append(rate(made.folder, "fast", lambda question, axis: wrong[question.right.get(axis, "1")[0]]))
    found = studies.summarise(studies.read(files, made.folder))
    assert found["excluded"] == {
        "lazy": "answered none of the attention checks",
        "fast": "0 of 2 attention checks right, expected a share of 0.75",
    }
    assert found["raters"] == {"wanted": None, "read": 4, "kept": 2}
    assert found["systems"]["acme"]["face"]["value"] == 4.0
    text = studies.summary(found)
    assert "2 raters of 4 read" in text
    assert "- left out: rater fast: 0 of 2 attention checks right, expected a share of 0.75" in text


def test_grades_of_a_better_system(lines, tmp_path):
    made = studies.page(likert(z_scores=True, raters=8), studies.items(lines(films(30))), tmp_path / "out")
    rng = np.random.default_rng(0)

    def grade(question, axis):
        better = 0.9 * (question.candidates[0].system == "bmod" and axis == "face")
        same = int(question.group.split("-")[1]) % 4 / 2  # clips differ, and raters see it
        return str(int(np.clip(np.rint(2 + same + better + rng.normal(0, 0.5)), 1, 5)))

    answers = studies.read([rate(made.folder, f"r{k}", attentive(grade)) for k in range(6)], made.folder)
    found = studies.summarise(answers)
    assert found == studies.summarise(answers)
    assert json.loads(json.dumps(found)) == found  # plain data
    face, head = found["differences"]
    assert (face["a"], face["b"], face["axis"], head["axis"]) == ("acme", "bmod", "face", "head")
    low, high = face["compared"]["difference"]["interval"]
    assert low < 0.9 < high
    assert face["compared"]["difference"]["clusters"] == 15  # speakers, which are the clusters of items
    assert face["compared"]["holm"] < 0.01
    assert head["compared"]["holm"] > 0.05
    assert found["agreement"]["face"]["value"] > 0.3
    assert found["systems"]["bmod"]["face"]["n"] == 180
    assert abs(found["z_scores"]["acme"]["face"]["value"] + found["z_scores"]["bmod"]["face"]["value"]) < 1e-9
    text = studies.summary(found)
    assert "95 % intervals over items; seed 0, 1000 resamples." in text
    assert "6 raters of 6 read, 8 wanted; 360 answers of 372" in text
    assert "| bmod - acme | face |" in text


@pytest.mark.parametrize("over", ["item", "rater", "both"])
def test_a_system_that_wins(over, lines, tmp_path):
    study = pairs(clusters=over, reason="required")
    made = studies.page(study, studies.items(lines(films(24, ["bmod", "zeta"]))), tmp_path / "out", seed=5)
    rng = np.random.default_rng(1)

    def choose(question, axis):
        ours = [one.system for one in question.candidates].index("zeta")
        return rng.choice(["xy"[ours], "same", "xy"[1 - ours]], p=[0.7, 0.1, 0.2])

    files = [rate(made.folder, f"r{k}", attentive(choose)) for k in range(8)]
    found = studies.summarise(studies.read(files, made.folder))
    (one,) = found["pairs"]
    assert (one["a"], one["b"], one["axis"]) == ("bmod", "zeta", "better")
    assert one["wins"] + one["ties"] + one["losses"] == one["win_rate"]["n"] == 192
    low, high = one["win_rate"]["interval"]
    assert low < 0.25 < high < 0.5
    assert one["win_rate"]["clusters"] == {"item": 12, "rater": 8, "both": 8}[over]
    assert one["sign_test"] == one["holm"] < 0.05
    low, high = found["left"]["interval"]
    assert low < 0.5 < high
    assert len(found["reasons"]) == 192
    assert found["reasons"][0]["given"]["better"] in ("bmod", "zeta", "same")
    assert "| bmod against zeta | better |" in studies.summary(found)


def test_a_win_by_all_keeps_an_interval(lines, tmp_path):
    made = studies.page(pairs(no_preference=False), studies.items(lines(films(10))), tmp_path / "out")
    ours = attentive(lambda question, axis: "xy"[[one.system for one in question.candidates].index("acme")])
    found = studies.summarise(studies.read([rate(made.folder, f"r{k}", ours) for k in range(3)], made.folder))
    rate_ = found["pairs"][0]["win_rate"]
    assert rate_["value"] == rate_["interval"][1] == 1.0
    assert rate_["interval"][0] < 0.6  # five speakers say little
    assert found["agreement"]["better"]["reason"] == "all ratings are the same"
    bad = rate(made.folder, "r9", lambda question, axis: "same")
    assert ": better: expected one of x, y, got same: the row is " in studies.read([bad], made.folder).faults[0]


def test_checks_of_two_items(lines, tmp_path):
    rows = [*films(3), {"id": "good", "group": "c", "text": "good", "wins": ["better"]},
            {"id": "bad", "group": "c", "system": "worse", "text": "bad"}]
    made = studies.page(pairs(checks={"instructed": 0, "at_least": 1}), studies.items(lines(rows)), tmp_path / "out")
    assert (made.questions, made.checks) == (3, 1)
    (check,) = (one for one in reading.key_of(made.folder).questions.values() if one.right)
    side = check.right["better"][0]
    assert check.candidates["xy".index(side)].id == "good"
    found = studies.summarise(studies.read([rate(made.folder, "r1", lambda question, axis: side)], made.folder))
    assert found["excluded"] == {}
    other = "yx"["xy".index(side)]
    found = studies.summarise(studies.read([rate(made.folder, "r2", lambda question, axis: other)], made.folder))
    assert found["excluded"] == {"r2": "0 of 1 attention checks right, expected a share of 1"}


def node(folder, code):
    """What the page's own functions say, without a page."""
    text = (folder / "index.html").read_text()
    script = re.search(r'<script>\n"use strict";(.*)</script>', text, re.S).group(1)
    program = f"{script}\nconst study = {json.dumps(told(folder))};\nconsole.log(JSON.stringify({code}));"
    done = subprocess.run(["node", "-"], input=program, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node (apt-get install nodejs)")
def test_what_the_page_writes_can_be_read(lines, tmp_path):
    study = pairs(reason="required", parts=2)
    made = studies.page(study, studies.items(lines(films(40))), tmp_path / "out")
    orders = [node(made.folder, f"ordered(study, '{rater}', 1).map((one) => one.item)") for rater in ("r1", "r1", "r2")]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])
    assert len(orders[0]) == 22
    sides = node(made.folder, "study.questions.map((one) => leftOf(study, 'r1', one))")
    assert 10 < sides.count("x") < 34
    assert sides != node(made.folder, "study.questions.map((one) => leftOf(study, 'r2', one))")
    answer = {"given": {"better": "y"}, "reason": 'so "it", was\nbetter', "seconds": 2.34, "done": True}
    every = json.dumps(dict.fromkeys(orders[0], answer))
    (tmp_path / "r1.csv").write_text(node(made.folder, f"table(study, 'r1', 1, {every})"), newline="")
    found = studies.read([tmp_path / "r1.csv"], made.folder)
    assert found.faults == ()
    assert {row.reason for row in found.rows} == {'so "it", was\nbetter'}
    assert {row.seconds for row in found.rows} == {2.3}
    skipped = json.dumps({orders[0][0]: {**answer, "done": False, "skipped": True}})
    (tmp_path / "r2.csv").write_text(node(made.folder, f"table(study, 'r1', 1, {skipped})"), newline="")
    found = studies.read([tmp_path / "r2.csv"], made.folder)
    assert found.faults[0].endswith(":3: better: expected one of x, same, y, got nothing: the row is left out.")

"""A study from pictures to answers: made, seen, voted in, counted, and each mistake on the way."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
import threading
from collections import Counter

import numpy as np
import pytest
from command_line import run
from studies import concept, photo_folder, pictures, study

from adb_core.preference import making
from adb_core.preference.analysis import care, careless, compare, order, reveal
from adb_core.preference.panel import Panel, recipe_taste, simulate
from adb_core.preference.report import SIMULATED_NOTE, as_csv, progress, results
from adb_core.preference.study import (
    KEY,
    PHOTOS,
    PICTURES,
    QUESTIONS,
    STUDY,
    Design,
    StudyError,
    load_study,
    read_key,
)
from adb_core.preference.trials import CATCH, MAIN, REPEAT, trials_of
from adb_core.preference.votes import FILE, Votes

SAME = dict.fromkeys(QUESTIONS, "same")


def vote_all(made, votes, rater: str, answer) -> None:
    """A rater answers everything; ``answer`` is of a trial."""
    votes.enroll(rater)
    for trial in trials_of(made, rater):
        votes.add(rater, trial.number, dict.fromkeys(QUESTIONS, answer(trial)), 5)


def likes(made, recipe: str):
    """The answers of somebody who always prefers one recipe, and sees that equals are equal."""
    key = json.loads((made.folder / KEY).read_text())

    def answer(trial):
        if trial.kind == CATCH:
            return "same"
        side = "a" if key[trial.pair.id]["a"] == recipe else "b"
        return "left" if trial.left == getattr(trial.pair, side) else "right"

    return answer


# ---------------------------------------------------------------- making


def test_pictures_come_back_from_their_folder(tmp_path):
    ours = pictures(recipes=("one",))
    making.write_pictures(ours, tmp_path / "one")
    theirs = making.read_pictures(tmp_path / "one")
    assert [p.asked for p in theirs] == [p.asked for p in ours]
    assert all(np.array_equal(p.pixels, q.pixels) for p, q in zip(theirs, ours, strict=True))
    assert {p.recipe for p in theirs} == {"one"}


def test_pairs_share_concept_prompt_and_seed_and_equal_pictures_are_left_out():
    made = pictures(recipes=("one", "two", "three"))
    pairs = making.possible_pairs(made)
    assert len(pairs) == 3 * 4
    assert all(p.asked == q.asked and p.recipe != q.recipe for p, q in pairs)
    twin = making.Picture("four", *made[0].asked, made[0].pixels)
    with_twin = making.possible_pairs([*made, twin])
    assert len(with_twin) == 12 + 2  # not with "one", whose picture it is


def test_drawn_pairs_are_even_over_recipes_and_concepts():
    pairs = making.possible_pairs(pictures(("one", "two", "three"), ("pico", "luna"), prompts=5))
    drawn = making.draw_pairs(pairs, 12, seed=3)
    strata = Counter((p.recipe, q.recipe, p.concept) for p, q in drawn)
    assert len(strata) == 6 and set(strata.values()) == {2}
    again, other = making.draw_pairs(pairs, 12, seed=3), making.draw_pairs(pairs, 12, seed=4)
    assert [p.asked for p, _ in drawn] == [p.asked for p, _ in again]
    assert [p.asked for p, _ in drawn] != [p.asked for p, _ in other]


def test_a_study_says_nothing_of_recipes_outside_of_its_key(tmp_path):
    made = study(tmp_path / "study", recipes=("secret-one", "secret-two"), prompts=20)
    for path in (tmp_path / "study").rglob("*"):
        said = str(path.relative_to(tmp_path)).encode() + (
            path.read_bytes() if path.is_file() else b""
        )
        assert (b"secret" in said) == (path.name == KEY), path
    first = [entry["a"] for entry in json.loads((made.folder / KEY).read_text()).values()]
    assert 8 <= Counter(first)["secret-one"] <= 32  # a is neither recipe: 20 of 40 by chance
    assert made.pairs[0].text == "a photo of a cat, 0"


def test_a_study_may_be_moved_with_its_votes(tmp_path):
    made = study(tmp_path / "study")
    with Votes(made) as votes:
        vote_all(made, votes, "Ada", likes(made, "one"))
    (tmp_path / "study").rename(tmp_path / "elsewhere")
    moved = load_study(tmp_path / "elsewhere")
    assert moved.id == made.id
    with Votes(moved) as votes:
        assert len(votes.all()) == 3 * len(trials_of(moved, "Ada"))


# ---------------------------------------------------------------- what raters see


def test_each_rater_has_an_own_order_and_sides_and_the_same_tomorrow(tmp_path):
    made = study(tmp_path / "study", prompts=15, design=Design(raters=3, repeats=4, catches=3))
    ada, bob = trials_of(made, "Ada"), trials_of(made, "Bob")
    assert ada == trials_of(load_study(tmp_path / "study"), "Ada")
    assert [t.pair.id for t in ada] != [t.pair.id for t in bob]
    for trials in (ada, bob):
        kinds = Counter(t.kind for t in trials)
        assert kinds == {MAIN: 30, REPEAT: 4, CATCH: 3}
        assert [t.number for t in trials] == list(range(37))
        main = {t.pair.id: t for t in trials if t.kind == MAIN}
        assert set(main) == {pair.id for pair in made.pairs}
        assert sum(t.left == t.pair.a for t in main.values()) == 15
        assert all(t.left == t.right for t in trials if t.kind == CATCH)
        for again in (t for t in trials if t.kind == REPEAT):
            before = main[again.pair.id]
            assert (again.left, again.right) == (before.right, before.left)
            assert again.number >= before.number + 5


# ---------------------------------------------------------------- votes


def test_votes_are_rows_with_the_digests_of_what_was_seen(tmp_path):
    made = study(tmp_path / "study")
    with Votes(made) as votes:
        code = votes.enroll("Ada")
        assert votes.rater(code) == "Ada" and votes.enroll("Ada", code) == code
        trial = trials_of(made, "Ada")[1]
        votes.add("Ada", 1, {"subject": "left", "text": "same", "overall": "right"}, 1234)
        rows = votes.all()
        assert [(v.question, v.answer) for v in rows] == [
            ("subject", "left"), ("text", "same"), ("overall", "right"),
        ]  # fmt: skip
        assert {(v.left + ".png", v.right + ".png") for v in rows} == {(trial.left, trial.right)}
        assert rows[0].milliseconds == 1234 and not rows[0].simulated and votes.done("Ada") == {1}
        votes.add("Ada", 1, {"subject": "left", "text": "same", "overall": "right"}, 9)  # once more
        assert votes.all() == rows


def test_many_raters_in_two_programs_vote_at_once(tmp_path):
    made = study(tmp_path / "study", design=Design(raters=6))
    stores = [Votes(made), Votes(made)]
    names = [f"rater {k}" for k in range(6)]
    threads = [
        threading.Thread(target=vote_all, args=(made, stores[k % 2], name, likes(made, "one")))
        for k, name in enumerate(names)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stores[0].missing() == 0 == stores[1].missing()
    assert len(stores[1].all()) == 6 * 3 * len(trials_of(made, "rater 0"))
    for store in stores:
        store.close()


# ---------------------------------------------------------------- the key, and the answers


def test_the_key_stays_closed_until_the_last_vote(tmp_path):
    made = study(tmp_path / "study", design=Design(raters=2))
    with Votes(made) as votes:
        vote_all(made, votes, "Ada", likes(made, "one"))
        with pytest.raises(StudyError, match="8 trials are still to be answered"):
            reveal(made, votes)
        assert "one" not in "".join(progress(made, votes)).replace("None", "").split()
        vote_all(made, votes, "Bob", likes(made, "one"))
        key = reveal(made, votes)
        assert set(key) == {pair.id for pair in made.pairs}


def test_closing_opens_the_key_and_ends_the_voting(tmp_path):
    made = study(tmp_path / "study")
    with Votes(made) as votes:
        votes.enroll("Ada")
        votes.add("Ada", 0, SAME, 1)
        votes.seal()
        assert votes.missing() == 0 and reveal(made, votes)
        votes.add("Ada", 0, SAME, 1)  # a lost acknowledgement asked for again
        with pytest.raises(StudyError, match="closed"):
            votes.add("Ada", 1, SAME, 1)
        with pytest.raises(StudyError, match="closed"):
            votes.enroll("Bob")


def test_votes_are_counted_for_the_recipe_that_was_chosen(tmp_path):
    design = Design(raters=3, repeats=2, catches=2)
    made = study(tmp_path / "study", prompts=4, design=design)
    with Votes(made) as votes:
        vote_all(made, votes, "Ada", likes(made, "one"))
        vote_all(made, votes, "Bob", likes(made, "one"))
        vote_all(made, votes, "Eve", lambda trial: "left")
        key, everything = reveal(made, votes), votes.all()
    found = [c for c in compare(made, key, everything) if c.question == "subject"]
    (only,) = found
    assert (only.one, only.other, only.won.count, only.ties) == ("one", "two", 24, 0)
    by_eve = sum(
        key[t.pair.id]["ab".index("a" if t.left == t.pair.a else "b")] == "one"
        for t in trials_of(made, "Eve")
        if t.kind == MAIN
    )
    assert only.won.hits == 16 + by_eve
    value, low, high = only.wider
    assert value == only.won.value and low < only.won.low  # Eve is not like Ada and Bob
    assert 0 < low < value < high < 1
    assert only.adjusted == pytest.approx(min(1, 3 * only.p))  # three questions, equal p
    watched = care(made, everything)
    assert watched.consistent[:2] == (12, 18)  # Eve's second look is at the other picture
    assert watched.caught[:2] == (12, 18)
    assert careless(everything) == {"Ada": (0, 6), "Bob": (0, 6), "Eve": (6, 6)}
    assert watched.agreement["text"] == (8 + 2 * by_eve, 24)


def test_the_table_tells_recipes_only_with_the_key(tmp_path):
    made = study(tmp_path / "study", design=Design(raters=1))
    with Votes(made) as votes:
        vote_all(made, votes, "Ada", likes(made, "two"))
        key, everything = reveal(made, votes), votes.all()
    closed, opened = as_csv(made, everything, None), as_csv(made, everything, key)
    rows = list(csv.DictReader(io.StringIO(opened)))
    assert len(rows) == len(everything) == 3 * 8
    chosen = {row["chosen_recipe"] for row in rows if row["kind"] != CATCH}
    assert chosen == {"two"} and "recipe" not in closed and "two" not in closed


def test_a_simulated_panel_of_known_taste_is_found_and_labelled(tmp_path):
    strengths = {"e": 1.8, "d": 0.9, "c": 0.0, "b": -0.9, "a": -1.8}
    kinds = {"recipes": tuple("abcde"), "concepts": ("pico", "luna", "toto"), "prompts": 2}
    made = study(tmp_path / "study", 60, Design(raters=10), **kinds)
    with Votes(made) as votes:
        simulate(made, votes, recipe_taste(made, strengths), Panel(raters=10, seed=1))
        key, everything = reveal(made, votes), votes.all()
        with pytest.raises(StudyError, match="never counted together"):
            votes.enroll("Ada")
    main = [v for v in everything if v.kind == MAIN and v.question == "overall"]
    assert len(main) == 600 and all(v.simulated for v in everything)
    found = order(made, key, everything, "overall")
    assert found.recipes == ("e", "d", "c", "b", "a")
    truth = np.array([strengths[name] for name in found.recipes])
    assert ((found.strengths.low <= truth) & (truth <= found.strengths.high)).all()
    lines = results(made, key, everything)
    assert lines[0] == SIMULATED_NOTE
    assert any("e over" in line or "over e" in line for line in lines)
    assert ",1," in as_csv(made, everything, key).splitlines()[1]


def test_concepts_may_differ_around_a_recipes_strength(tmp_path):
    concepts = tuple(f"c{k}" for k in range(30))
    made = study(tmp_path / "study", concepts=concepts, prompts=1, seeds=1)
    key = read_key(made)
    strengths = {"one": 2.0, "two": 0.0}
    same = recipe_taste(made, strengths)["text"]
    assert {same[id][key[id].index("one")] for id in key} == {2.0}
    spread = recipe_taste(made, strengths, 0.5)["text"]
    ones = [spread[id][key[id].index("one")] for id in key]
    assert len(set(ones)) == 30 and 0.25 < np.std(ones) < 0.75
    assert np.mean(ones) == pytest.approx(2.0, abs=0.4)
    assert spread == recipe_taste(made, strengths, 0.5)["text"]
    with pytest.raises(StudyError, match="concept_spread must be at least 0, got -1"):
        recipe_taste(made, strengths, -1)


def test_the_bundled_judge_can_be_the_taste(tmp_path):
    """A photo of the subject looks more like it than noise does."""
    from adb_core.concept import Concept
    from adb_core.judges import judged_side
    from adb_core.preference.panel import judge_taste

    pico, side = Concept.bundled("pico"), judged_side()
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    asked = ("pico", "a photo of a {}", 0)
    pair = (
        making.Picture("photo", *asked, pico.squares(side)[0]),
        making.Picture("noise", *asked, noise),
    )
    made = making.new_study(tmp_path / "study", [pair], {"pico": pico}, Design(raters=1))
    taste = judge_taste(made)
    a, b = taste["subject"]["p0000"]
    is_a = json.loads((made.folder / KEY).read_text())["p0000"]["a"] == "photo"
    assert (a - b if is_a else b - a) > 3


# ---------------------------------------------------------------- the command line


def two_folders(folder, **kinds):
    for recipe in ("one", "two"):
        making.write_pictures(pictures(recipes=(recipe,), **kinds), folder / recipe)
    return ["--pictures", folder / "one", "--pictures", folder / "two"]


def test_a_study_by_commands(tmp_path):
    made = two_folders(tmp_path)
    # the two folders' noise is equal, recipe by recipe: draw the second anew
    noise = [making.Picture("two", *p.asked, 255 - p.pixels) for p in pictures(recipes=("two",))]
    shutil.rmtree(tmp_path / "two")
    making.write_pictures(noise, tmp_path / "two")
    folder = tmp_path / "study"
    done = run("study", "new", folder, *made, "--raters", 2, "--pairs", 3)
    assert done.exit_code == 0, done.output
    assert "3 pairs for 2 raters" in done.output
    early = run("study", "report", folder, "--csv", tmp_path / "votes.csv")
    assert early.exit_code == 0 and "stays closed" in early.output
    assert run("study", "simulate", folder, "--taste", "one=2", "--taste", "two=-2").exit_code == 0
    late = run("study", "report", folder, "--csv", tmp_path / "votes.csv")
    assert SIMULATED_NOTE in late.output and "one over two" in late.output
    rows = list(csv.DictReader((tmp_path / "votes.csv").open()))
    assert {row["simulated"] for row in rows} == {"1"} and "chosen_recipe" in rows[0]


def test_a_study_of_trained_models(random_base, tmp_path):
    from command_line import QUICK

    models = []
    for recipe in ("dreambooth", "textual_inversion"):
        models += ["--model", recipe]
        assert (
            run("train", "--concept", "pico", "--recipe", recipe, "--out", recipe, *QUICK).exit_code
            == 0
        )
    asked = ["--prompt", "a photo of a {} on the beach", "--seed", 0, "--seed", 1]
    how = ["--steps", 1, "--device", "cpu", "--quiet", "--raters", 1]
    done = run("study", "new", "study", *models, *asked, *how)
    assert done.exit_code == 0, done.output
    made = load_study("study")
    assert [(p.concept, p.prompt, p.seed, p.text) for p in made.pairs] == [
        ("pico", "a photo of a {} on the beach", seed, "a photo of a cat on the beach")
        for seed in (0, 1)
    ]
    assert len(made.photos["pico"]) == 5
    key = json.loads((tmp_path / "study" / KEY).read_text())
    assert {name for pair in key.values() for name in pair.values()} == {
        "dreambooth", "textual_inversion",
    }  # fmt: skip


def test_power_by_command():
    assert "199 decided votes" in run("study", "power", 0.6).output


# ---------------------------------------------------------------- mistakes


def edited(change):
    """A mistake in study.json."""

    def spoil(folder):
        said = json.loads((folder / STUDY).read_text())
        change(said)
        (folder / STUDY).write_text(json.dumps(said))

    return spoil


def other_votes(folder):
    shutil.rmtree(folder)
    study(folder, concepts=("luna",))
    with Votes(load_study(folder)):
        pass
    (folder / FILE).rename(folder.parent / FILE)
    shutil.rmtree(folder)
    study(folder)
    (folder.parent / FILE).rename(folder / FILE)


def changed_key(folder):
    (folder / KEY).write_text((folder / KEY).read_text().replace("one", "ONE"))
    with Votes(load_study(folder)) as votes:
        votes.seal()


def first(folder, pattern):
    return next(iter(sorted(folder.glob(pattern))))


DAMAGE = {
    "no study": (lambda f: (f / STUDY).unlink(), "is not a study"),
    "another version": (edited(lambda s: s.update(format=99)), "version 99"),
    "changed by hand": (edited(lambda s: s["pairs"].pop()), "changed by hand"),
    "half a file": (lambda f: (f / STUDY).write_text("{"), "is damaged"),
    "a field too few": (edited(lambda s: s.pop("photos")), "is damaged"),
    "a picture missing": (lambda f: first(f, f"{PICTURES}/*").unlink(), "half-copied"),
    "another picture": (lambda f: first(f, f"{PICTURES}/*").write_bytes(b"x"), "not the picture"),
    "a photo missing": (lambda f: first(f, f"{PHOTOS}/*/*").unlink(), "half-copied"),
    "another study's votes": (other_votes, "votes of another study"),
    "no database": (lambda f: (f / FILE).write_bytes(b"x" * 4096), "cannot be used"),
    "another key": (changed_key, "not the key"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_study_ends_with_one_line(tmp_path, name):
    spoil, words = DAMAGE[name]
    folder = tmp_path / "study"
    study(folder)
    spoil(folder)
    done = run("study", "report", folder)
    assert done.exit_code == 2 and words in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_a_damaged_study_loses_no_votes(tmp_path):
    made = study(tmp_path / "study")
    with Votes(made) as votes:
        vote_all(made, votes, "Ada", likes(made, "one"))
    edited(lambda s: s["pairs"].pop())(made.folder)
    assert run("study", "report", made.folder).exit_code == 2
    with sqlite3.connect(made.folder / FILE) as db:
        assert db.execute("SELECT count(*) FROM votes").fetchone() == (3 * 8,)


def manifest(text):
    def write(folder):
        (folder / "one" / "manifest.json").write_text(text)

    return write


NEW = {
    "no manifest": (lambda f: (f / "one/manifest.json").unlink(), [], "has no manifest.json"),
    "a damaged manifest": (manifest('{"recipe": "one"}'), [], "is damaged"),
    "a missing picture": (lambda f: (f / "one/0000.png").unlink(), [], "0000.png is missing"),
    "a broken picture": (lambda f: (f / "one/0000.png").write_bytes(b"x"), [], "cannot be read"),
    "one recipe": (lambda f: shutil.copy(f / "two/manifest.json", f / "one"), [], "comes twice"),
    "equal pictures": (lambda f: None, [], "nothing in common|their pictures differ"),
    "too many pairs": (None, ["--pairs", 99], "99 pairs asked for"),
    "no raters": (None, ["--raters", 0], "raters must be at least 1"),
    "a negative seed": (None, ["--seed", -1], "--seed -1"),
    "folders and models": (None, ["--model", "x"], "either as --pictures"),
    "a folder in the way": (
        lambda f: (f / "study").mkdir() or (f / "study/x").touch(),
        [],
        "in the way",
    ),
}


@pytest.mark.parametrize("name", NEW)
def test_a_study_that_cannot_be_made_ends_with_one_line(tmp_path, name):
    spoil, more, words = NEW[name]
    made = two_folders(tmp_path)
    if spoil is None:
        noise = [making.Picture("two", *p.asked, 255 - p.pixels) for p in pictures(("two",))]
        shutil.rmtree(tmp_path / "two")
        making.write_pictures(noise, tmp_path / "two")
    else:
        spoil(tmp_path)
    done = run("study", "new", tmp_path / "study", *made, "--raters", 2, *more)
    assert done.exit_code == 2, done.output
    assert len(done.output.strip().splitlines()) == 1
    assert any(word in done.output for word in words.split("|")), done.output
    assert not (tmp_path / "study" / STUDY).exists()


def test_a_concept_that_is_not_bundled_needs_its_photos(tmp_path):
    made = pictures(concepts=("mine",))
    with pytest.raises(StudyError, match="no photos of concept 'mine'"):
        making.new_study(tmp_path / "study", making.possible_pairs(made), {}, Design(raters=1))
    folder = photo_folder(tmp_path / "mine")
    for recipe in ("one", "two"):
        making.write_pictures([p for p in made if p.recipe == recipe], tmp_path / recipe)
    given = ["--pictures", tmp_path / "one", "--pictures", tmp_path / "two", "--concept", folder]
    done = run("study", "new", tmp_path / "study", *given, "--raters", 1)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "attempt, words",
    [
        (lambda v: v.enroll("Ada"), "is taken"),
        (lambda v: v.enroll("  "), "no name"),
        (lambda v: v.enroll("x" * 41), "no name"),
        (lambda v: v.enroll("simulated 001"), "no name"),
        (lambda v: v.rater("nobody's"), "belongs to no rater"),
        (lambda v: v.add("Ada", 99, SAME, 1), "no trial 99"),
        (lambda v: v.add("Ada", -1, SAME, 1), "no trial -1"),
        (lambda v: v.add("Eve", 0, SAME, 1), "no rater 'Eve'"),
        (lambda v: v.add("Ada", 0, {"subject": "left"}, 1), "an answer to each"),
        (lambda v: v.add("Ada", 0, {**SAME, "text": "both"}, 1), "an answer to each"),
        (lambda v: v.add("Ada", 1, dict.fromkeys(QUESTIONS, "left"), 1), "has its votes"),
        (lambda v: v.study.pair("p9999"), "no pair 'p9999'"),
        (lambda v: [v.enroll(name) for name in ("Bob", "Eve", "Kim")], "has its 3 raters"),
    ],
)
def test_what_raters_may_not_do(tmp_path, attempt, words):
    made = study(tmp_path / "study")
    with Votes(made) as votes:
        votes.enroll("Ada")
        votes.add("Ada", 1, SAME, 1)
        before = votes.all()
        with pytest.raises(StudyError, match=words):
            attempt(votes)
        assert votes.all() == before


@pytest.mark.parametrize("text", ["one", "one=x", "=1", "one=inf", "one=1"])
def test_a_taste_that_is_none(tmp_path, text):
    study(tmp_path / "study")
    done = run("study", "simulate", tmp_path / "study", "--taste", text)
    assert done.exit_code == 2 and len(done.output.strip().splitlines()) == 1


def test_the_concepts_photos_are_in_the_study(tmp_path):
    made = study(tmp_path / "study")
    assert len(made.photos["pico"]) == len(concept("pico").images)
    assert all((made.folder / PHOTOS / file).is_file() for file in made.photos["pico"])

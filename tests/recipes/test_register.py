"""The register says what the records say, whichever there are."""

import re

import pytest

from mlcode.recipes import RECIPES
from mlcode.recipes.recipe import in_words
from mlcode.recipes.register import deviation_list, effort_table, recorded_runs, register_table
from mlcode.records import read_record, record_names


def run(name="maml-omniglot-5w1s", *, results=(), device="cpu", **more):
    """A record as `reproduce` writes it."""
    recipe = RECIPES[name]
    result = {
        "recipe": name,
        "title": recipe.title,
        "settings": recipe.settings,
        "seed": 0,
        "deviations": list(recipe.deviations),
        "seconds": 600.0,
        "resumed": False,
        "results": list(results),
    }
    made_in = {"processor": "A processor", "threads": 2, "torch": "2", "date": "2026-01-01"}
    return {"environment": made_in | {"device": device}, "result": result | more}


def row(mean=0.98, **more):
    """A row of a record."""
    target = {"value": 0.987, "interval": 0.004, "source": "A paper, table 1"}
    figure = {"protocol": "1 query", "mean": mean, "interval": 0.005, "verdict": "reached"}
    return figure | {"target": target} | more


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_every_record_that_a_recipe_left_is_in_the_register_in_the_recipes_order():
    runs = recorded_runs()
    left = [n for n in record_names() if "recipe" in read_record(n)["result"]]
    assert len(runs) == len(left) > 0
    names = [found["result"]["recipe"] for found in runs]
    assert names == sorted(names, key=list(RECIPES).index)


def test_every_recorded_figure_is_in_the_table_beside_its_verdict():
    runs = recorded_runs()
    table = cells(register_table(runs))
    recorded = [entry for found in runs for entry in found["result"]["results"]]
    assert len(table) == len(recorded) + 2
    for line, entry in zip(table[2:], recorded):
        assert line[1] == entry["protocol"]
        assert line[3].replace("\xa0", " ") == in_words(entry)
        assert line[4] == (entry["verdict"] if entry["target"] else "")


def test_a_figure_is_shown_with_its_source_its_goal_and_whether_it_was_read_there():
    plain, quoted, goal = (
        cells(register_table([run(results=[entry])]))[2][2].replace("\xa0", " ")
        for entry in (
            row(),
            row(target=row()["target"] | {"second_hand": True}),
            row(target=row()["target"] | {"at_least": 0.97}),
        )
    )
    assert plain == "98.7 ± 0.4 % (A paper, table 1)"
    assert quoted == plain + " †"
    assert goal == plain + "; to reach: 97 %"


def test_other_protocols_of_the_same_weights_have_no_verdict():
    (line,) = cells(register_table([run(results=[row(target=None, verdict="none")])]))[2:]
    assert line[2] == line[4] == ""


@pytest.mark.parametrize(
    ("more", "command"),
    [
        ({}, "reproduce maml-omniglot-5w1s"),
        ({"seed": 3}, "reproduce maml-omniglot-5w1s --seed 3"),
        ({"settings": {"n_iterations": 5}}, "reproduce maml-omniglot-5w1s --n-iterations 5"),
        ({"device": "NVIDIA H200"}, "reproduce maml-omniglot-5w1s --device cuda"),
        ({"name": "maml-sinusoid", "seed": [0, 1, 2]}, "reproduce maml-sinusoid"),
        ({"name": "pixels-omniglot", "seed": []}, "reproduce pixels-omniglot"),
    ],
)
def test_the_command_shown_is_the_one_that_was_run(more, command):
    line = cells(effort_table([run(**more)]))[2]
    assert line[0] == f"`python -m mlcode {command}`"


@pytest.mark.parametrize(
    ("more", "time"),
    [
        ({}, "10 min"),
        ({"seconds": 3.2}, "seconds"),
        ({"resumed": True}, "10 min, after a pause"),
    ],
)
def test_the_time_is_that_of_the_run_and_says_if_it_was_resumed(more, time):
    assert cells(effort_table([run(**more)]))[2][-1] == time


def test_the_hardware_is_named_and_no_machine():
    assert cells(effort_table([run()]))[2][2] == "A processor, 2 threads"
    assert cells(effort_table([run(device="NVIDIA H200")]))[2][2] == "NVIDIA H200"


def test_deviations_are_those_of_the_run_and_not_of_the_recipe_today():
    said = deviation_list([run(deviations=["other data", "5 iterations instead of 60,000"])])
    assert re.fullmatch(r"- .*: other data; 5 iterations instead of 60,000\.", said)

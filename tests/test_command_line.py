"""`python -m mlcode`: what it prints and writes, and what it says when it cannot."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch
from click.testing import CliRunner

from mlcode.catalogue import LEARNERS, SOURCES
from mlcode.checkpoints import n_saved
from mlcode.command_line import main
from mlcode.recipes import RECIPES
from tests.book.files import PAGES, prose
from tests.helpers import REPOSITORY, python, same

SHORT = ("--n-iterations", "3", "--n-tasks", "2")


def mlcode(*arguments):
    """Run a command in this process, as click does from a shell: the exit status and the output."""
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def says(*arguments, status=2):
    """The one message with which a command refuses."""
    done = mlcode(*arguments)
    assert done.exit_code == status, done.output
    assert done.stdout == ""
    return done.stderr


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def trained(folder):
    done = mlcode("train", "maml", "sinusoids", *SHORT, "--out", folder)
    assert done.exit_code == 0, done.output
    return folder


def test_from_a_shell_it_trains_and_then_measures(folder):
    done = python("-m", "mlcode", "train", "maml", "sinusoids", *SHORT, "--out", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("3 iterations; mean query loss of the last 3: ")
    assert shlex.split(done.stdout.splitlines()[1])[-1] == str(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.pt", "setting.json"]
    done = python("-m", "mlcode", "evaluate", folder, "--n-tasks", "10", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    measured = json.loads(done.stdout)
    assert measured.pop("mean") > measured.pop("interval") > 0
    assert measured == {
        "learner": "maml",
        "source": "sinusoids",
        "n_iterations": 3,
        "n_shot": 10,
        "n_query": 10,
        "n_test_steps": 1,
        "n_tasks": 10,
        "metric": "mean squared error",
    }


def test_the_table_has_what_the_json_has(trained):
    as_json = json.loads(mlcode("evaluate", trained, "--n-tasks", 10, "--json").stdout)
    as_table = dict(
        re.split(r"  +", line.strip())
        for line in mlcode("evaluate", trained, "--n-tasks", 10).stdout.splitlines()
    )
    mean, interval, metric = (as_json.pop(name) for name in ("mean", "interval", "metric"))
    assert as_table.pop(metric) == f"{mean:.4f} ± {interval:.4f}"
    assert as_table == {name: str(value) for name, value in as_json.items()}


def test_a_run_that_was_continued_ends_bit_for_bit_as_one_left_alone(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    common = ("train", "anil", "sinusoids", "--n-tasks", 2, "--n-shot", 4)
    mlcode(*common, "--n-iterations", 7, "--out", whole)
    mlcode(*common, "--n-iterations", 4, "--out", parts)
    mlcode("train", "anil", "sinusoids", "--n-iterations", 7, "--out", parts, "--resume")
    assert same(*(torch.load(run / "checkpoint.pt") for run in (whole, parts)))
    assert (whole / "setting.json").read_bytes() == (parts / "setting.json").read_bytes()


def test_the_seed_decides_and_nothing_else_does(tmp_path):
    def checkpoint(name, seed):
        torch.rand(5)  # whoever else draws from torch's global generator
        before = torch.get_rng_state()
        mlcode("train", "maml", "sinusoids", *SHORT, "--seed", seed, "--out", tmp_path / name)
        assert torch.equal(torch.get_rng_state(), before)
        return torch.load(tmp_path / name / "checkpoint.pt")

    first, again, other = checkpoint("a", 1), checkpoint("b", 1), checkpoint("c", 2)
    assert same(first, again)
    assert not same(first["learner"], other["learner"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_saves_and_the_command_that_it_prints_finishes_the_run(tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "a folder"
    settings = ["maml", "sinusoids", "--n-tasks", "2", "--n-iterations", "500"]
    undisturbed = python("-m", "mlcode", "train", *settings, "--out", whole)
    assert undisturbed.returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "mlcode", "train", *settings, "--out", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # as from a terminal
    )
    while not (folder / "checkpoint.pt").exists() and process.poll() is None:
        time.sleep(0.001)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    saved = n_saved(folder / "checkpoint.pt")
    assert 200 <= saved < 500
    assert saved % 200 != 0, "no multiple of what it saves on its own"
    assert f"saved after iteration {saved}." in said
    assert "Traceback" not in said
    again = shlex.split(said.splitlines()[-1])
    assert again[:3] == ["python", "-m", "mlcode"]
    assert python(*again[1:]).returncode == 0
    assert same(*(torch.load(run / "checkpoint.pt") for run in (whole, folder)))


AT_HAND = {"omniglot": "omniglot_at_hand", "miniimagenet": "photographs"}
PAIRS = [(name, source) for name in LEARNERS for source in LEARNERS[name].sources or SOURCES]


@pytest.mark.filterwarnings("ignore:conjugate gradients did not converge")  # after two tasks
@pytest.mark.filterwarnings("ignore:the inner loop did not end at a minimum")  # nor could it
@pytest.mark.parametrize(("learner", "source"), PAIRS)
def test_every_learner_takes_a_step_on_every_source_it_learns_from(
    learner, source, folder, request
):
    if source in AT_HAND:
        request.getfixturevalue(AT_HAND[source])
    few = ("--n-iterations", 1, "--n-tasks", 2)
    done = mlcode("train", learner, source, *few, "--out", folder)
    assert done.exit_code == 0, done.output
    measured = mlcode("evaluate", folder, "--n-tasks", 3, "--json")
    assert measured.exit_code == 0, measured.output
    assert json.loads(measured.stdout)["n_iterations"] == (learner != "pixels")


def test_the_protocol_of_the_test_can_differ_from_that_of_training(folder):
    mlcode("train", "maml", "glyphs", "--n-iterations", 1, "--n-tasks", 2, "--out", folder)
    changes = {"n_query": 2, "n_test_steps": 3, "statistics": "support"}
    options = [part for n, v in changes.items() for part in (f"--{n.replace('_', '-')}", v)]
    validation = ("--split", "validation", "--n-tasks", 4, "--json")
    measured = json.loads(mlcode("evaluate", folder, *options, *validation).stdout)
    assert changes.items() <= measured.items()
    assert (measured["split"], measured["n_tasks"]) == ("validation", 4)


def test_the_list_names_everything_in_aligned_columns():
    lines = mlcode("list").stdout.splitlines()
    assert {line.split()[0] for line in lines if line} >= {*LEARNERS, *SOURCES, *RECIPES}
    recipes = lines[lines.index("Recipes") + 1 :]
    starts = {column: recipes[0].index(column) for column in ("target", "protocol", "time")}
    for line, recipe in zip(recipes[1:], RECIPES.values()):
        assert line[starts["target"] :].startswith(recipe.aim)
        assert line[starts["protocol"] :].startswith(recipe.protocol)
        assert line[starts["time"] :] == recipe.time


def shown_commands():
    """Every `python -m mlcode …` in the repository's pages and the book's."""
    pages = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *PAGES]
    shown = [re.findall(r"python -m mlcode ([a-z][^`#\n]*)", prose(page)) for page in pages]
    return sorted({command.strip() for found in shown for command in found})


@pytest.mark.parametrize("command", shown_commands())
def test_every_command_that_a_page_shows_can_be_run(command):
    name, *arguments = shlex.split(command)
    assert name in main.commands
    if arguments and "NAME" not in arguments:
        with main.commands[name].make_context(name, arguments) as context:
            chosen = context.params
        known = {"learner": LEARNERS, "source": SOURCES, "recipe": RECIPES}
        assert all(chosen[kind] in names for kind, names in known.items() if kind in chosen)


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (("train", "mamll", "glyphs"), "'maml'"),
        (("train", "maml", "glyph"), "'glyphs'"),
        (("train", "maml", "glyphs", "--statistics", "supprt"), "'support'"),
        (("reproduce", "maml-omniglot-5w1"), "'maml-omniglot-5w1s'"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(arguments, nearest, folder):
    assert says(*arguments, "--out", folder).strip().endswith(f"Did you mean {nearest}?")
    assert not folder.exists()


def test_an_unknown_split_is_answered_with_the_nearest(folder):
    mlcode("train", "pixels", "glyphs", "--out", folder)
    assert "Did you mean 'validation'?" in says("evaluate", folder, "--split", "validaton")


def test_an_error_in_a_real_process_is_one_message_without_a_traceback(folder):
    done = python("-m", "mlcode", "train", "mamll", "glyphs", "--out", folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"Error: the learner must be one of [^\n]*\n", done.stderr)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--n-way 3", "n_way would have no effect"),
        ("--statistics query", "statistics would have no effect"),
        ("--rotations", "rotations would have no effect"),
        ("--inner-lr 0", "inner_lr must be positive"),
        ("--inner-lr nan", "inner_lr must be positive"),
        ("--n-query 0", "n_query must be at least 1"),
        ("--n-tasks 0", "n_tasks must be at least 1"),
        ("--n-iterations -1", "n_iterations must be at least 0"),
        ("--meta-lr -1", "learning rate"),
        ("--inner-lr 1e30", "is not finite"),
        ("--device cudda", "'cudda' cannot be used here"),
        ("--device meta", "'meta' cannot be used here"),
        ("--n-shot x", "'x' is not a valid integer"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(options, reason, folder):
    said = says("train", "maml", "sinusoids", *options.split(), "--out", folder)
    assert reason in said
    assert not (folder / "checkpoint.pt").exists()


def test_a_learner_that_cannot_learn_from_a_source_says_from_which_it_can(folder):
    assert "glyphs or omniglot" in says("train", "pixels", "sinusoids", "--out", folder)


def test_a_run_is_not_written_over(trained):
    before = (trained / "checkpoint.pt").read_bytes()
    assert "--resume" in says("train", "maml", "sinusoids", *SHORT, "--out", trained)
    assert (trained / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    "asked",
    ["maml sinusoids --n-shot 3", "maml sinusoids --seed 1", "fomaml sinusoids", "maml lines"],
)
def test_a_run_is_not_continued_as_another(trained, asked):
    before = (trained / "checkpoint.pt").read_bytes()
    said = says("train", *asked.split(), "--n-iterations", 5, "--out", trained, "--resume")
    assert "another folder" in said
    assert (trained / "checkpoint.pt").read_bytes() == before


def test_a_continued_run_keeps_its_settings_without_being_told_them_again(trained):
    before = (trained / "setting.json").read_text()
    done = mlcode("train", "maml", "sinusoids", "--out", trained, "--resume")
    assert done.stdout.startswith("3 iterations")
    assert (trained / "setting.json").read_text() == before


def test_there_is_nothing_to_continue_or_measure_in_an_empty_folder(folder):
    assert "holds no run" in says("train", "maml", "sinusoids", "--out", folder, "--resume")
    assert "holds no run" in says("evaluate", folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"learner": "maml"}', b'{"of": "others"}', b"null"],
)
def test_a_damaged_setting_is_named(trained, content):
    (trained / "setting.json").write_bytes(content)
    assert "setting.json is damaged" in says("evaluate", trained)


def test_a_setting_of_a_learner_that_is_no_more_is_named(trained):
    text = (trained / "setting.json").read_text().replace('"maml"', '"melm"')
    (trained / "setting.json").write_text(text)
    assert "'melm' or 'sinusoids' is unknown" in says("evaluate", trained)


def test_a_damaged_missing_or_foreign_checkpoint_is_named(trained):
    file = trained / "checkpoint.pt"
    whole = file.read_bytes()
    for damaged in (b"", whole[:1000], whole[:-100], whole.replace(b"\x3f", b"\x3e", 1)):
        file.write_bytes(damaged)
        assert "checkpoint.pt is not a readable checkpoint" in says("evaluate", trained)
    torch.save({"weights": torch.zeros(3)}, file)
    assert "was not made by train" in says("evaluate", trained)
    file.unlink()
    assert "there is no checkpoint" in says("evaluate", trained)


def test_a_checkpoint_of_another_network_is_refused(trained, tmp_path):
    images = tmp_path / "images"
    mlcode("train", "maml", "glyphs", "--n-iterations", 1, "--n-tasks", 1, "--out", images)
    (images / "checkpoint.pt").replace(trained / "checkpoint.pt")
    assert "another learner" in says("evaluate", trained)


def test_what_fails_outside_has_another_exit_status(tmp_path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "run"
    assert "Not a directory" in says("train", "maml", "sinusoids", *SHORT, "--out", out, status=1)


def test_omniglot_that_is_not_to_be_had_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MLCODE_DATA", str(tmp_path / "nowhere"))
    said = says("train", "maml", "omniglot", *SHORT, "--out", tmp_path / "run")
    assert "MLCODE_DATA must name a folder that exists" in said
    assert not (tmp_path / "run").exists()

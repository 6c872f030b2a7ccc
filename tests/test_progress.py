"""Who sees a progress bar, and what is on it."""

import sys
from types import SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient
from torch.optim import Adam

from mlcode import MAML, train
from tests.helpers import REPOSITORY, python, smooth_net
from tests.test_training import SOURCE

SCRIPT = """
import sys
sys.path.insert(0, {path!r})
import torch
from mlcode import MAML, MLP, Sinusoids, evaluate, train
learner = MAML(MLP(1, 8, 1))
optimizer = torch.optim.Adam(learner.parameters())
history = train(learner, Sinusoids(), n_iterations=30, n_tasks=2, optimizer=optimizer{more})
evaluate(learner, Sinusoids(), 10)
print(len(history))
"""


def short_run(**settings):
    learner = MAML(smooth_net())
    optimizer = Adam(learner.parameters())
    settings = {"n_iterations": 5, "n_tasks": 2} | settings
    return train(learner, SOURCE, optimizer=optimizer, **settings)


def test_a_script_whose_output_nobody_watches_prints_nothing():
    done = python("-c", SCRIPT.format(path=str(REPOSITORY), more=""))
    assert (done.returncode, done.stdout, done.stderr) == (0, "30\n", "")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the notebook machinery
def notebook_outputs(more, tmp_path):
    cell = nbformat.v4.new_code_cell(SCRIPT.format(path=str(REPOSITORY), more=more))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    return [(output.name, output.text) for output in notebook.cells[0].outputs]


def test_a_notebook_executed_without_a_person_shows_only_what_it_prints(tmp_path):
    assert notebook_outputs("", tmp_path) == [("stdout", "30\n")]


def test_a_bar_that_is_asked_for_shows_the_progress_and_the_current_loss(capsys):
    history = short_run(progress=True)
    shown = capsys.readouterr().err
    assert "5/5" in shown
    assert f"loss={history.loss[-1]:.3g}" in shown


def test_a_resumed_bar_starts_where_the_run_stopped(capsys, tmp_path):
    file = tmp_path / "run.pt"
    short_run(n_iterations=4, checkpoint=file)
    short_run(n_iterations=6, checkpoint=file, progress=True)
    shown = capsys.readouterr().err
    assert " 4/6 " in shown
    assert " 6/6 " in shown


def test_a_terminal_shows_the_bar_unless_it_is_declined(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    short_run()
    assert "5/5" in capsys.readouterr().err
    short_run(progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("person", [True, False])
def test_a_notebook_shows_the_bar_where_a_person_could_answer(person, capsys, monkeypatch):
    shell = SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=person))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    short_run()
    assert ("5/5" in capsys.readouterr().err) == person

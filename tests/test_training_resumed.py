"""A run that stopped and went on is, bit for bit, the run that never stopped."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers
from torch import nn
from torch.optim import SGD, Adam, lr_scheduler

from mlcode import MAML, Sinusoids, train
from tests.helpers import compiles, network, same, seeded, smooth_net, snapshot
from tests.test_training import OPTIMIZERS, SCHEDULERS, SOURCE, ends_early


class Run:
    """One training run, with all that it can leave behind."""

    def __init__(self, *, optimizer="Adam", scheduler="none", dropout=False, seed=0, wrap=None):
        layers = [nn.Linear(1, 8), nn.Tanh(), *([nn.Dropout(0.3)] if dropout else [])]
        self.learner = MAML(network(*layers, nn.Linear(8, 1)))
        self.optimizer = OPTIMIZERS[optimizer](self.learner.parameters())
        self.scheduler = SCHEDULERS[scheduler](self.optimizer)
        self.generator = seeded(seed)
        self.wrap = wrap or (lambda learner: learner)

    def to(self, n_iterations, **more):
        self.history = train(
            self.wrap(self.learner),
            SOURCE,
            n_iterations=n_iterations,
            n_tasks=3,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            generator=self.generator,
            **more,
        )
        return self

    def everything(self):
        return [
            snapshot(self.learner),
            self.optimizer.state_dict(),
            self.scheduler.state_dict() if self.scheduler else None,
            self.generator.get_state(),
            torch.get_rng_state(),
            self.history.loss.tolist(),
            self.history.lr.tolist(),
        ]


def uninterrupted_and_resumed(folder, stops=(5,), end=9, **settings):
    """All that is left after `end` iterations at a stretch, and after stopping on the way."""
    torch.manual_seed(7)
    whole = Run(**settings).to(end).everything()
    file = folder / "run.pt"
    file.unlink(missing_ok=True)
    for i, stop in enumerate((*stops, end)):
        # Each part begins with a fresh optimizer and other seeds: the file decides.
        torch.manual_seed(7 + i)
        part = Run(**settings, seed=i).to(stop, checkpoint=file, checkpoint_every=4)
    return whole, part.everything()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_with_any_optimizer(optimizer, tmp_path):
    whole, resumed = uninterrupted_and_resumed(tmp_path, optimizer=optimizer)
    assert same(whole, resumed)


@ends_early
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_with_any_scheduler(scheduler, tmp_path):
    whole, resumed = uninterrupted_and_resumed(tmp_path, optimizer="SGD", scheduler=scheduler)
    assert same(whole, resumed)


def test_with_dropout_which_draws_from_the_global_generator(tmp_path):
    whole, resumed = uninterrupted_and_resumed(tmp_path, dropout=True)
    assert same(whole, resumed)


@settings(max_examples=10)
@given(first=integers(1, 9), second=integers(1, 9))
def test_wherever_and_however_often_it_stops(tmp_path_factory, first, second):
    stops = sorted((first, second))
    whole, resumed = uninterrupted_and_resumed(
        tmp_path_factory.mktemp("run"), stops, dropout=True, scheduler="one cycle"
    )
    assert same(whole, resumed)


def test_a_run_that_is_done_returns_its_history_and_changes_nothing(tmp_path):
    file = tmp_path / "run.pt"
    done = Run().to(6, checkpoint=file)
    content, again = file.read_bytes(), Run(seed=9).to(6, checkpoint=file)
    assert same(again.everything(), done.everything())
    assert Run().to(4, checkpoint=file).history.loss.tolist() == done.history.loss.tolist()
    assert file.read_bytes() == content


def test_a_run_goes_on_with_the_very_objects_it_stopped_with(tmp_path):
    file = tmp_path / "run.pt"
    whole = Run(scheduler="step").to(9)
    run = Run(scheduler="step").to(4, checkpoint=file).to(9, checkpoint=file)
    assert same(run.everything(), whole.everything())


def test_saving_changes_nothing_in_the_run(tmp_path):
    without, with_file = Run().to(7), Run().to(7, checkpoint=tmp_path / "a.pt", checkpoint_every=1)
    assert same(without.everything(), with_file.everything())


def test_the_file_is_saved_every_n_iterations_and_at_the_end(tmp_path):
    seen = []

    class Watched(Sinusoids):
        def sample(self, *arguments, **options):
            seen.append(torch.load(file)["history"].shape[1] if file.exists() else 0)
            return super().sample(*arguments, **options)

    file, learner = tmp_path / "run.pt", MAML(smooth_net())
    train(
        learner,
        Watched(dtype=torch.float64),
        n_iterations=8,
        n_tasks=2,
        optimizer=Adam(learner.parameters()),
        checkpoint=str(file),
        checkpoint_every=3,
    )
    assert seen == [0, 0, 0, 3, 3, 3, 6, 6]
    assert torch.load(file)["history"].shape[1] == 8
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_the_file_holds_the_learners_weights_under_their_own_names(tmp_path):
    run = Run().to(3, checkpoint=tmp_path / "run.pt")
    assert same(torch.load(tmp_path / "run.pt")["learner"], snapshot(run.learner))


@compiles
@pytest.mark.usefixtures("unchecked")
def test_a_compiled_learners_file_continues_an_eager_run_and_the_other_way_round(tmp_path):
    whole = Run().to(6)
    compiled = partial(torch.compile, backend="aot_eager")
    for first, second in ((None, compiled), (compiled, None)):
        file = tmp_path / f"{second is None}.pt"
        Run(wrap=first).to(3, checkpoint=file)
        run = Run(wrap=second).to(6, checkpoint=file)
        assert run.history.loss == pytest.approx(whole.history.loss, rel=1e-10)
        assert run.history.lr.tolist() == whole.history.lr.tolist()


def test_the_generator_may_live_in_the_run_alone(tmp_path):
    """Without a generator the seed comes from torch, and a resumed run goes on drawing from it."""

    def history(*stops):
        torch.manual_seed(3)
        file = tmp_path / f"{len(stops)}.pt"
        for stop in stops:
            learner = MAML(smooth_net())
            optimizer = SGD(learner.parameters(), 0.01)
            scheduler = lr_scheduler.StepLR(optimizer, 2)
            found = train(
                learner,
                SOURCE,
                n_iterations=stop,
                n_tasks=2,
                optimizer=optimizer,
                scheduler=scheduler,
                checkpoint=file,
            )
        return found.loss.tolist()

    assert history(3, 7) == history(7)

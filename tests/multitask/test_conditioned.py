"""MAML with several starts: what it chooses, and that with one start it is MAML."""

import pytest
import torch
from hypothesis import given
from hypothesis.strategies import booleans, integers, permutations
from torch import nn

from mlcode import MAML, Examples
from mlcode.multitask import ConditionedMAML, TaskEmbedding
from tests.helpers import SEEDS, distance, gradients, random_tasks, reseed, seeded, smooth_net


def embedding(n_starts, seed=0):
    return reseed(TaskEmbedding(3, n_starts, 4).double(), seed)


def learner(n_starts, seed=0, *, embedded=True, **settings):
    starts = [smooth_net(2, seed=seed + i) for i in range(n_starts)]
    return ConditionedMAML(starts, embedding(n_starts, seed) if embedded else None, **settings)


@given(seed=SEEDS, embedded=booleans(), n_steps=integers(0, 3))
def test_with_one_start_it_is_maml(seed, embedded, n_steps):
    tasks = random_tasks(3, 4, 5, (2,), (1,), seed=seed)
    ours = learner(1, seed, embedded=embedded, n_inner_steps=n_steps)
    maml = MAML(smooth_net(2, seed=seed), n_inner_steps=n_steps)
    assert distance(ours(tasks), maml(tasks)) < 1e-12
    found = gradients(ours, tasks)
    for name, gradient in gradients(maml, tasks).items():
        assert distance(found[name], gradient) < 1e-12


@given(seed=SEEDS, n_steps=integers(1, 3))
def test_without_embedding_it_is_mamls_best_start_by_support_loss(seed, n_steps):
    support, query = random_tasks(1, 4, 5, (2,), (1,), seed=seed).select(0)
    ours = learner(3, seed, embedded=False, n_inner_steps=n_steps)
    singles = [MAML(smooth_net(2, seed=seed + i), n_inner_steps=n_steps) for i in range(3)]
    losses = torch.stack([m.support_loss(m.adapt(support), support) for m in singles])
    best = int(losses.argmin())
    expected = singles[best].predict(support, query.x)
    assert distance(ours.predict(support, query.x), expected) < 1e-12
    assert ours.shares(support).tolist() == [float(i == best) for i in range(3)]


@given(seed=SEEDS)
def test_a_cluster_trains_its_own_start_and_no_other(seed):
    tasks = random_tasks(1, 4, 5, (2,), (1,), seed=seed)
    ours = learner(3, seed, embedded=False)
    chosen = int(ours.shares(tasks.select(0).support).argmax())
    found = gradients(ours, tasks)
    for i, prefix in enumerate(("model.", "others.0.", "others.1.")):
        size = sum(float(g.abs().sum()) for name, g in found.items() if name.startswith(prefix))
        assert (size > 0) == (i == chosen)


@pytest.mark.parametrize("mapping", ["loop", "vmap"])
def test_a_start_from_which_tasks_diverge_is_not_chosen_and_spoils_no_gradient(mapping):
    tasks = random_tasks(3, 4, 5, (2,), (1,))
    starts = [smooth_net(2, seed=1), smooth_net(2, seed=2)]
    with torch.no_grad():
        starts[0][2].bias.fill_(1e200)  # of which the square is infinite
    ours = ConditionedMAML(starts, n_inner_steps=2, mapping=mapping)
    assert ours.shares(tasks.select(0).support).tolist() == [0.0, 1.0]
    assert distance(ours(tasks), MAML(smooth_net(2, seed=2), n_inner_steps=2)(tasks)) < 1e-12
    assert all(g.isfinite().all() for g in gradients(ours, tasks).values())


@given(seed=SEEDS, n_steps=integers(0, 2))
def test_the_start_is_the_mean_of_all_by_the_embeddings_shares(seed, n_steps):
    support, query = random_tasks(1, 4, 5, (2,), (1,), seed=seed).select(0)
    ours = learner(3, seed, n_inner_steps=n_steps)
    shares = ours.shares(support)
    assert distance(shares.sum(), torch.ones(()).double()) < 1e-12
    mixed = smooth_net(2)
    with torch.no_grad():
        for name, p in mixed.named_parameters():
            p.copy_(sum(share * start[name] for share, start in zip(shares, ours.starts())))
    expected = MAML(mixed, n_inner_steps=n_steps).predict(support, query.x)
    assert distance(ours.predict(support, query.x), expected) < 1e-12


@given(seed=SEEDS, embedded=booleans())
def test_loop_and_vmap_agree(seed, embedded):
    tasks = random_tasks(4, 4, 5, (2,), (1,), seed=seed)
    results = []
    for mapping in ("loop", "vmap"):
        ours = learner(3, seed, embedded=embedded, mapping=mapping)
        results.append((ours.losses(tasks).detach(), gradients(ours, tasks)))
    assert distance(results[0][0], results[1][0]) < 1e-12
    assert distance(results[0][1], results[1][1]) < 1e-12


@given(seed=SEEDS, order=permutations(range(5)))
def test_the_embedding_does_not_see_the_order_or_the_number_of_examples(seed, order):
    support = random_tasks(1, 5, 1, (2,), (1,), seed=seed).select(0).support
    embed = embedding(3, seed)
    shuffled = Examples(support.x[order], support.y[order])
    twice = Examples(torch.cat([support.x] * 2), torch.cat([support.y] * 2))
    assert distance(embed(shuffled), embed(support)) < 1e-12
    assert distance(embed(twice), embed(support)) < 1e-12


def test_it_learns_to_tell_two_kinds_of_tasks_apart_that_one_start_cannot_serve():
    """y = 3 or y = −3 by the sign of the one support point, and no rate large enough to get there
    from between. One start answers 0, with a loss of 9; two get each kind right."""

    def signs(n_tasks, seed):
        draw = seeded(seed)
        sign = torch.randint(2, (n_tasks, 1, 1), generator=draw) * 2.0 - 1
        x = torch.randn(n_tasks, 3, 1, generator=draw)
        y = 3 * sign.expand(-1, 3, -1)
        return Examples(x[:, :1], y[:, :1]), Examples(x[:, 1:], y[:, 1:])

    class Signs:
        def sample(self, n_tasks, *, generator=None, device=None):
            from mlcode import Tasks

            return Tasks(*signs(n_tasks, int(torch.randint(2**31, (), generator=generator))))

    from mlcode import evaluate, train

    def trained(make):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            ours = make()
        train(
            ours,
            Signs(),
            n_iterations=200,
            n_tasks=10,
            optimizer=torch.optim.Adam(ours.parameters(), 0.05),
            generator=seeded(0),
            progress=False,
        )
        return evaluate(ours, Signs(), 100).mean

    def net():
        return nn.Linear(1, 1)

    one = trained(lambda: MAML(net(), inner_lr=0.01))
    clusters = trained(lambda: ConditionedMAML([net(), net()], inner_lr=0.01))
    embedded = trained(
        lambda: ConditionedMAML([net(), net()], TaskEmbedding(2, 2, 8), inner_lr=0.01)
    )
    assert one > 7
    assert clusters < 0.5
    assert embedded < 0.5


@pytest.mark.parametrize("embedded", [True, False])
def test_without_examples_there_is_nothing_to_choose_by_even_if_no_step_is_taken(embedded):
    with pytest.raises(ValueError, match="the support set is empty"):
        learner(2, embedded=embedded, n_inner_steps=0)(random_tasks(1, 0, 4, (2,), (1,)))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ConditionedMAML([]), ValueError, "at least one start"),
        (
            lambda: ConditionedMAML([smooth_net(2), smooth_net(3)]),
            ValueError,
            "starts must have one form; start 1",
        ),
        (lambda: TaskEmbedding(0, 2), ValueError, "n_in must be at least 1"),
        (
            lambda: embedding(2)(Examples(torch.zeros(3, 2), torch.tensor([0, 1, 0]))),
            ValueError,
            "labels mean nothing outside their task",
        ),
        (
            lambda: embedding(2)(Examples(torch.zeros(3, 4), torch.zeros(3, 1))),
            ValueError,
            "made for examples of 3 numbers, input and target together; got 5",
        ),
        (
            lambda: ConditionedMAML([smooth_net(2)] * 2, embedding(3)).predict(
                *(random_tasks(1, 4, 5, (2,), (1,)).select(0).support, torch.zeros(1, 2).double())
            ),
            ValueError,
            r"shares of shape \(3,\) for 2 starts",
        ),
    ],
)
def test_starts_and_embeddings_that_do_not_fit_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()

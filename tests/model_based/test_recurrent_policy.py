"""The network that plays: its sweep, its reset, and its gradient against the exact return's."""

from itertools import product

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.optim import Adam

from mlcode.model_based.actor_critic import actor_critic_loss, advantages, train_policy
from mlcode.model_based.bandit_games import Games, play, total_reward
from mlcode.model_based.bandit_policies import Greedy, RandomArm
from mlcode.model_based.recurrent_policy import Judgement, RecurrentPolicy
from mlcode.peers.finite_differences import projections, random_directions, slopes
from mlcode.sources.bandits import Bandits, BernoulliBandits
from tests.helpers import distance, reseed, same, seeded, snapshot

CELLS = ["gru", "lstm"]


def policy(n_arms=2, cell="gru", n_hidden=4, seed=0):
    return reseed(RecurrentPolicy(n_arms, n_hidden=n_hidden, cell=cell).double(), seed)


def games_of(net, n_tasks=6, n_pulls=5, seed=0):
    bandits = BernoulliBandits(net.n_arms).sample(n_tasks, generator=seeded(seed))
    return play(net, bandits, n_pulls, generator=seeded(seed))


@pytest.mark.parametrize("cell", CELLS)
def test_the_sweep_says_what_was_said_step_by_step(cell):
    net = policy(3, cell)
    bandits = BernoulliBandits(3, dtype=torch.float64).sample(6, generator=seeded(0))
    games = play(net, bandits, 5, generator=seeded(0))
    logits, values = net(games.arms, games.rewards)
    memory = net.begin(bandits, 5)
    for t in range(5):
        assert distance(net.actor(memory.output), logits[:, t]) < 1e-12
        assert distance(net.critic(memory.output)[:, 0], values[:, t]) < 1e-12
        memory = net.observe(memory, games.arms[:, t], games.rewards[:, t])


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_said_before_a_pull_depends_on_no_later_one(cell):
    net, games = policy(3, cell), games_of(policy(3, cell))
    changed = Games(games.arms.clone(), games.rewards.clone())
    changed.arms[:, 2:] = (changed.arms[:, 2:] + 1) % 3
    changed.rewards[:, 2:] = 1 - changed.rewards[:, 2:]
    before, after = net(games.arms, games.rewards), net(changed.arms, changed.rewards)
    assert same(before.logits[:, :3], after.logits[:, :3])
    assert not same(before.logits[:, 3], after.logits[:, 3])


@pytest.mark.parametrize("cell", CELLS)
def test_each_game_begins_with_the_same_state_whatever_was_played_before(cell):
    net = policy(3, cell)
    source = BernoulliBandits(3)
    fresh = net.begin(source.sample(2, generator=seeded(0)), 5)
    weights = snapshot(net)
    play(net, source.sample(4, generator=seeded(1)), 7, generator=seeded(1))
    again = net.begin(source.sample(2, generator=seeded(2)), 5)
    assert same(fresh.output, again.output)
    assert torch.equal(fresh.output[0], fresh.output[1])
    assert same(weights, snapshot(net))  # a game changes the state and no weight
    assert len(list(net.buffers())) == 0


def test_no_pulls_and_one_arm():
    net = policy(1)
    games = games_of(net, n_pulls=0)
    judgement = net(games.arms, games.rewards.double())
    assert judgement.logits.shape == (6, 0, 1)
    assert actor_critic_loss(judgement, games).item() == 0
    assert games_of(net, n_pulls=3).arms.tolist() == [[0] * 3] * 6


def test_advantages_by_hand():
    """Rewards 1, 0, 1; the critic says 2, 1, 1/2. With λ = 1 rewards to come less values."""
    rewards = torch.tensor([[1.0, 0.0, 1.0]])
    values = torch.tensor([[2.0, 1.0, 0.5]])
    assert advantages(rewards, values, 1.0).tolist() == [[0.0, 0.0, 0.5]]
    assert advantages(rewards, values, 0.0).tolist() == [[0.0, -0.5, 0.5]]
    assert advantages(rewards, values, 0.5).tolist() == [[-0.125, -0.25, 0.5]]
    assert advantages(rewards, values, 1.0, 0.5).tolist() == [[-0.75, -0.5, 0.5]]


def test_the_three_terms_of_the_loss_by_hand():
    """One pull of two arms, even odds: log ½ for the arm, advantage ½, entropy log 2."""
    log2 = torch.tensor(2.0).log()
    judgement = Judgement(torch.zeros(1, 1, 2), torch.tensor([[0.5]]))
    games = Games(torch.tensor([[0]]), torch.tensor([[1.0]]))
    actor = actor_critic_loss(judgement, games, value_weight=0.0).item()
    assert actor == pytest.approx(float(0.5 * log2))
    whole = float(actor_critic_loss(judgement, games, value_weight=2.0, entropy_bonus=0.1))
    assert whole == pytest.approx(float(0.5 * log2 + 2 * 0.25 - 0.1 * log2))


def histories(n_arms, n_pulls):
    """Every course that a game can take."""
    steps = list(product(range(n_arms), (0.0, 1.0)))
    courses = torch.tensor(list(product(steps, repeat=n_pulls)), dtype=torch.float64)
    return Games(courses[..., 0].long(), courses[..., 1])


def luck(games):
    """The probability of these rewards, given the arms, with uniform priors: Laplace's rule."""
    found = []
    for arms, rewards in zip(games.arms.tolist(), games.rewards.tolist()):
        counts, chance = {}, 1.0
        for arm, reward in zip(arms, rewards):
            wins, losses = counts.get(arm, (0, 0))
            p = (1 + wins) / (2 + wins + losses)
            chance *= p if reward else 1 - p
            counts[arm] = (wins + reward, losses + 1 - reward)
        found.append(chance)
    return torch.tensor(found, dtype=torch.float64)


def chances(net, games, logits):
    chosen = logits.log_softmax(-1).gather(-1, games.arms[..., None])[..., 0]
    return chosen.sum(1).exp() * luck(games)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("trained_critic", [False, True])
def test_the_policy_gradient_is_that_of_the_exact_expected_return(cell, trained_critic):
    """All 16 courses of two pulls of two arms, each weighted by its probability."""
    net, games = policy(2, cell), histories(2, 2)
    if not trained_critic:
        nn.init.zeros_(net.critic.weight)
    assert len(games.arms) == 16

    def expected_return(shift):
        moved = {name: w + shift[name] for name, w in net.named_parameters()}
        logits = functional_call(net, moved, (games.arms, games.rewards)).logits
        return (chances(net, games, logits) * games.total_reward).sum()

    p = chances(net, games, net(games.arms, games.rewards).logits).detach()
    assert float(p.sum()) == pytest.approx(1, abs=1e-12)
    per_course = [
        actor_critic_loss(net(g.arms, g.rewards), g, value_weight=0.0)
        for g in (Games(games.arms[i : i + 1], games.rewards[i : i + 1]) for i in range(16))
    ]
    (p * torch.stack(per_course)).sum().backward()
    directions = random_directions(net, 6, seeded(1))
    with torch.no_grad():
        measured = slopes(expected_return, directions, step=1e-4)
    gradient = {n: w.grad for n, w in net.named_parameters() if w.grad is not None}
    ours = projections(gradient, directions)
    size = float(measured.abs().max())
    assert size > 1e-4
    assert float((ours + measured).abs().max()) < 1e-6 * size


def test_the_critics_gradient_alone_reaches_its_head():
    net = policy(2)
    games = games_of(net)
    actor_critic_loss(net(games.arms, games.rewards), games, value_weight=0.0).backward()
    assert net.critic.weight.grad is None or float(net.critic.weight.grad.abs().max()) == 0


class SafeAndRisky:
    """One arm pays with 0.55. The other always pays or never does, as likely as not.

    To be greedy and know it is to take the first arm: 0.55 a pull. To try the other first earns
    1 a pull half of the time, and otherwise costs one pull: in ten pulls, 5 + 9 · 0.55 / 2 = 7.475.
    """

    def sample(self, n_tasks, *, generator=None, device=None):
        risky = torch.randint(2, (n_tasks,), generator=generator).float()
        return Bandits(torch.stack([torch.full_like(risky, 0.55), risky], 1))


def test_it_learns_to_explore_and_beats_random_and_greedy():
    """An interval apart, the one that has every probability right included."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = RecurrentPolicy(2, n_hidden=16)
    earned = train_policy(
        net,
        SafeAndRisky(),
        10,
        n_iterations=200,
        n_tasks=64,
        optimizer=Adam(net.parameters(), 0.01),
        trace=0.8,
        value_weight=0.05,
        entropy_bonus=0.02,
        generator=seeded(0),
    )
    assert earned.shape == (200,)
    assert earned[-20:].mean() > earned[:20].mean() + 1
    players = net, RandomArm(), Greedy()
    trained, random, greedy = (total_reward(p, SafeAndRisky(), 10, 2000) for p in players)
    assert trained.mean - trained.interval > random.mean + random.interval
    assert trained.mean - trained.interval > greedy.mean + greedy.interval
    assert trained.mean - trained.interval > 10 * 0.55
    assert trained.mean < 7.475 + 2 * trained.interval


def test_training_depends_on_the_generator_alone():
    nets = []
    for global_seed in (1, 2):
        net = policy(2)
        torch.manual_seed(global_seed)
        train_policy(
            net,
            BernoulliBandits(2),
            3,
            n_iterations=3,
            n_tasks=4,
            optimizer=Adam(net.parameters()),
            generator=seeded(0),
        )
        nets.append(snapshot(net))
    assert same(*nets)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RecurrentPolicy(0), "n_arms must be at least 1"),
        (lambda: RecurrentPolicy(2, n_hidden=0), "n_hidden must be at least 1"),
        (lambda: RecurrentPolicy(2, cell="rnn"), "cell must be one of 'gru', 'lstm'; got 'rnn'"),
        (lambda: games_of_other_bandits(), "made for 2 arms; got bandits with 3"),
        (lambda: policy()(torch.zeros(2, 3).long(), torch.zeros(2, 2)), "arms and rewards"),
        (lambda: policy()(torch.full((2, 3), 2), torch.zeros(2, 3)), "numbered 0 … 1"),
        (lambda: advantages(torch.zeros(2, 3), torch.zeros(2, 2)), "rewards and values"),
        (lambda: advantages(torch.zeros(2, 3), torch.zeros(2, 3), 1.5), "trace must lie"),
        (lambda: advantages(torch.zeros(2, 3), torch.zeros(2, 3), 1.0, -0.1), "discount must lie"),
        (lambda: trained(n_pulls=0), "n_pulls must be at least 1; got 0"),
        (lambda: trained(n_tasks=0), "n_tasks must be at least 1; got 0"),
        (lambda: trained(entropy_bonus=-1.0), "entropy_bonus must be positive"),
    ],
)
def test_what_does_not_fit_is_refused(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()


def games_of_other_bandits():
    return play(policy(2), BernoulliBandits(3).sample(2), 1)


def trained(n_pulls=2, n_tasks=2, **settings):
    net = policy(2)
    optimizer = Adam(net.parameters())
    train_policy(
        net,
        BernoulliBandits(2),
        n_pulls,
        n_iterations=1,
        n_tasks=n_tasks,
        optimizer=optimizer,
        **settings,
    )


def test_greedy_is_a_policy_that_the_same_loop_plays():
    assert play(Greedy(), BernoulliBandits(2).sample(3), 4).arms.shape == (3, 4)

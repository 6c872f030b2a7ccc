"""The transformer against torch's own, and linear regression against scikit-learn's."""

import pytest
import torch
from hypothesis import given
from hypothesis.strategies import floats, integers
from torch import nn
from torch.optim import Adam

from mlcode import Examples, LinearFunctions, evaluate, train
from mlcode.model_based import InContextLearner, RidgeRegression
from mlcode.model_based.in_context import TransformerBlock
from tests.helpers import SEEDS, distance, random_tasks, reseed, seeded


@given(seed=SEEDS, n_tokens=integers(1, 5), n_heads=integers(1, 3))
def test_a_block_is_torchs_encoder_layer_forward_and_backward(seed, n_tokens, n_heads):
    block = reseed(TransformerBlock(6, n_heads).double(), seed)
    peer = nn.TransformerEncoderLayer(
        6, n_heads, 24, dropout=0.0, batch_first=True, norm_first=True
    ).double()
    renamed = {
        "self_attn.in_proj_": "attend_in.",
        "self_attn.out_proj.": "attend_out.",
    }
    ours = dict(block.named_parameters())
    pairs = []
    for name, parameter in peer.named_parameters():
        for theirs, own in renamed.items():
            name = name.replace(theirs, own)
        pairs.append((parameter, ours.pop(name)))
    assert not ours
    with torch.no_grad():
        for theirs, own in pairs:
            theirs.copy_(own)
    h = torch.randn(2, n_tokens, 6, generator=seeded(seed), dtype=torch.float64)
    mask = torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril()
    mine, other = block(h, mask), peer(h, src_mask=~mask)
    assert distance(mine, other) < 1e-10
    target = torch.randn(mine.shape, generator=seeded(seed + 1), dtype=torch.float64)
    (mine * target).sum().backward()
    (other * target).sum().backward()
    for theirs, own in pairs:
        assert distance(own.grad, theirs.grad) < 1e-10


def test_who_looks_at_whom():
    sees = torch.tensor([[True, False], [True, True]])
    rows = {
        causal: InContextLearner(1, causal=causal).mask(sees).int().tolist()
        for causal in (True, False)
    }
    assert rows[True] == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1]]
    assert rows[False] == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1]]


@given(seed=SEEDS, n=integers(1, 6), n_features=integers(1, 4), penalty=floats(0.01, 10))
def test_ridge_is_scikit_learns(seed, n, n_features, penalty):
    from sklearn.linear_model import Ridge

    tasks = random_tasks(1, n, 3, (n_features,), (1,), seed=seed)
    support, query = tasks.select(0)
    peer = Ridge(alpha=penalty, fit_intercept=False, solver="cholesky")
    peer.fit(support.x.numpy(), support.y.numpy())
    expected = torch.from_numpy(peer.predict(query.x.numpy())).reshape(3, 1)
    assert distance(RidgeRegression(penalty).predict(support, query.x), expected) < 1e-10


@given(seed=SEEDS, n=integers(1, 6))
def test_without_penalty_it_is_the_least_squares_of_smallest_norm(seed, n):
    support, query = random_tasks(1, n, 3, (3,), (1,), seed=seed).select(0)
    found = RidgeRegression().predict(support, query.x)
    tiny = RidgeRegression(1e-9).predict(support, query.x)
    assert distance(found, tiny) < 1e-3
    if n >= 3:
        w = torch.linalg.lstsq(support.x, support.y).solution
        assert distance(found, query.x @ w) < 1e-8


def test_without_support_examples_it_predicts_the_mean_of_all_tasks():
    support, query = random_tasks(1, 0, 3, (2,), (1,)).select(0)
    for penalty in (0.0, 0.25):
        assert RidgeRegression(penalty).predict(support, query.x).abs().max() == 0


@pytest.mark.parametrize("n_shot", [2, 8])
def test_of_all_penalties_the_variance_of_the_noise_is_the_best(n_shot):
    source = LinearFunctions(3, n_shot, 5, noise=0.5, dtype=torch.float64)
    errors = {p: evaluate(RidgeRegression(p), source, 4000) for p in (0.06, 0.25, 1.0)}
    for penalty in (0.06, 1.0):
        gap = errors[penalty].values - errors[0.25].values
        assert gap.mean() > 1.96 * gap.std() / len(gap) ** 0.5


@pytest.mark.usefixtures("unchecked")
def test_a_penalty_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="penalty must be positive and finite; got -1"):
        RidgeRegression(-1.0)
    with pytest.raises(TypeError, match="penalty must be a number"):
        RidgeRegression("1")


def test_it_learns_to_fit_lines_and_comes_near_to_ridge_regression():
    source = LinearFunctions(1, n_shot=8, n_query=1, noise=0.5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = InContextLearner(1, width=16, n_layers=2)
        train(
            learner,
            source,
            n_iterations=400,
            n_tasks=32,
            optimizer=Adam(learner.parameters(), 5e-3),
            generator=seeded(0),
            progress=False,
        )
    error, best = (evaluate(of, source, 500).mean for of in (learner, RidgeRegression(0.25)))
    nothing = evaluate(RidgeRegression(1e9), source, 500).mean
    assert error - best < 0.25 * (nothing - best)


@given(seed=SEEDS)
def test_targets_are_no_part_of_a_query(seed):
    """A query's token holds zeros and a mark, so a support example of target 0 is not like it."""
    learner = reseed(InContextLearner(2, width=4, n_layers=1).double(), seed)
    x = torch.ones(1, 2, dtype=torch.float64)
    zero = Examples(x, torch.zeros(1, 1, dtype=torch.float64))
    none = Examples(x[:0], zero.y[:0])
    assert distance(learner.predict(zero, x), learner.predict(none, x)) > 1e-9

"""Heads fitted by iteration, against scikit-learn and against what they are without steps."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import floats, integers, permutations
from sklearn.linear_model import LogisticRegression

from mlcode import Examples
from mlcode.transfer import FeatureTransfer
from mlcode.transfer.fitted_heads import cosine_head, logistic_head
from tests.helpers import SEEDS, distance, random_tasks, seeded


def points(seed, n=12, n_features=4, n_way=3):
    draw = seeded(seed)
    z = torch.randn(n, n_features, generator=draw, dtype=torch.float64)
    return z, torch.arange(n) % n_way, torch.randn(7, n_features, generator=draw).double()


@given(seed=SEEDS, n=integers(3, 15), n_features=integers(1, 20), penalty=floats(0.01, 10))
def test_the_logistic_head_is_scikit_learns(seed, n, n_features, penalty):
    """From fewer features than examples to more, and from nearly no penalty to a strong one."""
    z, y, query = points(seed, n, n_features)
    theirs = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000)
    theirs.fit(F.normalize(z, dim=-1).numpy(), y.numpy())
    expected = theirs.predict_proba(F.normalize(query, dim=-1).numpy())
    ours = logistic_head(z, y, query, 3, penalty=penalty)
    assert np.allclose(ours.softmax(-1).numpy(), expected, atol=1e-5)


@given(seed=SEEDS, penalty=floats(1e-3, 100))
def test_at_the_logistic_heads_answer_the_gradient_is_zero(seed, penalty):
    """On its own support set: for penalised weights, Σ (p − y) zᵀ = −penalty W, of which the
    intercept's row, Σ (p − y) = 0, needs no W."""
    z, y, _ = points(seed)
    p = logistic_head(z, y, z, 3, penalty=penalty).softmax(-1)
    assert distance(p.sum(0), F.one_hot(y, 3).double().sum(0)) < 1e-9


@given(seed=SEEDS)
def test_without_steps_the_cosine_head_is_the_class_mean_nearest_in_angle(seed):
    z, y, query = points(seed)
    unit = F.normalize(z, dim=-1)
    means = torch.stack([unit[y == k].mean(0) for k in range(3)])
    expected = 2 * torch.stack([F.cosine_similarity(query, mean, dim=-1) for mean in means], 1)
    assert distance(cosine_head(z, y, query, 3, n_steps=0), expected) < 1e-12


@given(seed=SEEDS, n_steps=integers(1, 30))
def test_the_steps_of_the_cosine_head_lower_its_support_loss(seed, n_steps):
    z, y, _ = points(seed)
    before, after = (
        F.cross_entropy(cosine_head(z, y, z, 3, n_steps=n, lr=0.1), y) for n in (0, n_steps)
    )
    assert after < before


@pytest.mark.parametrize("head", [cosine_head, logistic_head])
def test_the_length_of_a_feature_vector_does_not_matter(head):
    z, y, query = points(0)
    assert distance(head(3 * z, y, 0.1 * query, 3), head(z, y, query, 3)) < 1e-10


@pytest.mark.parametrize("head", [cosine_head, logistic_head])
def test_a_class_without_examples_is_never_the_answer_and_changes_no_other(head):
    z, _, query = points(0)
    gap, none = torch.tensor([0, 2] * 6), torch.tensor([0, 1] * 6)
    scores = head(z, gap, query, 3)
    assert (scores[:, 1] == -torch.inf).all()
    assert distance(scores[:, [0, 2]].softmax(-1), head(z, none, query, 2).softmax(-1)) < 1e-9


@pytest.mark.parametrize("head", ["cosine", "logistic"])
@given(seed=SEEDS, order=permutations(range(3)))
def test_renaming_the_classes_renames_the_predictions(head, seed, order):
    z, y, query = points(seed)
    learner, order = FeatureTransfer(n_way=3, head=head), torch.tensor(order)
    before = learner.predict(Examples(z, y), query)
    after = learner.predict(Examples(z, order[y]), query)
    assert distance(after[:, order], before) < 1e-9


@pytest.mark.parametrize("head", ["cosine", "logistic"])
def test_vmap_and_loop_agree(head):
    tasks = random_tasks(3, 6, 5, (4,), (), classes=3)
    for part in tasks:
        part.y[:, :3] = torch.arange(3)
    losses = [
        FeatureTransfer(n_way=3, head=head, mapping=mapping).losses(tasks)
        for mapping in ("vmap", "loop")
    ]
    assert distance(*losses) < 1e-10


def test_where_one_example_of_each_class_is_all_there_is_single_precision_will_do():
    tasks = random_tasks(5, 5, 5, (64,), (), classes=5)
    tasks.support.y[:] = torch.arange(5)
    double = FeatureTransfer(n_way=5, head="logistic").losses(tasks)
    single = FeatureTransfer(n_way=5, head="logistic").losses(tasks.to(dtype=torch.float32))
    assert distance(single.double(), double) < 1e-4

"""The losses on three points by hand, against torch's, and the documents' faults put right."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import floats, integers, sampled_from

from mlcode.metric import Siamese
from mlcode.metric.distances import cosine_similarity, euclidean, squared_distances
from mlcode.metric.losses import contrastive_loss, triplet_loss
from mlcode.metric.pairs import PAIRS, pair_weights, same_class
from tests.helpers import SEEDS, distance, seeded

# Three points on a line at 0, 1 and 3, the first two of one class: distances 1, 3 and 2.
POINTS = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
CLASSES = torch.tensor([0, 0, 1])
DISTANCES = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)
SAME = torch.tensor([True, False, False])


def siamese(**settings) -> Siamese:
    return Siamese(torch.nn.Sequential(torch.nn.Identity()), **settings)


@pytest.mark.parametrize(
    ("margin", "form", "expected"),
    [
        (2.5, "squared", (1 + 0 + 0.25) / 3),
        (2.5, "unsquared", (1 + 0 + 0.5) / 3),
        (4.0, "squared", (1 + 1 + 4) / 3),
        (1.0, "squared", 1 / 3),
    ],
)
def test_the_contrastive_loss_of_three_points_by_hand(margin, form, expected):
    loss = contrastive_loss(DISTANCES, same=SAME, margin=margin, form=form)
    assert float(loss) == pytest.approx(expected, abs=1e-15)
    learner = siamese(margin=margin, form=form, pairs="all")
    assert float(learner.pair_loss(POINTS, CLASSES)) == pytest.approx(expected, abs=1e-15)


def test_balanced_and_hard_pairs_of_three_points_by_hand():
    """Margin 4. Same: 1, one pair. Other: costs 1 and 4. Nearest other: 3, 2 and 2 away."""
    balanced = siamese(margin=4.0, pairs="balanced").pair_loss(POINTS, CLASSES)
    assert float(balanced) == pytest.approx((1 + (1 + 4) / 2) / 2, abs=1e-15)
    hard = siamese(margin=4.0, pairs="hard").pair_loss(POINTS, CLASSES)
    assert float(hard) == pytest.approx((1 + (1 + 4 + 4) / 3) / 2, abs=1e-15)


def test_the_triplet_loss_of_three_points_by_hand():
    """Anchors 0 and 1 have one triplet each, 1 − 3 and 1 − 2 apart; the third has none."""
    to_same, to_other = torch.tensor([1.0, 1.0]), torch.tensor([3.0, 2.0])
    assert float(triplet_loss(to_same, to_other, margin=2.5)) == pytest.approx((0.5 + 1.5) / 2)
    for pairs in ("all", "hard"):
        learner = siamese(objective="triplet", margin=2.5, pairs=pairs)
        loss = learner.pair_loss(POINTS, CLASSES)
        assert float(loss) == pytest.approx((0.5 + 1.5) / 2, abs=1e-15)


@given(seed=SEEDS, n=integers(1, 30), margin=floats(0.1, 3))
def test_unsquared_it_is_torchs_hinge_on_embeddings_and_squared_the_square_of_its_terms(
    seed, n, margin
):
    draw = seeded(seed)
    d = 2 * torch.rand(n, generator=draw, dtype=torch.float64)
    same = torch.rand(n, generator=draw) < 0.5
    sign = torch.where(same, 1.0, -1.0)
    theirs = F.hinge_embedding_loss(d, sign, margin=margin, reduction="none")
    unsquared = contrastive_loss(d, same=same, margin=margin, form="unsquared")
    assert distance(unsquared, theirs.mean()) < 1e-14
    assert distance(contrastive_loss(d, same=same, margin=margin), theirs.square().mean()) < 1e-14


@given(seed=SEEDS, n=integers(1, 30), margin=floats(0.1, 3))
def test_the_triplet_loss_is_torchs(seed, n, margin):
    a, b, c = torch.randn(3, n, 5, generator=seeded(seed), dtype=torch.float64)
    theirs = torch.nn.TripletMarginLoss(margin=margin, eps=0.0)(a, b, c)
    ours = triplet_loss((a - b).norm(dim=1), (a - c).norm(dim=1), margin=margin)
    assert distance(ours, theirs) < 1e-14


@given(seed=SEEDS, n=integers(6, 12), n_classes=integers(2, 3), margin=floats(0.5, 3))
def test_all_triplets_of_a_batch_are_torchs_loss_on_each(seed, n, n_classes, margin):
    z = torch.randn(n, 3, generator=seeded(seed), dtype=torch.float64)
    y = torch.arange(n) % n_classes
    triplets = [
        (a, b, c)
        for a in range(n)
        for b in range(n)
        for c in range(n)
        if a != b and y[a] == y[b] and y[a] != y[c]
    ]
    anchor, near, far = (z[list(column)] for column in zip(*triplets))
    theirs = torch.nn.TripletMarginLoss(margin=margin, eps=0.0)(anchor, near, far)
    learner = siamese(objective="triplet", margin=margin)
    assert distance(learner.pair_loss(z, y), theirs) < 1e-12


@given(seed=SEEDS, n=integers(6, 12), n_classes=integers(2, 3))
def test_hard_triplets_are_those_of_a_search(seed, n, n_classes):
    z = torch.randn(n, 3, generator=seeded(seed), dtype=torch.float64)
    y = torch.arange(n) % n_classes
    apart = (z[:, None] - z[None]).norm(dim=-1)
    costs = []
    for a in range(n):
        farthest = max(float(apart[a, b]) for b in range(n) if b != a and y[b] == y[a])
        nearest = min(float(apart[a, c]) for c in range(n) if y[c] != y[a])
        costs.append(max(0.0, farthest - nearest + 1.0))
    loss = siamese(objective="triplet", pairs="hard").pair_loss(z, y)
    assert float(loss) == pytest.approx(sum(costs) / n, rel=1e-12)


@given(seed=SEEDS, pairs=sampled_from(PAIRS), n=integers(4, 12))
def test_the_weights_of_pairs_sum_to_one_and_none_is_on_an_example_with_itself(seed, pairs, n):
    z = torch.randn(n, 3, generator=seeded(seed), dtype=torch.float64)
    y = torch.arange(n) % 2
    weights = pair_weights(euclidean(z, z), y, pairs)
    assert float(weights.sum()) == pytest.approx(1.0)
    assert (weights >= 0).all()
    assert (weights.diagonal() == 0).all()
    if pairs != "all":
        assert float(weights[same_class(y)[0]].sum()) == pytest.approx(0.5)


def test_a_batch_without_a_pair_that_counts_costs_nothing_and_has_no_slope():
    z = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    for settings in ({}, {"pairs": "hard"}, {"pairs": "hard", "objective": "triplet"}):
        loss = siamese(margin=1e-9, **settings).pair_loss(z, torch.tensor([0, 1, 2]))
        (slope,) = torch.autograd.grad(loss, z)
        assert loss.item() == pytest.approx(0, abs=1e-15)
        assert slope.isfinite().all()


def test_the_documents_pull_the_pairs_apart_that_they_call_the_same():
    """Document 004: y = 1 "of the same class", in (1 − y) d + y max(0, m − d)."""
    d = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([1.0])
    theirs = ((1 - y) * d + y * (1.0 - d).clamp(min=0)).mean()
    ours = contrastive_loss(d, same=y.bool(), form="unsquared")
    assert torch.autograd.grad(theirs, d)[0] == -1, "the loss falls as the pair moves apart"
    assert torch.autograd.grad(ours, d)[0] == 1


def test_pythons_max_of_a_batch_is_ambiguous_and_relu_is_not():
    d = torch.tensor([0.5, 1.5])
    with pytest.raises(RuntimeError, match="Boolean value of Tensor"):
        max(0, 1.0 - d)
    assert contrastive_loss(d, same=torch.tensor([False, False])).item() == pytest.approx(0.125)


def test_at_distance_zero_the_squared_form_does_not_pull_and_the_unsquared_does():
    d = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    slopes = {
        form: float(torch.autograd.grad(contrastive_loss(d, same=d.detach() < 1, form=form), d)[0])
        for form in ("squared", "unsquared")
    }
    assert slopes == {"squared": 0.0, "unsquared": 1.0}


@given(seed=SEEDS)
def test_distances_are_torchs_and_have_a_slope_where_points_coincide(seed):
    a = torch.randn(5, 3, generator=seeded(seed), dtype=torch.float64)
    b = torch.randn(4, 3, generator=seeded(seed + 1), dtype=torch.float64)
    theirs = torch.cdist(a, b)
    assert distance(euclidean(a, b), theirs) < 1e-14
    assert distance(squared_distances(a, b), theirs**2) < 1e-13
    cosine = F.cosine_similarity(a[:, None], b[None], dim=-1)
    assert distance(cosine_similarity(a, b), cosine) < 1e-14
    a.requires_grad_()
    (slope,) = torch.autograd.grad(euclidean(a, a).sum(), a)
    assert slope.isfinite().all()


def test_a_vector_of_zeros_has_no_direction_and_gives_no_nan():
    z = torch.zeros(1, 3, requires_grad=True)
    cosine = cosine_similarity(z, torch.ones(2, 3))
    assert cosine.tolist() == [[0.0, 0.0]]
    assert torch.autograd.grad(cosine.sum(), z)[0].isfinite().all()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"same": torch.tensor([1.0, 0.0, 0.0])}, TypeError, r"same must hold bools.*y1 == y2"),
        ({"same": SAME[:2]}, ValueError, r"got shapes \(3,\) and \(2,\)"),
        ({"distance": DISTANCES[:0], "same": SAME[:0]}, ValueError, "one or more pairs"),
        ({"distance": -DISTANCES}, ValueError, "must not be negative"),
        ({"distance": DISTANCES * float("nan")}, ValueError, "nor NaN"),
        ({"margin": 0.0}, ValueError, "margin must be positive"),
        ({"margin": None}, TypeError, "margin must be a number"),
        ({"form": "hadsell"}, ValueError, "form must be one of"),
    ],
)
def test_what_is_no_distance_or_no_label_is_refused(change, error, message):
    given = {"distance": DISTANCES, "same": SAME} | change
    with pytest.raises(error, match=message):
        contrastive_loss(given.pop("distance"), **given)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((DISTANCES, DISTANCES[:2]), "expected two distances"),
        ((DISTANCES[:0], DISTANCES[:0]), "one or more triplets"),
        ((DISTANCES, -DISTANCES), "must not be negative"),
    ],
)
def test_what_is_no_triplet_is_refused(pair, message):
    with pytest.raises(ValueError, match=message):
        triplet_loss(*pair)

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mlcode import MAML, MLP, ConvNet, Examples
from mlcode.batch_norm import BatchNorm
from tests.helpers import seeded


@pytest.fixture
def x():
    return 3 + 2 * torch.randn(6, 4, 5, 5, dtype=torch.float64, generator=seeded(0))


@pytest.fixture(params=[False, True], ids=["plain", "fused"])
def norm(request):
    norm = BatchNorm(4, fused=request.param).double()
    with torch.no_grad():
        norm.weight.copy_(torch.randn(4, generator=seeded(1)))
        norm.bias.copy_(torch.randn(4, generator=seeded(2)))
    return norm


def test_without_a_reference_it_is_torchs_batch_norm_of_the_batch(norm, x):
    theirs = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True)
    assert torch.allclose(norm(x), theirs, rtol=0, atol=1e-13)


def test_its_gradient_is_torchs_too(norm, x):
    x.requires_grad_()
    target = torch.randn(x.shape, dtype=x.dtype, generator=seeded(3))
    inputs = (x, norm.weight, norm.bias)
    ours = torch.autograd.grad((norm(x) * target).sum(), inputs)
    theirs = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True)
    for a, b in zip(ours, torch.autograd.grad((theirs * target).sum(), inputs)):
        assert torch.allclose(a, b, rtol=1e-11, atol=1e-12)


def test_the_second_derivative_exists_and_is_right(norm):
    small = torch.randn(3, 4, 2, 2, dtype=torch.float64, generator=seeded(4), requires_grad=True)
    assert torch.autograd.gradgradcheck(norm, (small,))
    assert torch.autograd.gradgradcheck(lambda x: norm(x, n_reference=2), (small,))


def test_with_a_reference_the_first_examples_normalise_all(norm, x):
    alone = norm(x[:2])
    both = norm(x, n_reference=2)
    assert torch.allclose(both[:2], alone, atol=1e-13)
    other = x.clone()
    other[4:] *= 100
    assert torch.equal(norm(other, n_reference=2)[2:4], both[2:4])
    assert not torch.allclose(norm(other)[2:4], norm(x)[2:4])


@pytest.mark.parametrize("n_reference", [0, 7, -1])
def test_a_reference_of_none_or_too_many_is_refused(norm, x, n_reference):
    with pytest.raises(ValueError, match=f"between 1 and its 6 examples; got {n_reference}"):
        norm(x, n_reference=n_reference)


def test_frozen_statistics_make_each_example_independent_of_the_others(norm, x):
    before = norm(x)
    norm.freeze(x)
    assert torch.allclose(norm(x), before, atol=1e-13)
    assert torch.allclose(norm(x[2:3]), before[2:3], atol=1e-13)


def test_frozen_statistics_survive_a_state_dict(norm, x):
    norm.freeze(x)
    other = BatchNorm(4).double()
    other.load_state_dict(norm.state_dict())
    assert other.frozen
    assert torch.equal(other(x[:1]), norm(x[:1]))


def test_a_call_leaves_no_trace(norm, x):
    state = norm.state_dict()
    before = {n: v.clone() for n, v in state.items() if isinstance(v, torch.Tensor)}
    norm(x)
    norm(x, n_reference=3)
    assert all(torch.equal(norm.state_dict()[name], value) for name, value in before.items())


def task(seed=0, n_way=3, dtype=torch.float64):
    images = torch.rand(n_way * 4, 1, 28, 28, dtype=dtype, generator=seeded(seed))
    y = torch.arange(n_way).repeat(4)
    return Examples(images[:n_way], y[:n_way]), Examples(images[n_way:], y[n_way:])


def maml(statistics):
    torch.manual_seed(0)
    model = ConvNet(3, n_filters=4).double()
    return MAML(model, inner_lr=0.4, loss_fn=F.cross_entropy, statistics=statistics)


def test_with_statistics_of_the_support_set_a_query_is_answered_alone():
    support, query = task()
    learner = maml("support")
    together = learner.predict(support, query.x)
    alone = torch.cat([learner.predict(support, x[None]) for x in query.x])
    assert torch.allclose(together, alone, atol=1e-12)


def test_with_statistics_of_the_query_batch_the_answer_depends_on_what_else_is_asked():
    support, query = task()
    learner = maml("query")
    assert not torch.allclose(
        learner.predict(support, query.x)[:1], learner.predict(support, query.x[:1]), atol=1e-3
    )


def test_the_two_names_differ_only_in_the_statistics():
    support, _ = task()
    a, b = maml("query"), maml("support")
    assert torch.allclose(a.predict(support, support.x), b.predict(support, support.x), atol=1e-12)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"statistics must be one of .*Did you mean 'support'\?"):
        MAML(ConvNet(3), statistics="suport")


def test_a_model_that_cannot_take_a_reference_is_refused():
    with pytest.raises(ValueError, match=r"needs a model whose forward takes n_reference.*MLP"):
        MAML(MLP(1, 4, 1), statistics="support")


def test_running_statistics_are_still_refused():
    with pytest.raises(ValueError, match="keeps running statistics"):
        MAML(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)))

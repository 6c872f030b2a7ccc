"""Bad input is refused where it enters, with what was expected and what came."""

import math

import pytest
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import integers
from torch import nn
from torch.optim import SGD

from mlcode import MAML, MLP, Examples, Tasks, evaluate, train
from tests.helpers import compiles, network, random_tasks, smooth_net

TASKS = random_tasks(3, 4, 5, (2,), (1,))


def refused(tasks, message, *, learner=None, error=ValueError):
    for mapping in ("vmap", "loop"):
        learner = learner or MAML(smooth_net(2))
        learner.mapping = mapping
        with pytest.raises(error, match=message):
            learner(tasks)


def changed(**parts):
    """TASKS with some tensors replaced, as in changed(query_x=…)."""
    tensors = {
        f"{part}_{field}": getattr(getattr(TASKS, part), field)
        for part in ("support", "query")
        for field in ("x", "y")
    } | parts
    return Tasks(
        Examples(tensors["support_x"], tensors["support_y"]),
        Examples(tensors["query_x"], tensors["query_y"]),
    )


@given(support=integers(1, 5), query=integers(1, 5))
def test_support_and_query_have_the_same_number_of_tasks(support, query):
    tasks = Tasks(TASKS_OF[support].support, TASKS_OF[query].query)
    if support == query:
        assert MAML(smooth_net(2))(tasks).isfinite()
    else:
        refused(tasks, rf"same number of tasks first; got support.x: \({support},\).*\({query},\)")


TASKS_OF = {n: random_tasks(n, 4, 5, (2,), (1,)) for n in range(1, 6)}


def test_inputs_and_targets_have_the_same_number_of_tasks():
    refused(changed(query_y=TASKS.query.y[:2]), r"same number of tasks .* query.y: \(2,\)")


def test_a_batch_has_at_least_one_task():
    refused(TASKS.select(slice(0, 0)), "expected at least one task; got a batch of 0 tasks")


@pytest.mark.parametrize("part", ["support", "query"])
def test_each_input_has_its_target(part):
    y = getattr(TASKS, part).y[:, :-1]
    message = rf"{part} needs one target per input .* got x of shape .* and y of shape \(3, "
    refused(changed(**{f"{part}_y": y}), message)


def test_tasks_without_an_example_axis_are_refused():
    message = r"support needs one target per input on axis 1; .* y of shape \(3,\)"
    refused(changed(support_y=TASKS.support.y[:, 0, 0]), message)


def test_the_query_set_is_not_empty():
    refused(
        Tasks(TASKS.support, Examples(TASKS.query.x[:, :0], TASKS.query.y[:, :0])),
        "the query set is empty",
    )


def test_the_support_set_may_be_empty_only_without_inner_steps():
    tasks = Tasks(Examples(TASKS.support.x[:, :0], TASKS.support.y[:, :0]), TASKS.query)
    refused(tasks, "the support set is empty: nothing to adapt to. Use n_shot >= 1 or 0 inner")
    assert MAML(smooth_net(2), n_inner_steps=0)(tasks).isfinite()


def test_support_and_query_inputs_have_the_same_features():
    message = r"must have the same features; got shapes \(3, 4, 2\) and \(3, 5, 1\)"
    refused(changed(query_x=TASKS.query.x[..., :1]), message)


def test_inputs_fit_the_network():
    message = r"MLP\(1, 8, 1\) takes 1 feature\(s\) on the last axis; got inputs of shape \(4, 2\)"
    refused(TASKS, message, learner=MAML(MLP(1, 8, 1).double()))


def test_targets_that_torch_would_broadcast_against_predictions_are_refused():
    """(5, 1) against (5,) would become the mean of 25 differences."""
    flat = changed(support_y=TASKS.support.y[..., 0], query_y=TASKS.query.y[..., 0])
    message = r"the prediction has shape \(4, 1\) and its target \(4,\); mse_loss would not compare"
    refused(flat, message)
    only_query = changed(query_y=TASKS.query.y[..., 0])
    refused(only_query, r"the prediction has shape \(5, 1\) and its target \(5,\)")


@pytest.mark.parametrize("loss", [F.l1_loss, F.smooth_l1_loss, nn.MSELoss(), nn.HuberLoss()])
def test_every_loss_that_would_broadcast_is_guarded(loss):
    flat = changed(query_y=TASKS.query.y[..., 0])
    refused(flat, "would not compare them one by one", learner=MAML(smooth_net(2), loss_fn=loss))


def test_a_loss_that_gives_a_number_for_each_example_is_refused():
    def unreduced(prediction, y):
        return F.mse_loss(prediction, y, reduction="none")

    for n_steps in (0, 1):
        learner = MAML(smooth_net(2), loss_fn=unreduced, n_inner_steps=n_steps)
        message = r"unreduced must return the mean .* a scalar; got shape \([45], 1\)"
        refused(TASKS, message, learner=learner)


@pytest.mark.usefixtures("unchecked")
def test_a_loss_that_gives_no_tensor_is_refused():
    learner = MAML(smooth_net(2), loss_fn=lambda prediction, y: 0.5, n_inner_steps=0)
    refused(TASKS, r"must return a tensor; got 0.5 \(float\)", learner=learner, error=TypeError)


@pytest.mark.parametrize("name", ["support_x", "support_y", "query_x", "query_y"])
def test_mixed_devices_are_refused_by_name(name):
    part, field = name.split("_")
    moved = getattr(getattr(TASKS, part), field).to("meta")
    refused(changed(**{name: moved}), rf"expected one device; got .*{part}.{field}: meta")


def test_tasks_on_another_device_than_the_learner_are_refused():
    refused(TASKS.to("meta"), "expected one device; got .*the parameters: cpu")
    learner = MAML(smooth_net(2)).to("meta")
    refused(TASKS, "expected one device; got .*the parameters: meta", learner=learner)


@pytest.mark.parametrize("name", ["support_x", "support_y", "query_x", "query_y"])
def test_mixed_dtypes_are_refused_by_name(name):
    part, field = name.split("_")
    cast = getattr(getattr(TASKS, part), field).float()
    message = rf"expected one floating dtype; got .*{part}.{field}: torch.float32"
    refused(changed(**{name: cast}), message)


def test_tasks_of_another_dtype_than_the_learner_are_refused():
    message = "one floating dtype; got .*float64, the parameters: torch.float32"
    refused(TASKS, message, learner=MAML(smooth_net(2).float()))


def test_adapting_to_one_support_set_checks_it_too():
    support, _ = TASKS.select(0)
    learner = MAML(smooth_net(2))
    with pytest.raises(ValueError, match="expected one device"):
        learner.adapt(Examples(support.x.to("meta"), support.y))
    with pytest.raises(ValueError, match="expected one floating dtype"):
        learner.adapt(Examples(support.x.float(), support.y))
    with pytest.raises(ValueError, match=r"support needs one target per input on axis 0"):
        learner.adapt(Examples(support.x, support.y[:2]))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "tasks", [None, tuple(TASKS), TASKS.support, Tasks(tuple(TASKS.support), tuple(TASKS.query))]
)
def test_what_is_no_tasks_is_refused_by_type(tasks):
    refused(tasks, r"expected Tasks\(support=Examples\(x, y\), .* got", error=TypeError)


def test_integer_labels_may_stand_beside_floating_inputs():
    tasks = random_tasks(3, 4, 5, (2,), (), classes=3)
    learner = MAML(network(nn.Linear(2, 3)), loss_fn=F.cross_entropy)
    assert math.isfinite(learner(tasks).item())


LABEL_USES = {
    "its loss": lambda learner, source: learner(source.sample(2)),
    "evaluate": lambda learner, source: evaluate(learner, source, n_tasks=2),
    "train": lambda learner, source: train(
        learner, source, n_iterations=1, n_tasks=2, optimizer=SGD(learner.parameters(), 0.1)
    ),
    "compiled training": lambda learner, source: train(
        learner,
        source,
        n_iterations=1,
        n_tasks=2,
        optimizer=SGD(learner.parameters(), 0.1),
        compiled=True,
    ),
}


class Labelled:
    """Tasks of three classes in which one label is `wrong`."""

    def __init__(self, part, wrong):
        self.part, self.wrong = part, wrong

    def sample(self, n_tasks, *, generator=None, device=None):
        tasks = random_tasks(n_tasks, 4, 4, (2,), (), classes=3)
        getattr(tasks, self.part).y[-1, -1] = self.wrong
        return Tasks(*(Examples(part.x.float(), part.y) for part in tasks))


@compiles
@pytest.mark.parametrize("use", LABEL_USES)
@pytest.mark.parametrize("part", ["support", "query"])
@pytest.mark.parametrize("wrong", [-100, -1, 3])
def test_a_label_outside_the_classes_is_refused(use, part, wrong):
    learner = MAML(MLP(2, 5, 3), loss_fn=F.cross_entropy)
    with pytest.raises(ValueError, match=rf"lie in 0 … 2; {part}\.y holds {wrong}\."):
        LABEL_USES[use](learner, Labelled(part, wrong))

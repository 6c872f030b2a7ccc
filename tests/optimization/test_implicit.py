import re
import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis.strategies import floats, integers
from torch import nn
from torch.func import functional_call

from mlcode import MAML, ConvNet, Examples, ImplicitMAML, Tasks
from mlcode.optimization.conjugate_gradients import conjugate_gradients, solve
from mlcode.optimization.curvature import dot, hessian_times
from tests.helpers import SEEDS, distance, gradients, network, random_tasks, seeded, smooth_net


def positive_definite(n, seed, condition=50.0):
    """A random matrix with eigenvalues spread over 1 … condition."""
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=seeded(seed), dtype=torch.float64))
    return q @ torch.diag(torch.linspace(1, condition, n, dtype=torch.float64)) @ q.T


@given(seed=SEEDS, n=integers(1, 9))
def test_as_many_conjugate_steps_as_dimensions_solve_the_system(seed, n):
    a = positive_definite(n, seed)
    b = torch.randn(n, generator=seeded(seed + 1), dtype=torch.float64)
    x = conjugate_gradients(lambda v: {"x": a @ v["x"]}, {"x": b}, n)["x"]
    assert torch.allclose(x, torch.linalg.solve(a, b), rtol=1e-8, atol=1e-10)


def test_further_steps_after_the_solution_change_nothing():
    a = positive_definite(4, 0)
    b = torch.randn(4, generator=seeded(1), dtype=torch.float64)
    x = conjugate_gradients(lambda v: {"x": a @ v["x"]}, {"x": b}, 30)["x"]
    assert torch.allclose(x, torch.linalg.solve(a, b), rtol=1e-12)
    same = conjugate_gradients(lambda v: v, {"x": b}, 5)["x"]
    assert torch.equal(same, b)


@given(seed=SEEDS, n_steps=integers(1, 12))
def test_the_error_stays_below_the_bound_of_its_docstring(seed, n_steps):
    a = positive_definite(20, seed)
    b = torch.randn(20, generator=seeded(seed + 1), dtype=torch.float64)
    solution = torch.linalg.solve(a, b)

    def energy(error):
        return torch.sqrt(error @ a @ error)

    x = conjugate_gradients(lambda v: {"x": a @ v["x"]}, {"x": b}, n_steps)["x"]
    bound = 2 * ((50**0.5 - 1) / (50**0.5 + 1)) ** n_steps * energy(b - solution)
    assert energy(x - solution) <= bound * (1 + 1e-9)


def linear_task(seed, n_features=3):
    """A linear model under squared loss: the solution and the meta-gradient have closed forms."""
    return random_tasks(2, 6, 5, (n_features,), (1,), seed=seed)


@settings(max_examples=5)
@given(seed=SEEDS, proximity=floats(1.0, 5.0))
def test_on_a_linear_model_solution_and_gradient_are_the_closed_forms(seed, proximity):
    tasks = linear_task(seed)
    model = network(nn.Linear(3, 1, bias=False), seed=seed % 100)
    learner = ImplicitMAML(
        model, proximity=proximity, inner_lr=0.1, n_inner_steps=400, n_conjugate_steps=3
    )
    theta = model[0].weight.detach()[0]
    expected = torch.zeros(3, dtype=torch.float64)
    for i in range(2):
        (x, y), (query_x, query_y) = tasks.select(i)
        hessian = 2 * x.T @ x / len(x)
        system = hessian + proximity * torch.eye(3, dtype=torch.float64)
        phi = torch.linalg.solve(system, 2 * x.T @ y[:, 0] / len(x) + proximity * theta)
        assert torch.allclose(learner.adapt(tasks.select(i).support)["0.weight"][0], phi, atol=1e-9)
        gradient = 2 * query_x.T @ (query_x @ phi - query_y[:, 0]) / len(query_x)
        expected += proximity * torch.linalg.solve(system, gradient) / 2
    found = gradients(learner, tasks)["model.0.weight"][0]
    assert torch.allclose(found, expected, rtol=1e-8, atol=1e-9)


def proximal_unrolled(model, tasks, proximity, lr, n_steps):
    """The meta-gradient by autograd through every proximal step: an independent way to it."""
    theta = dict(model.named_parameters())
    total = 0.0
    for i in range(tasks.n_tasks):
        support, query = tasks.select(i)
        phi = dict(theta)
        for _ in range(n_steps):
            loss = F.mse_loss(functional_call(model, phi, (support.x,)), support.y)
            loss = loss + proximity / 2 * sum(((phi[n] - theta[n]) ** 2).sum() for n in phi)
            step = torch.autograd.grad(loss, list(phi.values()), create_graph=True)
            phi = {n: p - lr * g for (n, p), g in zip(phi.items(), step)}
        total = total + F.mse_loss(functional_call(model, phi, (query.x,)), query.y)
    return dict(zip(theta, torch.autograd.grad(total / tasks.n_tasks, list(theta.values()))))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_the_limit_of_unrolling_proximal_steps(seed):
    """So strong a pull that 60 steps converge whatever the task: each shrinks errors by a third."""
    tasks = random_tasks(2, 5, 4, (2,), (1,), seed=seed)
    model = smooth_net(2, seed=seed)
    n = sum(p.numel() for p in model.parameters())
    learner = ImplicitMAML(
        model, proximity=4.0, inner_lr=0.1, n_inner_steps=60, n_conjugate_steps=n
    )
    ours = {name.removeprefix("model."): g for name, g in gradients(learner, tasks).items()}
    assert distance(ours, proximal_unrolled(model, tasks, 4.0, 0.1, 60)) < 1e-8


@given(seed=SEEDS)
def test_without_conjugate_steps_it_is_the_first_order_gradient_at_the_solution(seed):
    tasks = random_tasks(1, 5, 4, (2,), (1,), seed=seed)
    learner = ImplicitMAML(smooth_net(2, seed=seed), n_inner_steps=4, n_conjugate_steps=0)
    support, query = tasks.select(0)
    phi = {n: p.requires_grad_() for n, p in learner.adapt(support).items()}
    F.mse_loss(functional_call(learner.model, phi, (query.x,)), query.y).backward()
    ours = gradients(learner, tasks)
    assert distance(ours, {f"model.{n}": p.grad for n, p in phi.items()}) < 1e-12


@settings(max_examples=5)
@given(seed=SEEDS)
def test_vmap_and_loop_agree(seed):
    tasks = random_tasks(3, 5, 4, (2,), (1,), seed=seed)

    def by(mapping):
        learner = ImplicitMAML(smooth_net(2, seed=seed), proximity=20.0, mapping=mapping)
        return gradients(learner, tasks)

    assert distance(by("vmap"), by("loop")) < 1e-11


def test_its_value_is_the_query_loss_in_training_and_in_evaluation():
    tasks = random_tasks(2, 5, 4, (2,), (1,))
    learner = ImplicitMAML(smooth_net(2))
    direct = torch.stack(
        [
            F.mse_loss(learner.predict(support, query.x), query.y)
            for support, query in map(tasks.select, range(2))
        ]
    )
    assert torch.allclose(learner.losses(tasks), direct, atol=1e-14)
    with torch.no_grad():
        assert torch.allclose(learner.losses(tasks), direct, atol=1e-14)


def test_strong_proximity_holds_the_solution_at_the_start():
    support = random_tasks(1, 5, 4, (2,), (1,)).select(0).support
    learner = ImplicitMAML(smooth_net(2), proximity=1e6, inner_lr=1e-7, n_inner_steps=50)
    assert distance(learner.adapt(support), learner.initial()) < 1e-4


def graph_size(tensor):
    nodes, seen = [tensor.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [following for following, _ in node.next_functions]
    return len(seen)


def test_its_graph_does_not_grow_with_inner_steps_while_mamls_does():
    tasks = random_tasks(2, 5, 4, (2,), (1,))

    def size(learner):
        return graph_size(learner(tasks))

    implicit = [size(ImplicitMAML(smooth_net(2), n_inner_steps=n)) for n in (1, 20)]
    unrolled = [size(MAML(smooth_net(2), n_inner_steps=n)) for n in (1, 20)]
    assert implicit[0] == implicit[1]
    assert unrolled[1] > 5 * unrolled[0]


def test_it_runs_on_images_with_batch_norm():
    tasks = random_tasks(2, 3, 6, (1, 8, 8), (), classes=3)
    model = ConvNet(3, n_filters=3, image_size=8, n_blocks=2).double()
    for mapping in ("vmap", "loop"):
        learner = ImplicitMAML(
            model,
            proximity=20.0,
            inner_lr=0.01,
            loss_fn=F.cross_entropy,
            mapping=mapping,
            statistics="support",
        )
        learner(tasks).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("options", [{"proximity": 0.0}, {"n_conjugate_steps": -1}])
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=rf"{next(iter(options))} must be"):
        ImplicitMAML(smooth_net(2), **options)


def test_an_empty_support_set_is_refused():
    empty = Examples(torch.zeros(1, 0, 2).double(), torch.zeros(1, 0, 1).double())
    query = random_tasks(1, 5, 4, (2,), (1,)).query
    with pytest.raises(ValueError, match="nothing to adapt to"):
        ImplicitMAML(smooth_net(2))(Tasks(empty, query))


def hard():
    """A learner whose equation has positive eigenvalues, and one step is not enough for it."""
    tasks = random_tasks(3, 4, 5, (2,), (3,), seed=3)
    options = {"proximity": 0.3, "inner_lr": 0.1, "n_inner_steps": 300, "max_residual": 0.1}
    return ImplicitMAML(smooth_net(2, 3, seed=3), n_conjugate_steps=1, **options), tasks


def test_an_equation_that_is_not_solved_is_reported_once_with_its_residual():
    learner, tasks = hard()
    with pytest.warns(RuntimeWarning, match=r"did not converge.*task \d.*residual of \d"):
        learner(tasks)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner(tasks)


def test_the_residual_that_is_reported_is_what_the_equation_leaves():
    learner, tasks = hard()
    with pytest.warns(RuntimeWarning) as said:
        learner(tasks.select(slice(0, 1)))
    found = float(re.search(r"residual of ([\d.e+]+),", str(said[0].message)).group(1))
    support, query = tasks.select(0)
    phi = learner.adapt(support)

    def at(part):
        return lambda theta: learner.loss(functional_call(learner.model, theta, (part.x,)), part.y)

    b = torch.func.grad(at(query))(phi)
    x = learner.implicit_gradient(phi, b, support)
    curved = hessian_times(at(support), phi, x)
    left = {name: b[name] - x[name] - curved[name] / 0.3 for name in b}
    expected = (dot(left, left) / dot(b, b)).sqrt().item()
    assert found == pytest.approx(expected, rel=1e-2)


def test_an_equation_that_is_solved_is_not_reported():
    learner, tasks = hard()
    learner.n_conjugate_steps = 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner(tasks)


def test_a_limit_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="max_residual"):
        ImplicitMAML(smooth_net(), max_residual=0)


def symmetric(n, seed):
    a = torch.randn(n, n, generator=seeded(seed), dtype=torch.float64)
    return a + a.T


@given(seed=SEEDS, n=integers(1, 9), n_steps=integers(1, 12))
def test_the_least_curvature_met_lies_between_the_eigenvalues(seed, n, n_steps):
    a = symmetric(n, seed)
    b = torch.randn(n, generator=seeded(seed + 1), dtype=torch.float64)
    least = solve(lambda v: {"x": a @ v["x"]}, {"x": b}, n_steps).curvature
    eigenvalues = torch.linalg.eigvalsh(a)
    assert eigenvalues[0] - 1e-9 <= least <= eigenvalues[-1] + 1e-9


def test_a_positive_definite_matrix_never_looks_like_another_however_long_one_goes_on():
    """Far beyond the solution, where the residual in float32 is smaller than its numbers reach."""
    for seed in range(5):
        a = positive_definite(6, seed, condition=3.0).float() / 4
        b = torch.randn(6, generator=seeded(seed)).float()
        found = solve(lambda v, a=a: {"x": a @ v["x"]}, {"x": b}, 200)
        assert found.curvature > 0.9 / 4
    assert solve(lambda v: v, {"x": torch.zeros(3)}, 5).curvature == torch.inf


def test_a_direction_that_bends_down_is_met_though_the_system_is_solved():
    """By hand: b = (1, 1) bends up by 2 − 1; the first direction, b − A b = (−1, 2), down."""
    a, b = torch.tensor([2.0, -1.0]).double(), torch.ones(2).double()
    first, both = (solve(lambda v: {"x": a * v["x"]}, {"x": b}, n) for n in (1, 2))
    assert first.curvature == pytest.approx((2 - 4) / 5)
    assert both.curvature <= first.curvature
    assert both.residual < 1e-12
    assert torch.allclose(both.x["x"], b / a)


def at_a_slope(n_conjugate_steps=80, **options):
    """Two steps, and a pull too weak for where they end: the loss bends down there."""
    tasks = random_tasks(3, 4, 5, (2,), (3,), seed=3)
    learner = ImplicitMAML(
        smooth_net(2, 3, seed=3),
        proximity=0.3,
        n_inner_steps=2,
        n_conjugate_steps=n_conjugate_steps,
        **options,
    )
    return learner, tasks


def test_a_solved_equation_at_no_minimum_is_reported_once_with_its_curvature():
    learner, tasks = at_a_slope(max_residual=1e-6)
    with pytest.warns(RuntimeWarning, match="not end at a minimum") as said:
        learner(tasks)
    task, h = re.search(r"task (\d).*curvature of ([-\d.e]+),", str(said[0].message)).groups()
    support = tasks.select(int(task)).support
    phi = learner.adapt(support)
    shapes = [p.shape for p in phi.values()]

    def loss(flat):
        parts = flat.split([shape.numel() for shape in shapes])
        named = {n: p.view(shape) for n, p, shape in zip(phi, parts, shapes)}
        return learner.support_loss(named, support)

    flat = torch.nn.utils.parameters_to_vector(list(phi.values()))
    least = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))[0].item()
    assert least * 1.01 <= float(h) <= -learner.proximity
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner(tasks)


def test_one_doubt_does_not_silence_the_other():
    learner, tasks = at_a_slope(max_residual=1e-6)
    with pytest.warns(RuntimeWarning, match="not end at a minimum"):
        learner(tasks)
    learner.n_conjugate_steps = 1
    with pytest.warns(RuntimeWarning, match="did not converge"):
        learner(tasks)


def test_the_first_order_gradient_solves_nothing_and_doubts_nothing():
    learner, tasks = at_a_slope(n_conjugate_steps=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner(tasks)

"""Errors that say what was expected, what came, and what to do. Called where a value enters."""

import math
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from numbers import Integral, Real

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlcode.tasks import Examples, Tasks

# Losses that compare element by element: torch broadcasts their inputs, with a warning at most, and
# (10, 1) against (10,) becomes a wrong number made of 100 differences.
ELEMENTWISE_LOSSES = (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss)
ELEMENTWISE_MODULES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`, naming the nearest one."""
    if value in choices:
        return
    near = get_close_matches(str(value), choices, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}.{hint}")


def check_int(name: str, value: int, *, minimum: int) -> None:
    """Raise TypeError unless `value` is an integer, ValueError unless it is at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer; got {value!r} ({type(value).__name__}).")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}; got {value}.")


def check_positive(name: str, value: float) -> None:
    """Raise TypeError unless `value` is a real number, ValueError unless finite and above 0."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number; got {value!r} ({type(value).__name__}).")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite; got {value}.")


def check_fraction(name: str, value: float) -> None:
    """Raise TypeError unless `value` is a real number, ValueError unless in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number; got {value!r} ({type(value).__name__}).")
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1; got {value}.")


def check_spread(name: str, value: float) -> None:
    """Raise as `check_positive`, but allow 0: a standard deviation."""
    if value != 0 or isinstance(value, bool):
        check_positive(name, value)


def check_interval(name: str, interval: tuple[float, float]) -> None:
    """Raise TypeError unless `interval` is two numbers, ValueError unless low <= high, finite."""
    pair = isinstance(interval, Sequence) and len(interval) == 2
    if not (pair and all(isinstance(end, Real) for end in interval)):
        raise TypeError(f"{name} must be two numbers, (low, high); got {interval!r}.")
    if not all(map(math.isfinite, interval)) or interval[0] > interval[1]:
        raise ValueError(f"{name} must be (low, high) with low <= high; got {interval}.")


def check_device(name: str) -> torch.device:
    """The device of that name; ValueError unless a tensor can be made there."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # which "meta" has not
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        there = "cpu or cuda" if torch.cuda.is_available() else "cpu"
        raise ValueError(f"device {name!r} cannot be used here; use {there}. {reason}") from error
    return device


def check_tasks(tasks: Tasks, *, like: Tensor | None = None, n_way: int | None = None) -> None:
    """Check a batch of tasks against itself and, with `like`, against a parameter of the learner.

    With `n_way`, labels are checked against the classes that the learner can name.

    Raises:
        TypeError: If `tasks` is not a `Tasks` of two `Examples`.
        ValueError: If there are no tasks, the two sets differ in their number of tasks, a set's
            inputs and targets differ in their number of examples, the query set is empty, a label
            is none of 0 … n_way − 1, or devices or floating dtypes are mixed.
    """
    if not (isinstance(tasks, Tasks) and all(isinstance(part, Examples) for part in tasks)):
        raise TypeError(
            "expected Tasks(support=Examples(x, y), query=Examples(x, y)); "
            f"got {type(tasks).__name__}."
        )
    counts = {name: tuple(t.shape[:1]) for name, t in _named(tasks)}
    if len(set(counts.values())) != 1:
        raise ValueError(f"every tensor needs the same number of tasks first; got {_list(counts)}.")
    if tasks.n_tasks == 0:
        raise ValueError("expected at least one task; got a batch of 0 tasks.")
    for name, part in zip(Tasks._fields, tasks):
        _check_pairs(name, part, axis=1)
    support, query = tasks
    if query.x.shape[1] == 0:
        raise ValueError("the query set is empty; a loss over no queries is not a number.")
    if support.x.shape[2:] != query.x.shape[2:]:
        raise ValueError(
            "support and query inputs must have the same features; got shapes "
            f"{tuple(support.x.shape)} and {tuple(query.x.shape)}."
        )
    check_same_kind(dict(_named(tasks)) | ({"the parameters": like} if like is not None else {}))
    for name, part in zip(Tasks._fields, tasks):
        check_labels(f"{name}.y", part.y, n_way)


def check_labels(name: str, y: Tensor, n_way: int | None) -> None:
    """Raise ValueError unless integers in `y` are 0 … n_way − 1, or just not negative without it.

    Cross-entropy passes over a label of −100 in silence, and on a GPU any other wrong label ends
    the process. Floating-point targets are no labels, and in a compiled graph no value can be
    looked at: there the caller checks beforehand.
    """
    if y.is_floating_point() or y.numel() == 0 or torch.compiler.is_compiling():
        return
    low, high = (int(end) for end in y.aminmax())
    if low < 0 or (n_way is not None and high >= n_way):
        allowed = "not be negative" if n_way is None else f"lie in 0 … {n_way - 1}"
        raise ValueError(
            f"labels must {allowed}; {name} holds {low if low < 0 else high}. Number the classes "
            "of each task from 0, and give the network one output for each."
        )


def check_support(support: Examples, *, like: Tensor) -> None:
    """Check the support set of one task before it is learned from; raises as `check_tasks`."""
    _check_pairs("support", support, axis=0)
    if support.x.shape[0] == 0:
        raise ValueError(
            "the support set is empty: nothing to adapt to. Use n_shot >= 1 or 0 inner steps."
        )
    check_same_kind({"support.x": support.x, "support.y": support.y, "the parameters": like})


def _check_pairs(name: str, part: Examples, *, axis: int) -> None:
    if part.x.ndim <= axis or part.y.ndim <= axis or part.x.shape[axis] != part.y.shape[axis]:
        raise ValueError(
            f"{name} needs one target per input on axis {axis}; "
            f"got x of shape {tuple(part.x.shape)} and y of shape {tuple(part.y.shape)}."
        )


def check_same_kind(tensors: dict[str, Tensor]) -> None:
    """Raise ValueError unless all share one device, and all floating ones one dtype."""
    devices = {name: str(t.device) for name, t in tensors.items()}
    if len(set(devices.values())) != 1:
        raise ValueError(f"expected one device; got {_list(devices)}. Move them with .to(device).")
    dtypes = {name: str(t.dtype) for name, t in tensors.items() if t.is_floating_point()}
    if len(set(dtypes.values())) > 1:
        raise ValueError(f"expected one floating dtype; got {_list(dtypes)}. Use .to(dtype=…).")


def check_prediction(prediction: Tensor, y: Tensor, loss_fn: Callable) -> None:
    """Raise ValueError if `loss_fn(prediction, y)` would broadcast one shape against the other."""
    loss_fn = getattr(loss_fn, "func", loss_fn)  # of functools.partial(F.huber_loss, delta=…)
    elementwise = loss_fn in ELEMENTWISE_LOSSES or isinstance(loss_fn, ELEMENTWISE_MODULES)
    fits = prediction.shape == y.shape if elementwise else prediction.shape[:1] == y.shape[:1]
    if not fits:
        raise ValueError(
            f"the prediction has shape {tuple(prediction.shape)} and its target "
            f"{tuple(y.shape)}; {_name(loss_fn)} would not compare them one "
            "by one. Give targets the shape of the network's output."
        )


def check_scalar(loss: Tensor, loss_fn: Callable) -> Tensor:
    """Return `loss`; raise TypeError if it is no tensor, ValueError if it is not one number."""
    if not isinstance(loss, Tensor):
        raise TypeError(
            f"{_name(loss_fn)} must return a tensor; got {loss!r} ({type(loss).__name__})."
        )
    if loss.ndim != 0:
        raise ValueError(
            f"{_name(loss_fn)} must return the mean over the examples of one task, a scalar; "
            f"got shape {tuple(loss.shape)}. Use reduction='mean'."
        )
    return loss


def _name(loss_fn: Callable) -> str:
    return getattr(loss_fn, "__name__", repr(loss_fn))


def _named(tasks: Tasks) -> list[tuple[str, Tensor]]:
    return [
        (f"{part}.{field}", tensor)
        for part, examples in zip(Tasks._fields, tasks)
        for field, tensor in zip(Examples._fields, examples)
    ]


def _list(values: dict) -> str:
    return ", ".join(f"{name}: {value}" for name, value in values.items())

"""The inner loop: steps on the support set that the outer gradient passes through.

MAML, Meta-SGD and learned optimizers share it; they differ in the rule that turns a gradient into a
step.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import grad
from torch.utils._pytree import tree_flatten, tree_unflatten

from mlcode.checks import check_int

Parameters = dict[str, Tensor]
Loss = Callable[[Parameters], Float[Tensor, ""]]
State = Any  # what a rule carries from step to step: a tree of tensors


class UpdateRule(nn.Module, ABC):
    """How a gradient becomes a step. A module, since the rule itself may be learned.

    Unlike a `torch.optim.Optimizer` it changes nothing in place: it returns new parameters, whose
    graph leads back to where they came from.
    """

    def init(self, theta: Parameters) -> State:
        """The state before the first step. Empty unless a rule remembers something."""
        return ()

    @abstractmethod
    def forward(
        self, theta: Parameters, gradient: Parameters, state: State
    ) -> tuple[Parameters, State]:
        """The parameters after one step, and the state for the next."""


def unroll(
    loss: Loss,
    theta: Parameters,
    rule: UpdateRule,
    n_steps: int,
    *,
    first_order: bool = False,
    state: State = None,
    checkpoint_every: int | None = None,
    through: Iterable[Tensor] = (),
) -> tuple[Parameters, State]:
    """Take `n_steps` steps on `loss` from `theta`, keeping the graph back to `theta`.

    Args:
        loss: What the steps lower, such as the support loss of one task.
        theta: Where they start.
        rule: What a gradient does to the parameters.
        n_steps: How many steps.
        first_order: Treat gradients as constants, which drops the second derivatives.
        state: Of the rule, to go on from an earlier call. None: a fresh one.
        checkpoint_every: Keep the parameters only after every so many steps and compute the rest
            again on the way back (Griewank and Walther, 2000): with √n_steps, memory grows like
            √n_steps and the work by one more pass. The gradient is the same. For plain autograd,
            not under `vmap` or another transform of `torch.func`. None: keep everything.
        through: With `checkpoint_every`, whatever else `loss` depends on and needs a gradient.

    Returns:
        The parameters after the last step and the rule's state.

    Raises:
        TypeError: If a count is not an integer.
        ValueError: If `n_steps` is negative or `checkpoint_every` below 1.
    """
    check_int("n_steps", n_steps, minimum=0)
    state = rule.init(theta) if state is None else state

    steps = partial(_steps, loss, rule, first_order)
    if checkpoint_every is None:
        return steps(n_steps, theta, state)
    check_int("checkpoint_every", checkpoint_every, minimum=1)
    constants = [t for t in (*through, *rule.parameters()) if t.requires_grad]
    for done in range(0, n_steps, checkpoint_every):
        n = min(checkpoint_every, n_steps - done)
        theta, state = _checkpointed(steps, n, theta, state, constants)
    return theta, state


def _steps(
    loss: Loss, rule: UpdateRule, first_order: bool, n: int, theta: Parameters, state: State
) -> tuple[Parameters, State]:
    for _ in range(n):
        gradient = grad(loss)(theta)
        if first_order:
            gradient = {name: g.detach() for name, g in gradient.items()}
        theta, state = rule(theta, gradient, state)
    return theta, state


def _checkpointed(
    steps: Callable, n: int, theta: Parameters, state: State, constants: list[Tensor]
) -> tuple[Parameters, State]:
    """`steps(n, theta, state)` without its graph; the graph is built when its gradient is asked."""
    flat, tree = tree_flatten((theta, state))

    def run(*tensors: Tensor) -> list[Tensor]:
        return tree_flatten(steps(n, *tree_unflatten(list(tensors), tree)))[0]

    # A step returns what it was given: parameters and state of the same form.
    return tree_unflatten(list(_Recomputed.apply(run, len(flat), *flat, *constants)), tree)


class _Recomputed(torch.autograd.Function):
    """Run without a graph; on the way back run again with one and differentiate it.

    `torch.utils.checkpoint` does the same by hooks on saved tensors, which `torch.func.grad`, the
    inner gradient, does not allow.
    """

    @staticmethod
    def forward(ctx, run, n_inputs, *tensors):
        ctx.run, ctx.n_inputs = run, n_inputs
        ctx.save_for_backward(*tensors)
        return tuple(out.detach() for out in run(*tensors[:n_inputs]))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients):
        tensors = ctx.saved_tensors
        inputs = [t.detach().requires_grad_(t.requires_grad) for t in tensors[: ctx.n_inputs]]
        with torch.enable_grad():
            outputs = ctx.run(*inputs)
        wanted = [*inputs, *tensors[ctx.n_inputs :]]
        some = [(o, g) for o, g in zip(outputs, gradients) if o.requires_grad]
        asked = [t for t in wanted if t.requires_grad]
        found = iter(
            torch.autograd.grad(
                [o for o, _ in some], asked, [g for _, g in some], allow_unused=True
            )
        )
        return None, None, *(next(found) if t.requires_grad else None for t in wanted)

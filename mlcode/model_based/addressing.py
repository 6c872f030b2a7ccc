"""How a memory of slots is read by content and written where it was least used: pure functions.

The last axes are slots and their width, heads and slots; any axes before them are tasks.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

# Added to squared lengths: a slot that was never written has no direction, and its cosine is 0.
TINY = 1e-8


def content_weights(
    keys: Float[Tensor, "*task head width"],
    memory: Float[Tensor, "*task slot width"],
    strength: Float[Tensor, "*task head"] | None = None,
) -> Float[Tensor, "*task head slot"]:
    """Where each head reads: a softmax over slots of the cosine of its key with their content.

    As Santoro et al. (2016) read, who have no strength.

    Args:
        keys: What each head looks for.
        memory: The slots.
        strength: What the cosines are multiplied by. None: 1. A cosine lies between −1 and 1, so
            that with 1 no slot gets more than e² times the weight of another.
    """
    lengths = [(t.square().sum(-1, keepdim=True) + TINY).rsqrt() for t in (keys, memory)]
    cosine = (keys * lengths[0]) @ (memory * lengths[1]).mT
    return torch.softmax(cosine if strength is None else strength[..., None] * cosine, -1)


def least_used(
    usage: Float[Tensor, "*task slot"], n_heads: int
) -> Float[Tensor, "*task head slot"]:
    """The `n_heads` slots of least usage, one for each head, least first; 1 there and 0 elsewhere.

    Of slots used alike the first is taken. If there are fewer slots than heads, some heads share.
    """
    n_slots = usage.shape[-1]
    order = usage.sort(dim=-1, stable=True).indices[..., :n_heads]
    if n_slots < n_heads:
        order = order[..., torch.arange(n_heads, device=usage.device) % n_slots]
    return one_hot(order, n_slots, usage.dtype)


def write_weights(
    gate: Float[Tensor, "*task head"],
    read_before: Float[Tensor, "*task head slot"],
    free: Float[Tensor, "*task head slot"],
) -> Float[Tensor, "*task head slot"]:
    """Where each head writes: `gate` of it where it read a step ago, the rest to its free slot.

    What has just been looked up is completed, or a slot is begun.

    Args:
        gate: Between 0, to the free slot, and 1, to where was read.
        read_before: The read weights of the step before; zeros where nothing has been read.
        free: As `least_used` gives it.
    """
    share = gate[..., None]
    return share * read_before + (1 - share) * free


def written(
    memory: Float[Tensor, "*task slot width"],
    weights: Float[Tensor, "*task head slot"],
    values: Float[Tensor, "*task head width"],
    free: Float[Tensor, "*task head slot"],
) -> Float[Tensor, "*task slot width"]:
    """The memory after the free slots were emptied and every head added its value."""
    kept = 1 - free.amax(-2)
    return kept[..., None] * memory + weights.mT @ values


def decayed_usage(
    usage: Float[Tensor, "*task slot"],
    read: Float[Tensor, "*task head slot"],
    write: Float[Tensor, "*task head slot"],
    decay: float,
) -> Float[Tensor, "*task slot"]:
    """How much each slot was used lately: decay · usage + reads + writes.

    No gradient passes through it, since a rank has none.
    """
    return decay * usage + (read.detach() + write.detach()).sum(-2)


def one_hot(
    labels: Int64[Tensor, "*example"], n: int, dtype: torch.dtype
) -> Float[Tensor, "*example n"]:
    """1 at each label and 0 elsewhere; by comparison, which `vmap` and the compiler can follow."""
    return (labels[..., None] == torch.arange(n, device=labels.device)).to(dtype)

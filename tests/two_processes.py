"""What each of several processes does in `test_training_processes`; a script, not a test.

It writes what it found to `<folder>/<rank>.json`, since a process cannot fail a test itself.
"""

import json
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from torch.optim import Adam, lr_scheduler

from mlcode import MAML, Sinusoids, train

SOURCE = Sinusoids(n_shot=4, n_query=5, dtype=torch.float64)


class Spoiled:
    """The sixth task of the batch of iteration 2 has no finite loss: the second process's."""

    def __init__(self):
        self.iteration = 0

    def sample(self, n_tasks, *, generator=None, device=None):
        tasks = SOURCE.sample(n_tasks, generator=generator, device=device)
        if self.iteration == 2:
            tasks.query.y[5, 0] = math.nan
        self.iteration += 1
        return tasks


def network():
    net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=draw, dtype=p.dtype))
    return net


def part(n_iterations, *, wrap=None, own_seed=None, **settings):
    """Train a fresh learner; return its losses and its weights."""
    learner = MAML(network(), n_inner_steps=2, adapted="2.*")
    optimizer = Adam(learner.parameters(), 0.01)
    generator = None if own_seed is not None else torch.Generator().manual_seed(0)
    if own_seed is not None:
        torch.manual_seed(own_seed)
    history = train(
        wrap(learner) if wrap else learner,
        settings.pop("source", SOURCE),
        n_iterations=n_iterations,
        optimizer=optimizer,
        scheduler=lr_scheduler.StepLR(optimizer, 3, 0.5),
        clip_grad_norm=1.0,
        generator=generator,
        checkpoint_every=3,
        **{"n_tasks": 6} | settings,
    )
    weights = nn.utils.parameters_to_vector(learner.parameters())
    return {"loss": history.loss.tolist(), "weights": weights.tolist()}


def error(**settings):
    """The message with which a run is refused."""
    try:
        part(10, **settings)
    except ValueError as refusal:
        return str(refusal)
    return None


def main(folder):
    rank, n_processes = (
        int(os.environ.get(name, i)) for i, name in enumerate(("RANK", "WORLD_SIZE"))
    )
    found = {"whole": part(8)}
    part(4, checkpoint=folder / "run.pt")
    found["resumed"] = part(8, checkpoint=folder / "run.pt")
    found["unseeded"] = part(3, own_seed=rank)
    if n_processes > 1:
        found["traced"] = part(4, wrap=lambda m: torch.compile(m, backend="eager"))
        found["spoiled"] = error(source=Spoiled())
        found["odd"] = error(n_tasks=7)
        found["apart"] = error(accelerator=SimpleNamespace(num_processes=1, process_index=0))
        found["elsewhere"] = error(checkpoint=folder / ("run.pt" if rank == 0 else "none.pt"))
        found["compiled"] = error(compiled=True)
        torch.distributed.barrier()  # neither leaves while the other still listens
        torch.distributed.destroy_process_group()
    (folder / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

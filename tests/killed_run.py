"""The run that `test_training_killed` kills. A module that a fresh process imports, not a test."""

import os
from pathlib import Path

import torch
import torch._dynamo  # which each optimizer loads: once here, before the runs are forked
from torch import nn
from torch.optim import SGD, lr_scheduler

from mlcode import MAML, Sinusoids, train
from mlcode.checkpoints import describe_run

EVERY = 3
END = 700


class Watched(Sinusoids):
    """Leaves a byte in a file for each batch it draws; what is written survives a kill."""

    def sample(self, n_tasks, *, generator=None, device=None):
        os.write(self.log, b".")
        return super().sample(n_tasks, generator=generator, device=device)


def make():
    """Learner, source, optimizer and scheduler: with momentum, dropout and a schedule."""
    torch.manual_seed(11)
    net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1)).double()
    learner = MAML(net)
    optimizer = SGD(learner.parameters(), 0.01, momentum=0.9)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, END)
    return learner, Watched(n_shot=3, n_query=3, dtype=torch.float64), optimizer, scheduler


def description():
    """What the checkpoint of this run says about it."""
    learner, source, optimizer, scheduler = make()
    limits = {"clip_grad_norm": None, "clip_grad_value": None}
    return describe_run(learner, source, optimizer, scheduler, n_tasks=2, **limits)


def run(file: Path, log: Path) -> None:
    """Train to the end, from `file` if it exists."""
    torch.set_num_threads(1)
    learner, source, optimizer, scheduler = make()
    object.__setattr__(source, "log", os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    train(
        learner,
        source,
        n_iterations=END,
        n_tasks=2,
        optimizer=optimizer,
        scheduler=scheduler,
        generator=torch.Generator().manual_seed(3),
        checkpoint=file,
        checkpoint_every=EVERY,
    )

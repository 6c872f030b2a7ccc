"""How many few-shot tasks a second `Episodes` draws, beside learn2learn's Taskset."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from mlcode.peers import peer_name
from mlcode.peers.importing import load
from mlcode.peers.timing import interleaved, quartiles, ratios
from mlcode.sources.characters import Characters
from mlcode.sources.episodes import Episodes
from mlcode.tasks import Tasks

N_TASKS, N_WAY, N_SHOT, N_QUERY = 32, 5, 1, 15
N_IMAGES = N_SHOT + N_QUERY
# The characters that Omniglot's papers train on. Of noise: sampling does not look at the images,
# and images that differ can be told apart.
N_CHARACTERS, N_DRAWINGS, SIDE = 1200, 20, 28

Batch = list[tuple[Tensor, Tensor]]  # images and labels of each task
Draw = Callable[[], Tasks | Batch]


def noise() -> Characters:
    """As many images as Omniglot's training characters have, every one another."""
    generator = torch.Generator().manual_seed(0)
    shape = (N_CHARACTERS, N_DRAWINGS, SIDE, SIDE)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return Characters(images, tuple(f"Noise/{i}" for i in range(N_CHARACTERS)), "noise")


def by_mlcode(characters: Characters) -> Draw:
    """A batch of `Episodes`."""
    source = Episodes(characters, N_WAY, N_SHOT, N_QUERY)
    generator = torch.Generator().manual_seed(0)
    return lambda: source.sample(N_TASKS, generator=generator)


def by_learn2learn(characters: Characters) -> Draw:
    """As many tasks of a Taskset, by its fastest transforms, from floats that are in memory.

    To stack the tasks to a batch and to part support from query would be further work.
    """
    load("learn2learn")
    from learn2learn.data import MetaDataset, Taskset, transforms

    images = characters.images.flatten(0, 1)[:, None].float() / 255
    labels = torch.arange(len(characters)).repeat_interleave(characters.n_drawings)
    data = MetaDataset(torch.utils.data.TensorDataset(images, labels))
    steps = [
        transforms.FusedNWaysKShots(data, n=N_WAY, k=N_IMAGES),
        transforms.LoadData(data),
        transforms.RemapLabels(data),
        transforms.ConsecutiveLabels(data),
    ]
    tasks = Taskset(data, task_transforms=steps)
    return lambda: [tuple(tasks.sample()) for _ in range(N_TASKS)]  # it gives pairs as lists


CONTENDERS: Mapping[str, Callable[[Characters], Draw]] = {
    "mlcode": by_mlcode,
    "learn2learn": by_learn2learn,
}


def bench_sampling(*, n_rounds: int = 30, block_s: float = 0.1) -> dict[str, Any]:
    """Time the drawing of batches of tasks, on the threads that torch has.

    Args:
        n_rounds: Rounds; see `timing.interleaved`.
        block_s: Seconds a contender has in a round.

    Returns:
        What the record holds, which is tasks a second and their ratio, each as [lower quartile,
        median, upper quartile] over rounds.

    Raises:
        AssertionError: If a contender's batch is not what it must be.
        ImportError: If learn2learn is not installed.
    """
    characters = noise()
    draws = {name: prepare(characters) for name, prepare in CONTENDERS.items()}
    for name, draw in draws.items():
        check_batch(name, draw(), characters)
    seconds = interleaved(draws, n_rounds=n_rounds, block_s=block_s)
    return {
        "n_tasks": N_TASKS,
        "n_way": N_WAY,
        "n_images": N_IMAGES,
        "n_characters": N_CHARACTERS,
        "n_rounds": n_rounds,
        "threads": torch.get_num_threads(),
        "tasks_per_s": {n: list(quartiles([N_TASKS / s for s in t])) for n, t in seconds.items()},
        "times_faster": list(ratios(seconds["learn2learn"], seconds["mlcode"])),
    }


def check_batch(name: str, batch: Tasks | Batch, characters: Characters) -> None:
    """Raise AssertionError unless a batch holds what was asked for.

    That is all images, none twice in a task, each label as often as any other and for one class.

    Args:
        name: The contender, for the error.
        batch: What it drew.
        characters: What it drew from.
    """
    known = {row.numpy().tobytes(): i for i, row in enumerate(characters.images.flatten(0, 1))}
    if isinstance(batch, Tasks):
        x, y = (torch.cat(parts, 1) for parts in zip(*batch))
        batch = list(zip(x, y))
    if len(batch) != N_TASKS:
        raise AssertionError(f"{name} drew {len(batch)} tasks; expected {N_TASKS}.")
    for task, (x, y) in enumerate(batch):
        shown = [known.get(i.numpy().tobytes(), -1) for i in (x[:, 0] * 255).round().byte()]
        classes = {(label, image // N_DRAWINGS) for label, image in zip(y.tolist(), shown)}
        right = (
            -1 not in shown
            and len(set(shown)) == N_WAY * N_IMAGES
            and y.bincount().tolist() == [N_IMAGES] * N_WAY
            and len(classes) == len({number for _, number in classes}) == N_WAY
        )
        if not right:
            raise AssertionError(
                f"{name}'s task {task} is not {N_WAY} classes of {N_IMAGES} different images each."
            )


def sampling_text(result: dict[str, Any]) -> str:
    """A result of `bench_sampling` in words."""
    head = (
        f"{result['n_way']}-way tasks with {result['n_images']} images a class from "
        f"{result['n_characters']} characters, {result['n_tasks']} a batch, "
        f"{result['threads']} threads: tasks a second, median (middle half) of "
        f"{result['n_rounds']} rounds"
    )
    lines = [
        f"{'mlcode' if name == 'mlcode' else peer_name(name):<18}{_spread(values, '.0f')}"
        for name, values in result["tasks_per_s"].items()
    ]
    return "\n".join(
        [head, *lines, f"{'times faster':<18}{_spread(result['times_faster'], '.3g')}"]
    )


def _spread(values: list[float], form: str) -> str:
    low, median, high = values
    return f"{median:{form}} ({low:{form}}–{high:{form}})"

"""Few-shot recognition of a reader's own images by a learner that `train` has left in a folder."""

import csv
import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mlcode.catalogue import LEARNERS, SOURCES, Setting, make_learner
from mlcode.checkpoints import load_learner
from mlcode.learner import MetaLearner
from mlcode.metric.metric_learner import MetricLearner
from mlcode.runs import CHECKPOINT, freeze, is_trained, read_setting
from mlcode.sources.image_files import Shape, class_folders, image_files, read_image
from mlcode.tasks import Examples

SHAPES: dict[str, Shape] = {"miniimagenet": (3, 84, 84)}  # other sources are of ink, 28 × 28
TABLE, PICTURE = "predictions.csv", "predictions.png"


@dataclass(frozen=True)
class Answers:
    """What a learner makes of the queries.

    Args:
        classes: The classes' names, in the order of the columns of `confidence`.
        queries: The queries' files.
        confidence: The softmax of the learner's outputs: its probability of each class for those
            that are trained by cross-entropy, and for the others no more than their order.
        support: The support images of each class, as the learner sees them.
        query_x: The queries, likewise.
    """

    classes: tuple[str, ...]
    queries: tuple[Path, ...]
    confidence: Float[Tensor, "query n_way"]
    support: tuple[Tensor, ...]  # (example, channel, height, width), not as many of each
    query_x: Float[Tensor, "query channel height width"]

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """For each query: its file, the likeliest class and the next, each with its confidence."""
        best = self.confidence.topk(2)
        rows = []
        for path, at, p in zip(self.queries, best.indices.tolist(), best.values.tolist()):
            first, second = (self.classes[place] for place in at)
            rows.append((path.name, first, f"{p[0]:.0%}", second, f"{p[1]:.0%}"))
        return rows


def answer(
    run: Path, support: Path, queries: Path, device: torch.device, *, grey: bool = False
) -> Answers:
    """Have the learner in the folder `run` name the class of each image in the folder `queries`.

    Every query is answered alone: batch statistics come from training images (of metric-based
    learners) or from the support set (of those that adapt by gradient steps), and so an answer does
    not depend on what else is asked.

    Args:
        run: What `train` left.
        support: A folder with one sub-folder of images for each class.
        queries: A folder of images.
        device: Where to compute.
        grey: Take the brightness of coloured images.

    Raises:
        ValueError: If the run does not tell images apart or not as many classes, a folder is not as
            described, or an image cannot be used.
    """
    setting = read_setting(run)
    if not SOURCES[setting.source].labels:
        raise ValueError(
            f"{run} was trained on {setting.source}, which are functions; to name classes, train "
            "on images, such as: train protonet glyphs."
        )
    folders, files = class_folders(support), image_files(queries)
    shape = SHAPES.get(setting.source, (1, 28, 28))
    images = {
        name: torch.stack([read_image(path, shape, grey=grey) for path in paths])
        for name, paths in folders.items()
    }
    query_x = torch.stack([read_image(path, shape, grey=grey) for path in files])
    learner = ready(run, setting, len(folders), device)
    y = torch.arange(len(images)).repeat_interleave(torch.tensor([len(x) for x in images.values()]))
    task = Examples(torch.cat(list(images.values())), y).to(device)
    with torch.no_grad():
        confidence = learner.predict(task, query_x.to(device)).softmax(-1).cpu()
    return Answers(tuple(images), tuple(files), confidence, tuple(images.values()), query_x)


def ready(run: Path, setting: Setting, n_way: int, device: torch.device) -> MetaLearner:
    """The trained learner, so that it answers each query of an `n_way` task alone."""
    adapts = "n_inner_steps" in LEARNERS[setting.learner].heeds
    alone = "support" if adapts else setting.statistics
    learner = make_learner(replace(setting, statistics=alone)).to(device).eval()
    if not is_trained(learner):
        return make_learner(replace(setting, n_way=n_way)).to(device).eval()
    if not isinstance(learner, MetricLearner) and n_way != setting.n_way:
        raise ValueError(
            f"{setting.learner} in {run} was trained to tell {setting.n_way} classes apart; got "
            f"{n_way}. Give as many, or train protonet, which takes any number."
        )
    load_learner(run / CHECKPOINT, learner)
    if isinstance(learner, MetricLearner) and not adapts:
        freeze(learner, setting, device)
    return learner


def save(answers: Answers, folder: Path) -> tuple[Path, Path]:
    """Write the answers as a table with every class's confidence, and as a picture.

    Returns:
        The two files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table, picture = folder / TABLE, folder / PICTURE
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "class", "confidence", *answers.classes])
        for (name, best, *_), p in zip(answers.rows(), answers.confidence.tolist()):
            writer.writerow([name, best, f"{max(p):.4f}", *(f"{value:.4f}" for value in p)])
    draw(answers, picture)
    return table, picture


def draw(answers: Answers, file: Path) -> None:
    """The support images, a row a class, and under them the queries with their answers.

    Of many images the first are shown: six of a class, and 60 queries.
    """
    from matplotlib.figure import Figure  # slow to import, and no other command needs it

    from mlcode.image_plots import shaded

    n_columns, n_classes = 6, len(answers.classes)
    queries = list(zip(answers.query_x, answers.rows()))[:60]
    bottom = n_classes + 0.6 + 1.7 * -(-len(queries) // n_columns)
    figure = Figure(figsize=(1.25 * (n_columns + 2), 1.25 * (bottom + 0.3)), dpi=110)
    ax = figure.add_axes((0, 0, 1, 1), xlim=(-2, n_columns), ylim=(bottom, -0.3))
    ax.set_axis_off()

    def show(image: Tensor, left: float, top: float) -> None:
        extent = (left + 0.05, left + 0.95, top + 0.95, top + 0.05)
        ax.imshow(shaded(image), extent=extent, interpolation="nearest")

    write = partial(ax.text, parse_math=False)  # a file's name may hold a dollar
    for row, (name, images) in enumerate(zip(answers.classes, answers.support)):
        write(-0.1, row + 0.5, _short(name, 22), ha="right", va="center")
        for left, image in enumerate(images[:n_columns]):
            show(image, left, row)
    ax.axhline(n_classes + 0.2, color="0.7", lw=0.8)
    ax.text(-0.1, n_classes + 1.1, "queries", ha="right", va="center")
    for place, (image, (name, best, p, *_)) in enumerate(queries):
        left, top = place % n_columns, n_classes + 0.6 + 1.7 * (place // n_columns)
        show(image, left, top)
        write(left + 0.5, top, _short(name), size=7, color="0.4", ha="center", va="bottom")
        write(left + 0.5, top + 1.0, f"{_short(best)}\n{p}", size=8, ha="center", va="top")
    ax.set(xlim=(-2, n_columns), ylim=(bottom, -0.3), aspect="equal")  # which imshow has changed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class named in a script that the font has not
        figure.savefig(file)


def _short(name: str, most: int = 17) -> str:
    """A name that fits, its end kept, by which names differ."""
    return name if len(name) <= most else f"{name[: most - 8]}…{name[-7:]}"

"""Pictures of embeddings: where examples lie, what pulls them, how well a distance tells classes.

Every function draws into an `Axes` that it is given, but `animated_png`, which makes a picture.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int64, Shaped
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image
from torch import Tensor

from mlcode.checks import check_int, check_positive
from mlcode.image_plots import shaded
from mlcode.plotting import COLOURS

MARKERS = "os^Dvx*P"


def draw_embeddings(
    ax: Axes,
    z: Float[Tensor, "example 2"],
    y: Int64[Tensor, "example"],
    *,
    images: Shaped[Tensor, "class *colour height width"] | None = None,
    size: float = 4,
) -> None:
    """Examples in the plane, a colour and a marker for each class.

    Args:
        ax: Where to draw.
        z: Their embeddings.
        y: Their classes, from 0.
        images: One of each class, shown at the mean of its embeddings. None: markers only.
        size: Of the markers.
    """
    points, labels = z.detach().cpu(), y.cpu()
    for label in labels.unique().tolist():
        kind: dict[str, Any] = {"marker": MARKERS[label % len(MARKERS)], "color": _colour(label)}
        here = points[labels == label]
        ax.plot(*here.T.numpy(), ls="", ms=size, alpha=0.75, mew=0.8, **kind)
        if images is not None:
            picture = OffsetImage(shaded(images[label]), zoom=0.5)
            frame = {"edgecolor": kind["color"], "linewidth": 1.2, "boxstyle": "square,pad=0.05"}
            place = tuple(here.mean(0).tolist())
            ax.add_artist(AnnotationBbox(picture, place, pad=0.05, bboxprops=frame))


def draw_forces(
    ax: Axes,
    z: Float[Tensor, "example 2"],
    y: Int64[Tensor, "example"],
    force: Float[Tensor, "example 2"],
) -> None:
    """Examples in the plane and the force on each, as an arrow in the units of the axes."""
    draw_embeddings(ax, z, y, size=6)
    at, arrow = z.detach().cpu(), force.detach().cpu()
    colours = [_colour(label) for label in y.tolist()]
    scale: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.008}
    ax.quiver(*at.T.numpy(), *arrow.T.numpy(), color=colours, **scale)
    ax.set_aspect("equal")


def draw_roc(
    ax: Axes,
    curves: Mapping[str, tuple[Float[Tensor, "threshold"], Float[Tensor, "threshold"]]],
    *,
    colours: Sequence[str] = tuple(COLOURS),
) -> None:
    """ROC curves: pairs of one class found against pairs of two taken for one, by threshold.

    Args:
        ax: Where to draw.
        curves: A label with the share of false alarms and the share found, at each threshold.
        colours: Keys of `COLOURS`, one for each curve.
    """
    for (label, (alarms, found)), colour in zip(curves.items(), colours):
        ax.plot(alarms.cpu(), found.cpu(), label=label, color=COLOURS[colour])
    ax.plot([0, 1], [0, 1], ":", lw=1, color=COLOURS["black"])
    ax.set(xlabel="two classes, taken for one", ylabel="one class, recognised")


def animated_png(
    draw: Callable[[Axes, int], None],
    n_frames: int,
    *,
    size: tuple[float, float] = (3.6, 2.8),
    seconds: float = 4.0,
    hold: float = 2.0,
) -> bytes:
    """An animation as one PNG, which browsers and notebooks play without a program.

    It repeats for ever. What cannot play it shows the first frame.

    Args:
        draw: `draw(ax, i)` draws frame i into empty axes.
        n_frames: How many there are.
        size: Inches across and high.
        seconds: How long all frames take together.
        hold: How long the last one stays beyond that.

    Raises:
        TypeError: If `n_frames` is not an integer or a time not a number.
        ValueError: If there are fewer than two frames or a time is not positive.
    """
    check_int("n_frames", n_frames, minimum=2)
    check_positive("seconds", seconds)
    check_positive("hold", hold)
    frames = []
    for i in range(n_frames):
        fig, ax = plt.subplots(figsize=size, layout="constrained")
        draw(ax, i)
        fig.canvas.draw()
        frames.append(np.asarray(fig.canvas.buffer_rgba())[..., :3])  # type: ignore[attr-defined]
        plt.close(fig)
    height = frames[0].shape[0]
    # One palette for all, found on the frames together: a PNG has no more than one.
    strip = Image.fromarray(np.concatenate(frames)).quantize(48, dither=Image.Dither.NONE)
    boxes = [(0, i * height, strip.width, (i + 1) * height) for i in range(n_frames)]
    first, *others = [strip.crop(box) for box in boxes]
    times = [1000 * seconds / n_frames] * n_frames
    times[-1] += 1000 * hold
    file = io.BytesIO()
    first.save(file, "PNG", save_all=True, append_images=others, duration=times, loop=0)
    return file.getvalue()


def _colour(label: int) -> str:
    return list(COLOURS.values())[label % len(COLOURS)]

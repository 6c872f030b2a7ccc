"""Pictures of pictures: images side by side in one axes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped
from matplotlib.axes import Axes
from torch import Tensor

GAP = 3  # pixels between two images


def draw_images(
    ax: Axes,
    images: Shaped[Tensor, "image *colour height width"],
    *,
    n_columns: int,
    labels: Sequence[object] = (),
) -> None:
    """Images in rows of `n_columns`, row by row; ink is dark on light.

    Args:
        ax: Where to draw.
        images: Bytes, or floats in [0, 1]; with an axis of 1 or 3 colours, or without.
        n_columns: Images in a row.
        labels: Written above the images, as many as there are.
    """
    height, width = images.shape[-2:]
    cell_height, cell_width = height + GAP + (9 if labels else 0), width + GAP
    n_rows = -(-len(images) // n_columns)
    canvas = np.ones((n_rows * cell_height - GAP, n_columns * cell_width - GAP, 3))
    for place, image in enumerate(images):
        row, column = divmod(place, n_columns)
        top, left = row * cell_height + (cell_height - GAP - height), column * cell_width
        canvas[top : top + height, left : left + width] = shaded(image)
    ax.imshow(canvas, interpolation="nearest")
    for place, label in enumerate(labels):
        row, column = divmod(place, n_columns)
        x, y = column * cell_width + width / 2, row * cell_height + 3
        ax.text(x, y, str(label), ha="center", va="center", fontsize=8)
    ax.set_axis_off()


def shaded(image: Shaped[Tensor, "*colour height width"]) -> np.ndarray:
    """An image as height × width × 3 in [0, 1]: ink turned dark, colours as they are."""
    values = image.detach().cpu()
    array = (values if values.is_floating_point() else values / 255).double().numpy()
    if array.ndim == 3 and array.shape[0] == 3:
        return array.transpose(1, 2, 0)
    ink = array.reshape(array.shape[-2:])
    return np.repeat(1 - 0.9 * ink[..., None], 3, axis=-1)  # not quite black, for the dark theme

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from mlcode.image_plots import draw_images


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def shown(ax):
    return ax.images[0].get_array()


def test_images_lie_row_by_row_with_ink_dark(ax):
    images = torch.zeros(3, 1, 4, 4)
    images[2] = 1.0
    draw_images(ax, images, n_columns=2)
    canvas = shown(ax)
    assert canvas.shape == (4 + 3 + 4, 4 + 3 + 4, 3)
    assert (canvas[:4] == 1).all()
    assert np.allclose(canvas[7:, :4], 0.1)
    assert (canvas[7:, 7:] == 1).all()


def test_bytes_and_floats_look_the_same_and_colours_stay(ax):
    colours = torch.randint(256, (2, 3, 5, 5), dtype=torch.uint8)
    draw_images(ax, colours, n_columns=2)
    canvas = shown(ax).copy()
    assert np.allclose(canvas[:, :5], colours[0].permute(1, 2, 0).numpy() / 255)
    draw_images(ax, colours / 255, n_columns=2)
    assert np.allclose(ax.images[1].get_array(), canvas)


def test_each_label_stands_above_its_image(ax):
    draw_images(ax, torch.zeros(4, 6, 6), n_columns=2, labels="abcd")
    assert [text.get_text() for text in ax.texts] == list("abcd")
    assert ax.texts[0].get_position() == (3.0, 3)
    assert ax.texts[3].get_position() == (6 + 3 + 3.0, 6 + 3 + 9 + 3)

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.offsetbox import AnnotationBbox
from PIL import Image

from mlcode.metric_plots import animated_png, draw_embeddings, draw_forces, draw_roc

Z = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
Y = torch.tensor([1, 0, 1])


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def test_each_class_has_its_points_a_colour_and_a_marker(ax):
    draw_embeddings(ax, Z, Y)
    first, second = ax.lines
    assert first.get_xydata().tolist() == [[2.0, 3.0]]
    assert second.get_xydata().tolist() == [[0.0, 1.0], [4.0, 5.0]]
    assert first.get_color() != second.get_color()
    assert first.get_marker() != second.get_marker()


def test_a_class_keeps_its_colour_where_another_is_absent(ax):
    draw_embeddings(ax, Z, Y)
    colour = ax.lines[1].get_color()
    draw_embeddings(ax, Z[:1], Y[:1])
    assert ax.lines[2].get_color() == colour


def test_a_classs_image_stands_at_the_mean_of_its_points(ax):
    draw_embeddings(ax, Z, Y, images=torch.zeros(2, 1, 4, 4))
    boxes = [artist for artist in ax.artists if isinstance(artist, AnnotationBbox)]
    assert [box.xy for box in boxes] == [(2.0, 3.0), (2.0, 3.0)]


def test_a_force_is_an_arrow_as_long_as_it_is_strong(ax):
    force = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    draw_forces(ax, Z, Y, force)
    (arrows,) = ax.collections
    assert np.stack([arrows.U, arrows.V], 1).tolist() == force.tolist()
    assert arrows.get_offsets().tolist() == Z.tolist()
    assert arrows.scale == 1


def test_a_roc_curve_goes_through_its_points_and_chance_is_the_diagonal(ax):
    alarms, found = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.0, 0.9, 1.0])
    draw_roc(ax, {"a": (alarms, found)})
    curve, chance = ax.lines
    assert np.allclose(curve.get_xydata(), torch.stack([alarms, found], 1))
    assert chance.get_xydata().tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert curve.get_label() == "a"


def film(n_frames=4, **options):
    def draw(ax, i):
        ax.set_axis_off()
        ax.imshow([[i / 3]], vmin=0, vmax=1, cmap="Greys", aspect="auto")

    return Image.open(io.BytesIO(animated_png(draw, n_frames, size=(1, 1), **options)))


def test_an_animation_is_one_png_with_a_frame_for_each_that_was_drawn():
    picture = film()
    assert picture.format == "PNG"
    assert picture.n_frames == 4
    middle = [picture.width // 2, picture.height // 2]
    shades = []
    for i in range(4):
        picture.seek(i)
        shades.append(picture.convert("L").getpixel(tuple(middle)))
    assert shades == sorted(shades, reverse=True)
    assert shades[0] > 240 > 20 > shades[-1]


def test_an_animation_takes_the_time_it_is_given_and_repeats():
    picture = film(seconds=2.0, hold=1.0)
    durations = []
    for i in range(4):
        picture.seek(i)
        durations.append(picture.info["duration"])
    assert durations == pytest.approx([500, 500, 500, 1500])
    assert picture.info["loop"] == 0


def test_an_animation_leaves_no_figure_open():
    before = plt.get_fignums()
    film()
    assert plt.get_fignums() == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_frames": 1}, "n_frames"),
        ({"seconds": 0.0}, "seconds"),
        ({"hold": -1.0}, "hold"),
    ],
)
def test_an_animation_needs_two_frames_and_positive_times(options, says):
    with pytest.raises(ValueError, match=says):
        film(**options)

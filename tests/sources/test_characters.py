import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis.strategies import integers

from mlcode.sources.characters import Characters

few = integers(1, 4)


def blank(*shape, dtype=torch.uint8):
    return torch.zeros(shape, dtype=dtype)


@given(n_characters=few, n_drawings=few, height=few, width=few)
def test_its_length_is_the_number_of_classes(n_characters, n_drawings, height, width):
    names = tuple(f"A/{i}" for i in range(n_characters))
    characters = Characters(blank(n_characters, n_drawings, height, width), names, "mine")
    assert len(characters) == n_characters
    assert characters.n_drawings == n_drawings


def test_alphabets_are_named_once_in_order():
    characters = Characters(blank(4, 1, 2, 2), ("B/1", "A/1", "B/2", "A/2"), "mine")
    assert characters.alphabets == ("B", "A")


def test_it_is_shown_without_its_pixels_and_cannot_be_rebound():
    characters = Characters(blank(1, 1, 2, 2), ("A/1",), "mine")
    assert repr(characters) == "Characters('mine')"
    with pytest.raises(dataclasses.FrozenInstanceError):
        characters.split = "test"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_images_that_are_no_bytes_are_refused(dtype):
    with pytest.raises(TypeError, match=f"tensor of torch.uint8, 255 for ink; got {dtype}"):
        Characters(blank(1, 1, 2, 2, dtype=dtype), ("A/1",), "mine")
    with pytest.raises(TypeError, match="got list"):
        Characters([[0]], ("A/1",), "mine")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 1, 1, 2, 2), (0, 1, 2, 2), (1, 0, 2, 2)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(character, drawing, height, width\), no axis empty"):
        Characters(blank(*shape), ("A/1",) * shape[0], "mine")


@pytest.mark.parametrize("names", [(), ("A/1",), ("A/1", "A/1"), ("A/1", "A/2", "A/3")])
def test_names_must_be_distinct_and_one_a_character(names):
    with pytest.raises(ValueError, match="expected 2 distinct names, one a character; got"):
        Characters(blank(2, 1, 2, 2), names, "mine")

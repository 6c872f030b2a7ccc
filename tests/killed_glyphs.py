"""The process that `test_glyphs` kills. A module that a fresh process imports, not a test."""

import os

import torch

from mlcode.sources import glyphs


def make(cache_home, split):
    """Make the drawings of a split and keep them in the cache."""
    torch.set_num_threads(1)
    os.environ["XDG_CACHE_HOME"] = str(cache_home)
    glyphs.Glyphs(split)

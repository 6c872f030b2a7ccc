"""Both draw the same kind of tasks; how fast is no matter of right or wrong."""

import pytest
import torch

from mlcode.peers import sampling
from mlcode.peers.sampling import bench_sampling, check_batch, noise, sampling_text


@pytest.fixture(scope="module")
def characters():
    return noise()


@pytest.fixture(scope="module", params=sampling.CONTENDERS)
def batch(request, characters):
    """Images and labels of each task, as each contender draws them."""
    drawn = sampling.CONTENDERS[request.param](characters)()
    if request.param == "learn2learn":
        return drawn
    x, y = (torch.cat(parts, 1) for parts in zip(*drawn))
    return list(zip(x, y))


def test_each_contender_draws_five_classes_of_sixteen_different_images(batch, characters):
    check_batch("it", batch, characters)


@pytest.mark.parametrize("fault", ["label", "repeat", "foreign", "too few"])
def test_a_batch_that_is_not_what_was_asked_for_is_caught(batch, characters, fault):
    x, y = (part.clone() for part in batch[3])
    if fault == "label":
        y[y == 0] = 1
    elif fault == "repeat":
        first, second = (y == 0).nonzero()[:2, 0]
        x[first] = x[second]
    elif fault == "foreign":
        x[0] = 1 - x[0]
    changed = [*batch[:3], (x, y), *batch[4:]]
    if fault == "too few":
        changed = batch[:-1]
    with pytest.raises(AssertionError, match=r"it's task 3 is not|it drew 31 tasks; expected 32"):
        check_batch("it", changed, characters)


def test_a_result_says_in_words_what_was_measured():
    result = bench_sampling(n_rounds=2, block_s=1e-4)
    assert result["tasks_per_s"].keys() == sampling.CONTENDERS.keys()
    assert 0 < result["times_faster"][0] <= result["times_faster"][1]
    text = sampling_text(result)
    assert "5-way tasks with 16 images a class from 1200 characters, 32 a batch" in text
    assert "learn2learn 0.2.0" in text

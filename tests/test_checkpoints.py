"""What a checkpoint file may be, and what happens if it is something else."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import binary, floats, integers
from torch import nn
from torch.optim import SGD, Adam, lr_scheduler

from mlcode import MAML, LinearFunctions, Sinusoids, train
from mlcode.checkpoints import read_checkpoint, write_atomically
from tests.helpers import network, same, smooth_net, snapshot

SOURCE = Sinusoids(n_shot=4, n_query=5, dtype=torch.float64)
UNREADABLE = r"run.pt is not a readable checkpoint: truncated, damaged, or not made by train"


def run(file, learner=None, *, source=SOURCE, make=Adam, lr=0.01, scheduler=None, **more):
    learner = learner or MAML(smooth_net())
    optimizer = make(learner.parameters(), lr)
    schedule = scheduler(optimizer) if scheduler else None
    counts = {"n_iterations": 3, "n_tasks": 2} | more
    return train(
        learner, source, optimizer=optimizer, scheduler=schedule, checkpoint=file, **counts
    )


def refused(file, message, learner=None, **more):
    """Training refuses `file` and leaves both it and the learner alone."""
    learner = learner or MAML(smooth_net())
    content, weights = file.read_bytes(), snapshot(learner)
    with pytest.raises(ValueError, match=message):
        run(file, learner, **more)
    assert file.read_bytes() == content
    assert same(snapshot(learner), weights)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    file = tmp_path_factory.mktemp("good") / "run.pt"
    run(file)
    return file.read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("bad") / "run.pt"


@settings(max_examples=60)
@given(kept=floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(kept, good, place):
    place.write_bytes(good[: int(kept * len(good))])
    refused(place, UNREADABLE)


@pytest.mark.parametrize("missing", [1, 2, 3, 10, 22, 23, 100, 1000])
def test_a_file_that_lacks_its_last_bytes_is_refused(missing, good, place):
    place.write_bytes(good[:-missing])
    refused(place, UNREADABLE)


def test_an_empty_file_is_refused(place):
    place.write_bytes(b"")
    refused(place, UNREADABLE)


@settings(max_examples=100)
@given(position=floats(0, 1, exclude_max=True), bit=integers(0, 7))
def test_a_flipped_bit_is_refused_unless_it_carries_nothing(position, bit, good, place):
    damaged = bytearray(good)
    damaged[int(position * len(good))] ^= 1 << bit
    place.write_bytes(good)
    original = torch.load(place)
    place.write_bytes(damaged)
    try:
        found = read_checkpoint(place, original["run"])
    except ValueError:
        return
    assert same(found, original)


@settings(max_examples=100)
@given(content=binary(max_size=300), protocol=integers(0, 255))
def test_random_bytes_are_refused_even_where_they_begin_like_a_pickle(content, protocol, place):
    place.write_bytes(content)
    refused(place, UNREADABLE)
    place.write_bytes(bytes([0x80, protocol]) + content)
    refused(place, UNREADABLE)


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3),
        [1, 2, 3],
        {"weights": torch.zeros(3)},
        {"format": "learning-to-learn checkpoint 0"},
        smooth_net().state_dict(),
    ],
)
def test_a_torch_file_of_something_else_is_refused(content, place):
    torch.save(content, place)
    refused(place, "run.pt was not made by train: expected the format 'learning-to-learn")


def test_other_archives_and_whole_modules_are_refused(place):
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("letter.txt", "Dear reader")
    refused(place, UNREADABLE)
    torch.save(smooth_net(), place)
    refused(place, UNREADABLE)


class Evil:
    """What pickle runs when it is loaded: it would write a file."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return Path.write_text, (self.proof, "your code has run")


def poisoned(proof) -> dict[str, bytes]:
    """The same trap in every wrapping that torch.load knows."""

    def saved(content, **options):
        buffer = io.BytesIO()
        torch.save(content, buffer, **options)
        return buffer.getvalue()

    state = {"format": "learning-to-learn checkpoint 1", "run": "", "learner": Evil(proof)}
    return {
        "plain pickle": pickle.dumps(state),
        "torch's zip": saved(state),
        "torch's old format": saved(state, _use_new_zipfile_serialization=False),
    }


@pytest.mark.parametrize("kind", ["plain pickle", "torch's zip", "torch's old format"])
def test_a_file_that_would_run_code_is_refused_and_its_code_does_not_run(kind, place, tmp_path):
    proof = tmp_path / "proof"
    content = poisoned(proof)[kind]
    place.write_bytes(content)
    refused(place, UNREADABLE)
    assert not proof.exists()
    # The trap is one: whoever trusts the file springs it.
    (pickle.loads if kind == "plain pickle" else trusting_load)(content)
    assert proof.read_text() == "your code has run"


def trusting_load(content):
    return torch.load(io.BytesIO(content), weights_only=False)


def other_runs():
    """What differs from the run that wrote the file, and the line that must say so."""
    wider = network(nn.Linear(1, 9), nn.Tanh(), nn.Linear(9, 1))

    def cosine(optimizer):
        return lr_scheduler.CosineAnnealingLR(optimizer, 5)

    return {
        "another network": ({"learner": MAML(wider)}, "out_features=9"),
        "another inner rate": ({"learner": MAML(smooth_net(), inner_lr=0.5)}, r"\+ .*inner_lr=0.5"),
        "another dtype": ({"learner": MAML(smooth_net().float())}, r"\+ model.0.weight: torch.fl"),
        "first order": ({"learner": MAML(smooth_net(), first_order=True)}, "first_order=True"),
        "another source": ({"source": LinearFunctions(dtype=torch.float64)}, "LinearFunctions"),
        "other shots": ({"source": Sinusoids(n_shot=3)}, "n_shot=3"),
        "more tasks": ({"n_tasks": 4}, r"- n_tasks=2\n\+ n_tasks=4"),
        "another optimizer": ({"make": SGD}, r"\+ optimizer=SGD"),
        "another rate": ({"lr": 0.5}, r"-   lr=0.01\n\+   lr=0.5"),
        "a scheduler": ({"scheduler": cosine}, r"- scheduler=None\n\+ scheduler=CosineAnnealingLR"),
        "clipping": ({"clip_grad_norm": 1.0}, r"\+ clip_grad_norm=1.0"),
    }


@pytest.mark.parametrize("name", other_runs())
def test_a_checkpoint_of_another_run_is_refused_with_what_differs(name, good, place):
    change, message = other_runs()[name]
    place.write_bytes(good)
    refused(place, rf"(?s)run.pt belongs to another run.*{message}", **change)


class Silent(nn.Module):
    """Its repr does not tell its size."""

    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n, 1).double())

    def forward(self, x):
        return (x @ self.weight.T).mean(-1, keepdim=True)


def test_networks_that_print_alike_but_differ_in_shape_are_told_apart(place):
    place.unlink(missing_ok=True)
    run(place, MAML(Silent(2)))
    message = (
        r"(?s)- model.weight: torch.float64, \(2, 1\)\n\+ model.weight: torch.float64, \(3, 1\)"
    )
    refused(place, message, MAML(Silent(3)))


def test_what_may_change_between_parts_of_a_run_is_how_far_and_how_fast(good, place):
    place.write_bytes(good)
    learner = MAML(smooth_net(), mapping="loop", chunk_size=1)
    assert len(run(place, learner, n_iterations=5, checkpoint_every=2)) == 5


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint must be a file; .* is a folder"):
        run(tmp_path)


def test_a_missing_folder_is_noticed_before_any_training(tmp_path):
    learner = MAML(smooth_net())
    before = snapshot(learner)
    with pytest.raises(ValueError, match=r"the folder .*nowhere of run.pt does not exist"):
        run(tmp_path / "nowhere" / "run.pt", learner)
    assert same(snapshot(learner), before)


def test_a_file_that_the_system_withholds_is_not_called_damaged(place, monkeypatch):
    place.write_bytes(b"")

    def withheld(*_):
        raise PermissionError("not yours")

    monkeypatch.setattr(Path, "open", withheld)
    with pytest.raises(PermissionError):
        read_checkpoint(place, "")


def test_what_cannot_be_read_back_without_running_code_is_not_written(place):
    class Oddity(nn.Linear):
        def get_extra_state(self):
            return Evil(place)

        def set_extra_state(self, state):
            pass

    place.unlink(missing_ok=True)
    learner = MAML(nn.Sequential(Oddity(1, 1)).double())
    with pytest.raises(ValueError, match=r"could not be read back and was not replaced"):
        run(place, learner)
    assert not place.exists()


@pytest.mark.parametrize("moment", ["open", "write", "fsync", "replace"])
def test_an_error_at_any_moment_of_saving_leaves_the_old_file(moment, tmp_path, monkeypatch):
    file = tmp_path / "run.pt"
    write_atomically(file, {"n": 1})
    before = file.read_bytes()

    def fail(*_, **__):
        raise OSError("no space left on device")

    target = {
        "open": (Path, "open"),
        "write": (torch, "save"),
        "fsync": (os, "fsync"),
        "replace": (Path, "replace"),
    }[moment]
    with monkeypatch.context() as patch:
        patch.setattr(*target, fail)
        with pytest.raises(OSError, match="no space left"):
            write_atomically(file, {"n": 2})
    assert file.read_bytes() == before
    write_atomically(file, {"n": 2})
    assert torch.load(file) == {"n": 2}

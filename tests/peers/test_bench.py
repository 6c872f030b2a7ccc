"""The bench's machinery; what it measures is no matter of right or wrong."""

import pytest
import torch

from mlcode.peers import bench as command
from mlcode.peers.bench import EAGER, bench, check_same_losses, table
from mlcode.peers.maml import MAMLSetting
from mlcode.peers.timing import interleaved, quartiles, ratios
from mlcode.records import read_record


@pytest.fixture(scope="module")
def result():
    return bench(MAMLSetting(), contenders=EAGER, n_rounds=2, block_s=1e-4)


def test_all_contenders_compute_the_same_losses(result):
    assert result["losses_differ_by"] < 1e-5


def test_every_peer_is_timed_against_mlcode(result):
    assert result["ms"].keys() == EAGER.keys()
    assert result["times_faster"]["mlcode"].keys() == EAGER.keys() - {"mlcode"}
    for low, median, high in result["ms"].values():
        assert 0 < low <= median <= high


def test_a_contender_that_computes_something_else_is_caught_before_the_clock_starts():
    def slower_descent(model, setting):
        return EAGER["mlcode"](model, MAMLSetting(inner_lr=0.02))

    contenders = {"mlcode": EAGER["mlcode"], "higher": slower_descent}
    with pytest.raises(AssertionError, match="different losses"):
        bench(MAMLSetting(), contenders=contenders, n_rounds=1, block_s=1e-4)


def test_wrong_gradients_show_in_the_losses_that_follow():
    losses = {"a": iter([1.0, 0.9, 0.8]), "b": iter([1.0, 0.9, 0.81])}
    steps = {name: lambda it=it: torch.tensor(next(it)) for name, it in losses.items()}
    with pytest.raises(AssertionError, match="different losses"):
        check_same_losses(steps)


def test_the_table_names_contenders_with_versions(result):
    text = table(result)
    assert "times mlcode" in text
    assert "learn2learn 0.2.0" in text
    assert "25 tasks, 10 shots, 1 step, second order: median (middle half) of 2 rounds" in text
    assert text.splitlines()[-1].startswith(
        min(result["ms"], key=lambda name: result["ms"][name][1])
    )


def test_the_command_writes_both_settings_and_the_data_to_a_record(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "bench", lambda setting, **_: fake(setting))
    monkeypatch.setattr(command, "data_figures", lambda n_rounds: {"sampling": {"n": n_rounds}})
    threads = torch.get_num_threads()
    command.main(["--folder", str(tmp_path), "--threads", str(threads)])
    result = read_record("bench_cpu", folder=tmp_path)["result"]
    settings = [s["setting"] for s in result["settings"]]
    assert settings == ["1 step, second order", "5 steps, second order"]
    assert result["sampling"] == {"n": 30}


def fake(setting):
    return {
        "setting": str(setting),
        "n_tasks": 25,
        "n_shot": 10,
        "n_rounds": 1,
        "losses_differ_by": 0.0,
        "ms": {"mlcode": [1.0, 2.0, 3.0], "higher": [2.0, 4.0, 6.0]},
        "times_faster": {"mlcode": {"higher": [2.0, 2.0, 2.0]}},
    }


def test_rounds_interleave_and_rotate_the_contenders():
    calls = []
    work = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = interleaved(work, n_rounds=2, block_s=0.0)
    # Four calls to learn how long one takes, then rounds of one untimed and one timed call.
    assert "".join(calls) == "aaaabbbb" + "aabb" + "bbaa"
    assert [len(values) for values in seconds.values()] == [2, 2]


def test_ratios_are_taken_within_a_round():
    """The machine slowed down tenfold; the ratio did not."""
    assert ratios([2.0, 20.0, 40.0], [1.0, 10.0, 20.0]) == (2.0, 2.0, 2.0)
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 3.0, 4.0)

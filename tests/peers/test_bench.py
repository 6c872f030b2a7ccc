"""The bench's machinery; what it measures is no matter of right or wrong."""

import contextlib

import pytest
import torch
from torch import nn

from mlcode.memory import peak_bytes
from mlcode.peers import PEERS
from mlcode.peers import bench as command
from mlcode.peers.bench import bench, check_same, table, threads
from mlcode.peers.maml import MAMLSetting, by_higher, by_mlcode
from mlcode.peers.problems import smooth_problem
from mlcode.peers.timing import interleaved, quartiles, ratios
from mlcode.peers.workloads import COMPILED, WORKLOADS, Workload
from mlcode.records import environment, read_record, write_record
from mlcode.tasks import Tasks

SINUSOIDS = WORKLOADS[0]
TITLES = [f"{w.title}, {w.setting}" for w in WORKLOADS]


def first_tasks(workload: Workload, n_tasks: int) -> Workload:
    """The same with fewer tasks and without what has to be compiled."""
    eager = {n: prepare for n, prepare in workload.contenders.items() if n != COMPILED}

    def problem(seed):
        model, tasks = workload.problem(seed)
        return model, tasks.select(slice(0, n_tasks))

    return Workload(**(vars(workload) | {"contenders": eager, "problem": problem, "n_rounds": 2}))


@pytest.fixture(scope="module")
def result():
    return bench(first_tasks(SINUSOIDS, 25), block_s=1e-4)


@pytest.mark.parametrize("workload", WORKLOADS, ids=TITLES)
def test_all_contenders_of_every_row_compute_the_same(workload):
    small = first_tasks(workload, 2)
    model, tasks = small.problem(1)
    apart = check_same(small, model, tasks)
    assert apart.loss < 1e-8
    assert apart.gradient < 1e-8


def test_every_peer_is_timed_against_mlcode(result):
    names = first_tasks(SINUSOIDS, 1).contenders.keys()
    assert result["ms"].keys() == result["peak_mb"].keys() == names
    assert result["times_faster"]["mlcode"].keys() == names - {"mlcode"}
    for low, median, high in result["ms"].values():
        assert 0 < low <= median <= high


def test_a_contender_that_computes_something_else_is_caught_before_the_clock_starts():
    """It leaves out the second derivatives, which the first loss does not show."""

    def first_order(model, setting):
        return by_mlcode(model, MAMLSetting(setting.n_inner_steps, first_order=True))

    contenders = {"mlcode": by_mlcode, "higher": first_order}
    wrong = Workload("MAML", MAMLSetting(), smooth_problem, contenders)
    with pytest.raises(AssertionError, match="MAML: the contenders compute something different"):
        bench(wrong, n_rounds=1, block_s=1e-4)


def test_nan_is_caught_too():
    def broken(model, setting):
        honest = by_higher(model, setting)

        def meta_gradient(tasks):
            honest(tasks)
            return torch.tensor(float("nan"), dtype=torch.float64)

        return meta_gradient

    wrong = Workload("MAML", MAMLSetting(), smooth_problem, {"mlcode": by_mlcode, "x": broken})
    with pytest.raises(AssertionError, match="nan"):
        check_same(wrong, *smooth_problem(0))


def test_the_table_names_contenders_with_versions(result):
    text = table(result)
    assert "times mlcode" in text
    assert "learn2learn 0.2.0" in text
    assert text.startswith(
        "MAML on sinusoids, 1 step, second order: 25 tasks of 10 + 10 examples, 1 thread, "
        "median (middle half) of 2 rounds"
    )
    assert text.splitlines()[-1].startswith(
        min(result["ms"], key=lambda name: result["ms"][name][1])
    )


def test_every_algorithm_of_the_family_that_a_peer_has_is_timed_on_images_too():
    rows = {(w.title, getattr(w.setting, "first_order", False)) for w in WORKLOADS}
    setting, conv4 = "on MAML's Omniglot setting", "on the pooled Conv4"
    for order in (False, True):
        assert {(f"MAML {setting}", order), (f"MAML {conv4}", order)} <= rows
    titles = {title for title, _ in rows}
    assert {f"Meta-SGD {setting}", "Reptile on the strided ConvNet"} <= titles
    for workload in WORKLOADS:
        other = "learn2learn" if workload.title.startswith("Prototypical") else "higher"
        assert {"mlcode", other} <= workload.contenders.keys()


def test_the_prototypical_episode_is_the_published_one():
    (workload,) = [w for w in WORKLOADS if w.title.startswith("Prototypical")]
    model, tasks = workload.problem(0)
    assert (tasks.n_tasks, *tasks.support.x.shape[1:]) == (1, 60, 1, 28, 28)
    assert tasks.query.x.shape[1] == 5 * 60
    assert tasks.query.y.unique().tolist() == list(range(60))
    assert model(tasks.query.x[0, :2].double()).shape == (2, 64)


def test_mamls_omniglot_setting_is_the_published_one():
    (workload,) = [
        w for w in WORKLOADS if w.title.startswith("MAML on MAML") and not w.setting.first_order
    ]
    model, tasks = workload.problem(0)
    assert isinstance(tasks, Tasks)
    assert tasks.n_tasks == 32
    assert tasks.support.x.shape == tasks.query.x.shape == (32, 5, 1, 28, 28)
    assert tasks.support.y[0].tolist() == tasks.query.y[0].tolist() == [0, 1, 2, 3, 4]
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.out_channels, c.stride) for c in convolutions] == [(64, (2, 2))] * 4
    assert (workload.setting.n_inner_steps, workload.setting.inner_lr) == (1, 0.4)


def test_the_command_writes_all_rows_and_the_data_to_a_record(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "bench", lambda workload, **_: fake(workload))
    monkeypatch.setattr(command, "data_figures", lambda n_rounds: {"sampling": {"n": n_rounds}})
    command.main(["--folder", str(tmp_path)])
    result = read_record("bench_cpu", folder=tmp_path)["result"]
    assert [f"{s['title']}, {s['setting']}" for s in result["settings"]] == TITLES
    assert result["sampling"] == {"n": 30}
    assert capsys.readouterr().out.count("times mlcode") == len(TITLES)


def test_asked_for_some_rows_the_command_prints_those_and_writes_nothing(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(command, "bench", lambda workload, **_: fake(workload))
    command.main(["--folder", str(tmp_path), "--only", "reptile"])
    assert capsys.readouterr().out.count("Reptile on") == 2
    assert not list(tmp_path.iterdir())


def test_rows_measured_anew_take_the_place_of_the_old_ones(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "data_figures", lambda n_rounds: {"sampling": {"n": n_rounds}})
    monkeypatch.setattr(command, "bench", lambda workload, **_: fake(workload))
    command.main(["--folder", str(tmp_path)])
    monkeypatch.setattr(command, "bench", lambda workload, **_: fake(workload) | {"n_rounds": 7})
    command.main(["--folder", str(tmp_path), "--only", "reptile", "--replace"])
    result = read_record("bench_cpu", folder=tmp_path)["result"]
    assert [f"{s['title']}, {s['setting']}" for s in result["settings"]] == TITLES
    assert {s["title"] for s in result["settings"] if s["n_rounds"] == 7} == {
        "Reptile on sinusoids",
        "Reptile on the strided ConvNet",
    }
    assert result["sampling"] == {"n": 30}


def test_rows_of_another_machine_are_not_put_beside_one_another(monkeypatch, tmp_path):
    made_in = environment(*sorted(PEERS)) | {"processor": "another"}
    write_record("bench_cpu", {"settings": []}, made_in=made_in, folder=tmp_path)
    monkeypatch.setattr(command, "bench", lambda workload, **_: fake(workload))
    with pytest.raises(ValueError, match=r"made elsewhere.*'processor': .'another'"):
        command.main(["--folder", str(tmp_path), "--only", "reptile", "--replace"])


def fake(workload):
    return {
        "title": workload.title,
        "setting": str(workload.setting),
        "n_tasks": 25,
        "n_support": 10,
        "n_query": 10,
        "n_rounds": 1,
        "threads": 2,
        "losses_differ_by": 0.0,
        "gradients_differ_by": 0.0,
        "ms": {"mlcode": [1.0, 2.0, 3.0], "higher": [2.0, 4.0, 6.0]},
        "peak_mb": {"mlcode": 1.0, "higher": 0.5},
        "times_faster": {"mlcode": {"higher": [2.0, 2.0, 2.0]}},
    }


def test_the_peak_is_what_was_alive_at_once():
    def work():
        a = torch.zeros(1000, 1000)
        b = a + 1
        del a
        c = b * 2
        del b
        return c

    assert peak_bytes(work) == pytest.approx(8e6, rel=1e-3)


def test_the_peak_counts_what_the_graph_keeps():
    def work(depth):
        x = torch.zeros(1000, 100, requires_grad=True)
        y = x
        for _ in range(depth):
            y = y.exp()
        y.sum().backward()

    assert peak_bytes(lambda: work(9)) - peak_bytes(lambda: work(5)) == pytest.approx(
        1.6e6, rel=0.1
    )


def test_the_number_of_threads_is_put_back():
    before = torch.get_num_threads()
    with contextlib.suppress(KeyError), threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before


def test_rounds_interleave_and_rotate_the_contenders():
    calls = []
    work = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = interleaved(work, n_rounds=2, block_s=0.0)
    # Two calls to learn that one is long enough, then rounds of one untimed and one timed call.
    assert "".join(calls) == "aabb" + "aabb" + "bbaa"
    assert [len(values) for values in seconds.values()] == [2, 2]


def test_ratios_are_taken_within_a_round():
    """The machine slowed down tenfold; the ratio did not."""
    assert ratios([2.0, 20.0, 40.0], [1.0, 10.0, 20.0]) == (2.0, 2.0, 2.0)
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 3.0, 4.0)

"""The ledger, on the CPU, in every test run."""

import pytest
import torch

from mlcode.peers import cross_check as command
from mlcode.peers.comparison import COMPARISONS, Comparison, sinusoid_problem
from mlcode.peers.cross_check import cross_check, full_precision, ledger
from mlcode.peers.report import TOLERANCES, Report, Row, ledger_table
from mlcode.records import environment, read_record, write_record
from tests.helpers import random_tasks, same, smooth_net, snapshot


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    command.main(["--folder", str(folder)])
    return read_record("cross_checks_cpu", folder=folder)


def orders(*numbers, end=""):
    """The names of the settings with these numbers of steps, in both orders."""
    return [f"{n}, {order} order{end}" for n in numbers for order in ("first", "second")]


ALL_THREE, RULES = ("learn2learn", "higher", "torchopt"), ("higher", "torchopt")
SLOPES = ("finite differences",)
# The algorithm, its settings, and against whom it takes its step in float64.
COVERED = [
    ("MAML", orders("1 step", "5 steps"), ALL_THREE + SLOPES),
    ("MAML, strided ConvNet", orders("1 step", "3 steps"), ALL_THREE + SLOPES),
    ("MAML, pooling ConvNet", orders("1 step", "3 steps"), ALL_THREE + SLOPES),
    ("MAML, momentum within", orders("5 steps"), RULES + SLOPES),
    ("MAML, Adam within", orders("5 steps"), RULES + SLOPES),
    (
        "MAML, checkpointed",
        orders("9 steps", end=", every 3 kept"),
        ("learn2learn", "the plain unroll"),
    ),
    ("Implicit MAML", ["150 steps, 30 conjugate steps"], ("torchopt", *SLOPES)),
    (
        "Implicit MAML, linear model",
        ["150 steps, 30 conjugate steps"],
        ("torchopt", "the exact solution"),
    ),
    ("Reptile", ["1 step", "5 steps"], ("learn2learn", "higher", "by hand")),
    ("Reptile, Adam within", ["5 steps"], ("higher", "by hand")),
    ("Meta-SGD", orders("1 step", "3 steps"), ("learn2learn", "higher", *SLOPES)),
    (
        "Prototypical network",
        ["squared Euclidean distance"],
        ("learn2learn", "torch itself", *SLOPES),
    ),
    ("Prototypical network", ["cosine distance"], ("torch itself", *SLOPES)),
    ("Matching network", ["attention"], ("torch itself", *SLOPES)),
    (
        "Siamese network",
        ["contrastive loss", "contrastive loss, unsquared", "triplet loss"],
        ("torch itself", *SLOPES),
    ),
]


def test_the_ledger_covers_every_algorithm_setting_dtype_and_peer(record):
    found = {
        (r["algorithm"], r["setting"], r["dtype"], r["peer"]) for r in record["result"]["rows"]
    }
    expected = {
        (algorithm, setting, "float64", peer)
        for algorithm, settings, peers in COVERED
        for setting in settings
        for peer in peers
    }
    expected |= {("MAML", s, "float32", p) for s in COVERED[0][1] for p in ALL_THREE}
    assert found == expected


def test_the_ledger_is_within_tolerance(record):
    for row in record["result"]["rows"]:
        limit = TOLERANCES.get(row["peer"], TOLERANCES[row["dtype"]])
        values = [row[kind] for kind in ("loss", "gradient", "parameters")]
        assert max(v for v in values if v is not None) <= limit


def test_the_ledger_names_the_versions_that_it_compared(record):
    made_in = record["environment"]
    assert made_in["device"] == "cpu"
    assert made_in["learn2learn"] == "0.2.0"
    assert made_in["higher"] == "0.2.1"


def test_a_peer_that_computes_something_else_fails_the_check(monkeypatch):
    """The peer here takes one inner step more than it is asked for."""
    honest = COMPARISONS["maml"]

    def one_more(model, setting):
        settings = honest.settings(n_inner_steps=setting.n_inner_steps + 1)
        return honest.peers["higher"](model, settings)

    monkeypatch.setitem(
        COMPARISONS, "maml", Comparison(**(vars(honest) | {"peers": {"higher": one_more}}))
    )
    report = cross_check("maml")
    assert report.worst > 1e-3
    assert report.finite_differences < 1e-6
    with pytest.raises(AssertionError, match=r"higher: .* is above the tolerance of 1e-10"):
        report.check()
    with pytest.raises(AssertionError, match="higher"):
        ledger()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e-9])
def test_no_difference_above_tolerance_passes(value):
    row = Row("higher", gradient=value, loss=0.0, parameters=0.0)
    with pytest.raises(AssertionError):
        Report("MAML", "1 step", "float64", "cpu", (row,)).check()


def test_any_model_and_tasks_can_be_compared_and_stay_as_they_were():
    model, tasks = smooth_net(2).float(), random_tasks(2, 3, 3, (2,), (1,))
    before = snapshot(model)
    report = cross_check("maml", model=model, tasks=tasks, n_inner_steps=2, inner_lr=0.1)
    report.check()
    assert len(report.rows) == 4
    assert same(snapshot(model), before)


def test_a_report_reads_as_a_table():
    rows = (
        Row("learn2learn", gradient=1.9e-15, loss=3.3e-16, parameters=0.0),
        Row("finite differences", gradient=6.1e-9),
    )
    report = Report("MAML", "5 steps, second order", "float64", "cpu", rows)
    assert str(report).splitlines() == [
        "MAML, 5 steps, second order, float64, cpu",
        "                                     loss           meta-gradient  parameters",
        "mlcode  against  learn2learn 0.2.0   3.3e-16        1.9e-15        0",
        "mlcode  against  finite differences                 6.1e-09",
    ]
    assert report.worst == 1.9e-15
    assert report.finite_differences == 6.1e-9


def test_absent_peers_are_said_and_answered_for_by_the_record(monkeypatch, record, tmp_path):
    monkeypatch.setattr(command, "available", lambda name: name == "torchopt")
    monkeypatch.setattr(command, "read_record", lambda name: record)
    report = cross_check("maml", n_inner_steps=5)
    by_peer = {row.peer: row for row in report.rows}
    assert report.absent == ("learn2learn", "higher")
    assert by_peer["higher"].recorded == record["environment"]["date"]
    assert by_peer["torchopt"].recorded is None
    assert "Not installed here: learn2learn, higher." in str(report)
    assert "* Recorded on" in str(report)
    report.check()


def test_a_setting_that_was_not_recorded_is_not_answered_for(monkeypatch, record):
    monkeypatch.setattr(command, "available", lambda name: False)
    monkeypatch.setattr(command, "read_record", lambda name: record)
    assert [row.peer for row in cross_check("maml", inner_lr=0.1).rows] == ["finite differences"]


def test_a_ledger_with_gaps_is_refused(monkeypatch):
    monkeypatch.setattr(command, "available", lambda name: name != "higher")
    with pytest.raises(ImportError, match="the ledger needs higher"):
        ledger()


def test_the_ledger_is_one_table_over_devices_on_a_page_and_in_a_notebook(record):
    page = ledger_table(record, record)
    lines = page.splitlines()
    assert lines[0].startswith("| step | arithmetic | mlcode against | loss")
    n_lines = sum(line.startswith("| ") for line in lines) - 2  # the head and the rule under it
    assert n_lines == 2 * len(record["result"]["rows"])
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert "learn2learn 0.2.0" in ledger_table(record, style="text")
    assert page.endswith("threads.")
    with pytest.raises(ValueError, match="'markdown', 'text'"):
        ledger_table(record, style="html")


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"algorithm": "mam"}, ValueError, "Did you mean 'maml'"),
        ({"algorithm": "maml", "dtype": torch.float16}, ValueError, "'float64', 'float32'"),
        ({"algorithm": "maml", "inner_steps": 3}, TypeError, "inner_steps"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        cross_check(**arguments)


def test_precision_is_put_back_where_it_was(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    torch.set_float32_matmul_precision("high")
    try:
        with full_precision():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")


def test_the_ledgers_problem_depends_on_its_seed_alone():
    state = torch.get_rng_state()
    (first, tasks), (second, again), (other, _) = map(sinusoid_problem, (1, 1, 2))
    assert same(snapshot(first), snapshot(second))
    assert same(tasks, again)
    assert not same(snapshot(first), snapshot(other))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_committed_ledger_is_of_todays_shape(record, tmp_path):
    """Its numbers may differ from machine to machine; its rows may not."""
    committed = read_record("cross_checks_cpu")
    key = [(r["algorithm"], r["setting"], r["dtype"], r["peer"]) for r in record["result"]["rows"]]
    assert key == [
        (r["algorithm"], r["setting"], r["dtype"], r["peer"]) for r in committed["result"]["rows"]
    ]
    assert committed["environment"].keys() == record["environment"].keys()


def test_a_record_of_a_card_carries_its_name(monkeypatch, record, tmp_path):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some Card 9000")
    made_in = environment("higher", device="cuda")
    write_record("cross_checks_cuda", record["result"], made_in=made_in, folder=tmp_path)
    table = ledger_table(read_record("cross_checks_cuda", folder=tmp_path))
    assert "float64, Some Card 9000 |" in table
    assert "on Some Card 9000 with torch" in table

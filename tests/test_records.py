import json
import re

import pytest

from mlcode.records import environment, read_record, record_names, write_record


def test_what_is_written_is_what_is_read(tmp_path):
    result = {"rows": [{"α": 0.1, "n": 3, "name": None}]}
    made_in = environment("numpy")
    path = write_record("some_result", result, made_in=made_in, folder=tmp_path)
    assert path == tmp_path / "some_result.json"
    assert read_record("some_result", folder=tmp_path) == {
        "environment": made_in,
        "result": result,
    }


def test_a_record_is_a_file_that_diffs_well(tmp_path):
    path = write_record("r", {"b": 1, "a": "θ"}, made_in={"torch": "2"}, folder=tmp_path)
    assert path.read_text(encoding="utf-8") == (
        '{\n  "environment": {\n    "torch": "2"\n  },\n'
        '  "result": {\n    "a": "θ",\n    "b": 1\n  }\n}\n'
    )


@pytest.mark.parametrize(
    ("bad", "error"), [({"x": float("nan")}, ValueError), ({"x": object()}, TypeError)]
)
def test_a_result_that_json_refuses_leaves_the_old_record_and_nothing_else(tmp_path, bad, error):
    write_record("r", {"x": 1}, folder=tmp_path)
    with pytest.raises(error):
        write_record("r", bad, folder=tmp_path)
    assert read_record("r", folder=tmp_path)["result"] == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_a_write_that_fails_half_way_leaves_the_old_record_and_nothing_else(tmp_path, monkeypatch):
    write_record("r", {"x": 1}, folder=tmp_path)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("mlcode.records.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_record("r", {"x": 2}, folder=tmp_path)
    assert read_record("r", folder=tmp_path)["result"] == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_an_unknown_record_is_answered_with_those_there_are(tmp_path):
    write_record("bench_cpu", {}, folder=tmp_path)
    write_record("cross_checks_cpu", {}, folder=tmp_path)
    with pytest.raises(ValueError, match=r"'bench_cpu', 'cross_checks_cpu'.*mean 'bench_cpu'"):
        read_record("bench_cp", folder=tmp_path)


def test_no_records_at_all_is_said(tmp_path):
    with pytest.raises(ValueError, match="no record 'x'"):
        read_record("x", folder=tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"result": {}}'])
def test_a_damaged_record_is_refused_by_name(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError, match="'r'"):
        read_record("r", folder=tmp_path)


@pytest.mark.parametrize("name", ["../r", "a/b", "R", "", "r.json"])
def test_a_record_cannot_be_written_outside_its_folder(tmp_path, name):
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        write_record(name, {}, folder=tmp_path)


def test_a_wheel_reads_the_records_it_carries_and_writes_none(tmp_path, monkeypatch):
    write_record("r", {"x": 1}, folder=tmp_path / "_records")
    monkeypatch.setattr("mlcode.records.CHECKOUT", tmp_path / "site-packages")
    monkeypatch.setattr("mlcode.records.BUNDLED", tmp_path / "_records")
    assert record_names() == ["r"]
    assert read_record("r")["result"] == {"x": 1}
    with pytest.raises(ValueError, match="not in a checkout"):
        write_record("r", {})


def test_the_environment_says_what_a_number_depends_on_and_not_whose_machine_it_was():
    found = environment("numpy", "no-such-library")
    assert found["device"] == "cpu"
    assert found["no-such-library"] is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"])
    assert {"mlcode", "numpy", "platform", "processor", "python", "threads", "torch"} <= set(found)
    assert not re.search(r"/home|/root|/work|/tmp", json.dumps(found))

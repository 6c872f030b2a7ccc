import hashlib
import random
import socket

import pytest

from mlcode.sources import download as module
from mlcode.sources.download import DownloadError, download
from tests.server import Answer, serving

FILE = random.Random(0).randbytes(300_000)
MD5 = hashlib.md5(FILE).hexdigest()
PAUSES = module.PAUSES


@pytest.fixture(autouse=True)
def _quick(monkeypatch, own_cache):
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0, 0.0))


def fetch(server, md5=MD5):
    return download(f"{server.address}/file.zip", md5=md5)


def served(*answers):
    return serving({"/file.zip": FILE}, *answers)


def test_a_whole_file_comes_in_one_request_and_prints_nothing_where_nobody_watches(capfd):
    with served() as server:
        assert fetch(server) == FILE
        assert server.asked == [None]
    assert capfd.readouterr() == ("", "")


def test_a_server_that_stops_half_way_is_asked_for_the_rest():
    with served(Answer(stop_after=100_000), Answer(ranges=True)) as server:
        assert fetch(server) == FILE
        assert server.asked == [None, "bytes=100000-"]


def test_a_server_that_stops_half_way_and_knows_no_rest_is_asked_again():
    with served(Answer(stop_after=100_000), Answer(stop_after=200_000), Answer()) as server:
        assert fetch(server) == FILE
        assert server.asked == [None, "bytes=100000-", "bytes=200000-"]


def test_a_server_that_stops_three_times_half_way_still_gives_the_file():
    cut = Answer(stop_after=80_000, ranges=True)
    with served(cut, cut, cut, Answer(ranges=True)) as server:
        assert fetch(server) == FILE
        assert server.asked == [None, "bytes=80000-", "bytes=160000-", "bytes=240000-"]


def test_a_half_file_of_unknown_length_is_not_taken_for_a_whole_one():
    with served(Answer(stop_after=100_000, length=False), Answer(length=False)) as server:
        assert fetch(server) == FILE
        assert server.asked == [None, None]


def test_a_file_that_changed_between_two_halves_is_fetched_anew():
    changed = Answer(ranges=True, content=bytes(300_000))
    with served(Answer(stop_after=100_000), changed, Answer(ranges=True)) as server:
        assert fetch(server) == FILE
        assert server.asked == [None, "bytes=100000-", None]


def test_a_server_that_always_stops_half_way_is_given_up_after_four_attempts():
    with served(Answer(stop_after=100_000)) as server:
        with pytest.raises(DownloadError, match="the server stopped after 100000 of 300000 bytes"):
            fetch(server)
        assert len(server.asked) == 4


def test_a_wrong_file_is_never_returned():
    with served(Answer(content=FILE[:-1] + b"?")) as server:
        with pytest.raises(DownloadError, match=f"expected a file with MD5 {MD5}, got 300000 byte"):
            fetch(server)
        assert len(server.asked) == 4


def test_what_is_not_there_is_not_asked_for_again():
    with served(Answer(status=404)) as server:
        with pytest.raises(DownloadError, match="the server answered 404 Not Found"):
            fetch(server)
        assert len(server.asked) == 1


def test_a_server_that_is_busy_is_asked_again():
    with served(Answer(status=503), Answer(status=429), Answer()) as server:
        assert fetch(server) == FILE
        assert len(server.asked) == 3


def test_a_rest_that_the_server_does_not_have_begins_anew():
    with served(Answer(stop_after=100_000), Answer(status=416), Answer()) as server:
        assert fetch(server) == FILE
        assert server.asked == [None, "bytes=100000-", None]


def test_a_silent_server_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    with served(Answer(silence=1.0)) as server, pytest.raises(DownloadError, match="timed out"):
        fetch(server)


def test_without_a_server_the_error_says_so():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file.zip"
        with pytest.raises(DownloadError, match=rf"{url} could not be downloaded: .*refused"):
            download(url, md5=MD5)


def test_a_further_attempt_waits_longer_each_time(monkeypatch):
    slept = []
    monkeypatch.setattr(module, "PAUSES", PAUSES)
    monkeypatch.setattr(module.time, "sleep", slept.append)
    with pytest.raises(DownloadError):
        download("http://127.0.0.1:1/file.zip", md5=MD5)
    assert slept == [0.0, 1.0, 2.0, 4.0]

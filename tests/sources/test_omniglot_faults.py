"""Omniglot damaged, absent, or on its way when something breaks."""

import hashlib
import random
import shutil
import socket
import time

import pytest
import torch

from mlcode import Omniglot
from mlcode.sources import download
from mlcode.sources import omniglot as module
from tests import killed_writes
from tests.server import Answer, serving

pytestmark = pytest.mark.usefixtures("own_cache")

KILLS = 8


@pytest.mark.parametrize("kept", [0, 1000, 5_000_000])
def test_a_truncated_archive_in_mlcode_data_is_an_error_that_names_the_file(
    data, tmp_path, monkeypatch, kept
):
    name = "images_evaluation.zip"
    (tmp_path / "omniglot").mkdir()
    whole = (data / "omniglot" / name).read_bytes()
    (tmp_path / "omniglot" / name).write_bytes(whole[:kept])
    monkeypatch.setenv("MLCODE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=rf"{name}: the archive is damaged .* Replace the file"):
        Omniglot("test")


def test_mlcode_data_that_is_no_folder_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("MLCODE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="MLCODE_DATA must name a folder that exists; it is"):
        Omniglot("test")


def test_offline_without_a_copy_the_error_says_what_to_do_and_names_glyphs(monkeypatch, own_cache):
    monkeypatch.setattr(download, "PAUSES", ())
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        monkeypatch.setattr(module, "ADDRESS", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(ConnectionError) as caught:
            Omniglot("train")
    for advice in (
        "images_background.zip could not be downloaded: ",
        "set MLCODE_DATA to a folder",
        "omniglot/images_evaluation.zip",
        "Glyphs('train')",
    ):
        assert advice in str(caught.value)
    assert not own_cache.exists()


@pytest.fixture
def evaluation(data, monkeypatch):
    """The evaluation archive as a server has it, with the checksum that is expected of it."""
    archive = (data / "omniglot" / "images_evaluation.zip").read_bytes()
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setitem(module.MD5, "evaluation", hashlib.md5(archive).hexdigest())
    return {"/images_evaluation.zip": archive}


def test_downloaded_once_from_a_server_that_stops_half_way_it_is_the_same(
    evaluation, omniglot_test, monkeypatch, own_cache
):
    with serving(evaluation, Answer(stop_after=3_000_000), Answer(ranges=True)) as server:
        monkeypatch.setattr(module, "ADDRESS", server.address)
        assert torch.equal(Omniglot("test").images, omniglot_test)
        assert server.asked == [None, "bytes=3000000-"]
    Omniglot("evaluation")  # the server is gone
    (own_cache / "omniglot-evaluation-nearest-1").write_bytes(b"damaged")
    assert torch.equal(Omniglot("test").images, omniglot_test)  # from the archive that was kept


def test_a_wrong_checksum_leaves_nothing_in_the_cache(evaluation, monkeypatch, own_cache):
    wrong = bytes(1000)
    with serving(evaluation, Answer(content=wrong)) as server:
        monkeypatch.setattr(module, "ADDRESS", server.address)
        with pytest.raises(ConnectionError, match=r"expected a file with MD5 .*, got 1000 bytes"):
            Omniglot("test")
    assert not own_cache.exists()


@pytest.mark.parametrize("disk", ["small_disk", "read_only_disk"])
def test_a_disk_that_takes_nothing_costs_time_and_a_warning_not_the_data(
    evaluation, omniglot_test, monkeypatch, request, disk
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(request.getfixturevalue(disk)))
    with serving(evaluation) as server:
        monkeypatch.setattr(module, "ADDRESS", server.address)
        with pytest.warns(UserWarning, match="could not be kept in") as warned:
            assert torch.equal(Omniglot("test").images, omniglot_test)
    assert len(warned) == 2  # the archive, and what was made of it


@pytest.fixture
def omniglot_test(omniglot):
    """What the test split must be."""
    return omniglot["test"].images


@pytest.mark.timeout(120)
def test_killed_at_any_moment_of_download_or_caching_it_ends_in_the_right_data(
    evaluation, omniglot, monkeypatch, fresh_process, tmp_path
):
    rng, base, n_whole = random.Random(4), tmp_path / "cache", set()
    images = omniglot["evaluation"].images
    right = {*evaluation.values(), images.numpy().tobytes()}
    with serving(evaluation) as server:
        monkeypatch.setattr(module, "ADDRESS", server.address)
        for k in range(KILLS):
            # In turn a download of a second or more, killed before its end, and one of an instant,
            # after which the drawings are read and kept.
            slow = k % 2 == 0
            server.answers = [Answer(pause=0.012 if slow else 0.0)]
            shutil.rmtree(base, ignore_errors=True)
            process = fresh_process(killed_writes.load_from, server.address, dict(module.MD5), base)
            time.sleep(rng.uniform(0.05, 1.0) if slow else rng.uniform(0.3, 2.0))
            process.kill()
            process.join()
            whole = [file for file in base.glob("*/*") if not file.name.startswith(".")]
            n_whole.add(len(whole))
            assert {file.read_bytes()[:-32] for file in whole} <= right
        server.answers = [Answer()]
        assert torch.equal(Omniglot("evaluation").images, images)
    assert 0 in n_whole  # it was killed during the download
    assert 1 in n_whole  # and between download and cache

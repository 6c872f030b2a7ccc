import hashlib
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis.strategies import binary, integers

from mlcode.sources.cache import cache_folder, cached_bytes, write_file
from tests import killed_writes

pytestmark = pytest.mark.usefixtures("own_cache")
KILLS = 25


def refuse():
    raise AssertionError("it was made again")


@pytest.fixture
def kept(own_cache):
    """A file that was cached, and what it holds."""
    made = random.Random(0).randbytes(1000)
    cached_bytes("file", lambda: made)
    return own_cache / "file", made


def test_what_was_made_once_is_not_made_again(kept):
    assert cached_bytes("file", refuse) == kept[1]


def test_the_cache_is_where_the_desktop_standard_says(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache" / "learning-to-learn"
    for ignored in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache_folder() == Path.home() / ".cache" / "learning-to-learn"


def test_without_a_home_the_error_names_the_variable_to_set(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME")
    with pytest.raises(ValueError, match=r"there is no home folder .* Set XDG_CACHE_HOME"):
        cache_folder()


def test_a_file_truncated_anywhere_is_made_again(kept):
    path, made = kept
    whole = path.read_bytes()
    for length in (0, 1, 31, 32, 33, 500, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert cached_bytes("file", lambda: b"again") == b"again"
        path.write_bytes(whole)
        assert cached_bytes("file", refuse) == made


@given(place=integers(0, 1031), bit=integers(0, 7))
def test_a_flipped_bit_is_noticed_and_the_file_made_again(tmp_path_factory, place, bit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("flipped")))
        made = random.Random(0).randbytes(1000)
        cached_bytes("file", lambda: made)
        path = cache_folder() / "file"
        damaged = bytearray(path.read_bytes())
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        assert cached_bytes("file", lambda: b"again") == b"again"
        assert cached_bytes("file", refuse) == b"again"


@given(made=binary(max_size=200))
def test_whatever_was_made_comes_back(tmp_path_factory, made):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("any")))
        assert cached_bytes("file", lambda: made) == cached_bytes("file", refuse) == made


def test_a_folder_in_the_files_place_costs_only_time(own_cache):
    (own_cache / "file").mkdir(parents=True)
    with pytest.warns(UserWarning, match="file could not be kept"):
        assert cached_bytes("file", lambda: b"made") == b"made"


def test_a_read_only_cache_is_a_warning_that_says_what_to_do(read_only_disk, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(read_only_disk))
    with pytest.warns(UserWarning, match=r"\(Read-only file system\) .* set XDG_CACHE_HOME"):
        assert cached_bytes("file", lambda: b"made") == b"made"


def test_a_full_disk_is_a_warning_and_leaves_nothing_behind(small_disk, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk))
    made = bytes(100_000)
    with pytest.warns(UserWarning, match=r"\(No space left on device\) .* Make room there"):
        assert cached_bytes("file", lambda: made) == made
    assert list(small_disk.rglob("*file*")) == []
    assert cached_bytes("small", lambda: b"fits") == cached_bytes("small", refuse) == b"fits"


def test_a_part_that_cannot_be_had_leaves_the_old_file(tmp_path):
    def parts():
        yield b"new"
        raise KeyboardInterrupt

    path = tmp_path / "file"
    write_file(path, [b"o", b"ld"])
    with pytest.raises(KeyboardInterrupt):
        write_file(path, parts())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_many_at_once_all_get_a_whole_file(own_cache):
    made = [bytes([number]) * 300_000 for number in range(16)]

    def get(number):
        got = bytes(cached_bytes("file", lambda: made[number]))
        (own_cache / "file").unlink(missing_ok=True)
        return got

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(get, range(16))) <= set(made)
    assert list(own_cache.glob(".*")) == []


def test_what_killed_processes_left_is_removed_but_not_what_others_write_now(tmp_path):
    left, current = (tmp_path / f".file.{name}.partial" for name in ("left", "current"))
    for partial in (left, current):
        partial.write_bytes(b"half")
    an_hour_ago = time.time() - 3601
    os.utime(left, (an_hour_ago, an_hour_ago))
    write_file(tmp_path / "file", [b"whole"])
    assert sorted(os.listdir(tmp_path)) == [".file.current.partial", "file"]


@pytest.mark.timeout(120)
def test_killed_while_writing_at_any_moment_it_leaves_a_whole_file_or_none(fresh_process, tmp_path):
    rng, path, found = random.Random(2), tmp_path / "learning-to-learn" / "file", set()
    for _ in range(KILLS):
        process = fresh_process(killed_writes.write_for_ever, tmp_path)
        while not list(path.parent.glob("*")) and process.is_alive():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        assert process.is_alive()
        process.kill()
        process.join()
        found.add("half" if list(path.parent.glob(".file.*")) else "none")
        if path.exists():
            whole = path.read_bytes()
            assert hashlib.sha256(whole[:-32]).digest() == whole[-32:]
            assert whole[:-32] == killed_writes.content(whole[0])
        for file in path.parent.glob("[.f]*"):
            file.unlink()
    assert "half" in found  # it was killed in the middle of a file, too

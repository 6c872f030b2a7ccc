"""Omniglot and Glyphs loaded once, and folders that refuse to be written to."""

import multiprocessing
import os
import subprocess
import time
from multiprocessing import forkserver

import pytest

from mlcode import Glyphs, Omniglot
from mlcode.sources.omniglot_splits import SPLITS
from tests.helpers import REPOSITORY


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache instead of the reader's own, no data at hand, and no proxy."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MLCODE_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache" / "learning-to-learn"


@pytest.fixture(scope="session")
def glyphs(tmp_path_factory):
    """Each split of the glyphs, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("glyphs")))
        return {split: Glyphs(split) for split in ("train", "validation", "test")}


@pytest.fixture(scope="session")
def omniglot_and_seconds(data, tmp_path_factory):
    """Each split of the real data, and the time it took from the archives and from the cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("omniglot")))
        patch.setenv("MLCODE_DATA", str(data))
        clock = [time.process_time()]  # of this process: others may be busy
        for _ in ("archives", "cache"):
            source = {part: Omniglot(part) for part in ("background", "evaluation")}
            clock.append(time.process_time())
        source |= {split: Omniglot(split) for split in SPLITS[:4]}
    return source, (clock[1] - clock[0], clock[2] - clock[1])


@pytest.fixture(scope="session")
def omniglot(omniglot_and_seconds):
    """Each split of the real data, loaded once."""
    return omniglot_and_seconds[0]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB, a real one."""
    folder = tmp_path / "small"
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def read_only_disk(small_disk):
    """A file system that allows no writing, not even to root."""
    _mount("-o", "remount,ro", small_disk)
    return small_disk


def _mount(*arguments):
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    mounted = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")


@pytest.fixture(scope="session")
def fresh_process():
    """Starts a function in a real process, forked from one that has imported the package."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        pytest.skip("Windows has no forkserver")
    context = multiprocessing.get_context("forkserver")
    # The server is one for all tests: what it loads first serves `test_training_killed` as well.
    context.set_forkserver_preload(["tests.killed_run", "tests.killed_writes"])
    with pytest.MonkeyPatch.context() as patch:  # older Pythons do not hand sys.path on
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        forkserver.ensure_running()

    def start(function, *arguments):
        process = context.Process(target=function, args=arguments)
        process.start()
        return process

    return start

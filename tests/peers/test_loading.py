import os

from mlcode.peers import loading
from mlcode.peers.loading import bench_loading, loading_text
from mlcode.sources.characters import Characters
from tests.sources.test_characters import blank


def small(split):
    """A source that keeps a file in the cache, as the others do."""
    path = os.path.join(os.environ["XDG_CACHE_HOME"], split)
    with open(path, "a") as file:
        file.write("read")
    return Characters(blank(2, 5, 2, 2), ("A/1", "A/2"), split)


def test_without_the_archives_omniglot_is_skipped_with_a_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "Glyphs", small)
    for data in ("", str(tmp_path)):
        monkeypatch.setenv("MLCODE_DATA", data)
        result = bench_loading(n_rounds=1)
        assert result["omniglot"] == {"skipped": loading.NO_ARCHIVES}
        assert "not measured. Omniglot's archives are not at hand" in loading_text(result)


def test_the_readers_own_cache_is_left_alone_and_each_round_begins_with_an_empty_one(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MLCODE_DATA", raising=False)
    monkeypatch.setattr(loading, "Glyphs", small)
    result = bench_loading(n_rounds=3)["glyphs"]
    assert list(tmp_path.iterdir()) == []
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path)
    assert (result["n_images"], result["n_rounds"]) == (30, 3)


def test_all_of_omniglot_is_read_from_archives_at_hand(omniglot_at_hand):
    result = loading._seconds(loading.Omniglot, loading.ARCHIVES, 1)
    assert result["n_images"] == 32_460
    assert 0 < result["s_from_cache"][1] < result["s_made"][1]

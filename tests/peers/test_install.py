import subprocess
from itertools import chain

import pytest

from mlcode.peers import install


def test_nothing_is_done_where_all_is_installed(monkeypatch, capsys):
    monkeypatch.setattr(install.subprocess, "run", None)
    install.main()
    assert capsys.readouterr().out == ("Ready: higher 0.2.1, learn2learn 0.2.0, TorchOpt 0.7.3\n")


def pinned_words():
    return list(chain(*install.commands(torch_version="2.13.0", has_torchvision=True)))


@pytest.mark.parametrize(
    ("torch_version", "torchvision"), [("2.13.0+cpu", "0.28.*"), ("2.5.1+cu124", "0.20.*")]
)
def test_a_missing_torchvision_is_the_one_of_this_torch_and_brings_no_other(
    torch_version, torchvision
):
    found = install.commands(torch_version=torch_version, has_torchvision=False)
    [command] = [c for c in found if any("torchvision" in word for word in c)]
    assert f"torchvision=={torchvision}" in command
    assert "--no-deps" in command


def test_a_torchvision_that_is_there_stays_and_torch_always_does():
    words = pinned_words()
    assert not [word for word in words if word.startswith(("torchvision", "torch=", "mlcode"))]


def test_every_peer_is_pinned():
    words = pinned_words()
    assert {"learn2learn==0.2.0", "higher==0.2.1", "torchopt==0.7.3"} <= set(words)


def test_when_pip_fails_its_words_are_passed_on(monkeypatch):
    def fail(command, **_):
        return subprocess.CompletedProcess(command, 1, stdout="", stderr="No network")

    monkeypatch.setattr(install, "_installed", lambda: False)
    monkeypatch.setattr(install.subprocess, "run", fail)
    with pytest.raises(SystemExit, match=r"(?s)failed:.*No network"):
        install.main()

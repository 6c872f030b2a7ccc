import pytest

import mlcode.peers
from mlcode.peers import available, higher, learn2learn, peer_name, torchopt
from tests.helpers import python

# Python without the named modules, as on a machine where they are not installed.
WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {names!r}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Absent())
"""


def without(*names):
    return WITHOUT.format(names=set(names))


def test_the_peers_are_the_real_ones_and_work():
    assert learn2learn.algorithms.MAML
    assert higher.innerloop_ctx
    assert torchopt.MetaSGD
    assert all(map(available, mlcode.peers.PEERS))


def test_importing_them_is_silent_even_where_warnings_are_errors():
    code = "from mlcode.peers import higher, learn2learn, torchopt; print(learn2learn.__version__)"
    done = python("-W", "error", "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0.2.0\n", "")


def test_importing_mlcode_imports_no_peer():
    code = (
        "import sys, mlcode, mlcode.peers, mlcode.peers.cross_check, mlcode.peers.install\n"
        "print({'higher', 'learn2learn', 'torchopt', 'torchvision', 'gym'} & set(sys.modules))"
    )
    assert python("-c", code).stdout == "set()\n"


def test_an_absent_peer_is_named_with_the_line_that_installs_it():
    code = (
        "from mlcode.peers import available, torchopt\n"
        "print(available('learn2learn'), available('higher'), torchopt.__name__)\n"
        "from mlcode.peers import higher"
    )
    done = python("-c", without("higher", "gym") + code)
    assert done.stdout == "False False torchopt\n"
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: higher is not installed.")
    assert "%run -m mlcode.peers.install" in last


@pytest.mark.parametrize("needed", ["gym", "torchvision"])
def test_what_learn2learn_lacks_is_named(needed):
    done = python("-c", without(needed) + "from mlcode.peers import learn2learn")
    assert f"learn2learn needs {needed}, which is not installed" in done.stderr


def test_a_peer_that_breaks_at_import_is_told_from_an_absent_one(monkeypatch):
    def fail(name):
        raise RuntimeError("made for another torch")

    monkeypatch.setattr("mlcode.peers.importing.importlib.import_module", fail)
    assert not available("higher")
    with pytest.raises(ImportError, match=r"does not import.*RuntimeError: made for another torch"):
        mlcode.peers.load("higher")


def test_a_name_that_is_no_peer_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'higher'"):
        available("highr")
    with pytest.raises(AttributeError, match="no attribute 'highr'"):
        _ = mlcode.peers.highr


def test_a_peer_is_written_with_its_version():
    assert [peer_name(n) for n in ("higher", "torchopt")] == ["higher 0.2.1", "TorchOpt 0.7.3"]

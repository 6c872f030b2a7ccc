"""Independent implementations to compare with: learn2learn, higher and TorchOpt.

`from mlcode.peers import higher, learn2learn, torchopt` imports them whatever the machine's torch;
nothing is imported before it is asked for. An absent one raises an ImportError that says how to
install it, and `available("learn2learn")` asks without raising.
"""

from types import ModuleType

from mlcode.peers.importing import PEERS, available, load, peer_name

__all__ = ["PEERS", "available", "higher", "learn2learn", "peer_name", "torchopt"]

higher: ModuleType
learn2learn: ModuleType
torchopt: ModuleType


def __getattr__(name: str) -> ModuleType:
    """Import a peer when it is asked for (PEP 562)."""
    if name in PEERS:
        return load(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Install the peers where no Makefile does it: `%run -m mlcode.peers.install` in a notebook.

learn2learn 0.2.0 ships C that an old Cython made, which Python 3.11 and later cannot compile;
`build_ext` makes its setup run today's Cython first. `--no-deps` leaves out what it lists but does
not need to be imported (gsutil, qpth and their trees).
"""

import importlib
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import torch

from mlcode.peers.importing import PEERS, available, peer_name

Command = list[str]


def commands(*, torch_version: str, has_torchvision: bool) -> list[Command]:
    """The pip commands, without `python -m pip`, in order.

    Args:
        torch_version: Of the torch installed, such as "2.13.0+cpu". torchvision 0.28 belongs to
            torch 2.13, 0.27 to 2.12 and so on.
        has_torchvision: One that is there stays: Colab's is the one built for its torch.
    """
    install = ["install", "--quiet"]
    tools = [*install, "pip>=24", "cython>=3", "setuptools<81", "wheel"]
    # What learn2learn needs to be imported. TorchOpt and higher bring their own.
    needs = ["gym==0.26.2", "requests", "scipy", "tqdm"]
    simple = [f"{name}=={PEERS[name]}" for name in ("higher", "torchopt")]
    torchvision = [*install, "--no-deps", f"torchvision=={_matching_torchvision(torch_version)}"]
    learn2learn = [
        *[*install, "--no-deps", "--no-build-isolation"],
        "--config-settings=--global-option=build_ext",
        f"learn2learn=={PEERS['learn2learn']}",
    ]
    return [
        tools,
        [*install, *needs, *simple],
        *([] if has_torchvision else [torchvision]),
        learn2learn,
    ]


def main() -> None:
    """Install what is missing and say what is there. Does nothing where all is installed.

    Raises:
        SystemExit: With pip's own words if a command fails.
    """
    if not _installed():
        print("Installing learn2learn, higher and TorchOpt; this takes about half a minute.")
        todo = commands(
            torch_version=torch.__version__, has_torchvision=find_spec("torchvision") is not None
        )
        for command in todo:
            _pip(command)
        importlib.invalidate_caches()  # this process looked for them before they were there
    broken = [name for name in PEERS if not available(name)]
    if broken:
        raise SystemExit(f"installed, but not importable: {', '.join(broken)}.")
    print("Ready:", ", ".join(peer_name(name) for name in sorted(PEERS)))


def _installed() -> bool:
    try:
        return all(version(name) == number for name, number in PEERS.items())
    except PackageNotFoundError:
        return False


def _matching_torchvision(torch_version: str) -> str:
    major, minor = (int(part) for part in torch_version.split("+")[0].split(".")[:2])
    if major != 2:
        raise SystemExit(f"expected torch 2; got {torch_version}. Install its torchvision first.")
    return f"0.{minor + 15}.*"


def _pip(arguments: Command) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shown = " ".join(arguments)
        raise SystemExit(f"pip {shown} failed:\n{(done.stdout + done.stderr)[-3000:]}")


if __name__ == "__main__":
    main()

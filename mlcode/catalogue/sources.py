"""The sources of tasks by name."""

from collections.abc import Callable, Mapping
from typing import Any

from mlcode.catalogue.entries import Setting, Source
from mlcode.sources.characters import Characters
from mlcode.sources.episodes import Episodes
from mlcode.sources.glyphs import Glyphs
from mlcode.sources.linear import LinearFunctions
from mlcode.sources.mini_imagenet import MiniImageNet
from mlcode.sources.omniglot import Omniglot
from mlcode.sources.sinusoids import Sinusoids

IMAGES = {
    "n_way": 5,
    "n_shot": 1,
    "n_query": 5,
    "rotations": False,
    "inner_lr": 0.4,
    "statistics": "query",
}
PHOTOGRAPHS = IMAGES | {"n_query": 15, "inner_lr": 0.05}
FUNCTIONS = {"n_shot": 10, "n_query": 10, "inner_lr": 0.01}


def _images(
    text: str, characters: Callable[[str], Characters], usual: Mapping[str, Any] = IMAGES
) -> Source:
    def episodes(setting: Setting, split: str) -> Episodes:
        assert setting.n_way is not None  # `IMAGES` has one
        return Episodes(
            characters(split),
            setting.n_way,
            setting.n_shot,
            setting.n_query,
            rotations=bool(setting.rotations) and split.startswith("train"),
        )

    return Source(text, episodes, usual)


def _functions(text: str, kind: type[Sinusoids] | type[LinearFunctions]) -> Source:
    def functions(setting: Setting, _: str) -> Sinusoids | LinearFunctions:
        return kind(n_shot=setting.n_shot, n_query=setting.n_query)

    return Source(text, functions, FUNCTIONS, splits=False, labels=False)


SOURCES = {
    "glyphs": _images("characters of 15 scripts, drawn from fonts; no download", Glyphs),
    "omniglot": _images(
        "1,623 handwritten characters; downloaded once, or from MLCODE_DATA", Omniglot
    ),
    "miniimagenet": _images(
        "photographs of 100 classes; needs the reader's copy in MLCODE_DATA",
        MiniImageNet,
        PHOTOGRAPHS,
    ),
    "sinusoids": _functions("sine waves of random amplitude and phase", Sinusoids),
    "lines": _functions("lines through the origin, of random slope", LinearFunctions),
}

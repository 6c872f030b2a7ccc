"""Ctrl-C between two iterations instead of in the middle of one."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NOTICE = b"\nStopping after this iteration; Ctrl-C again stops at once.\n"


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Hold back the first Ctrl-C; the function yielded says whether there was one.

    So a loop can finish its iteration, save a state that is whole, and stop. A second Ctrl-C
    interrupts at once. Nothing changes outside the main thread, where Python delivers no signals,
    or where Ctrl-C is ignored, as in a shell's background jobs.
    """
    before = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or before in (None, signal.SIG_IGN):
        yield lambda: False
        return
    asked = False

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)
        if sys.stderr.isatty():  # os.write: a handler may interrupt print itself
            os.write(sys.stderr.fileno(), NOTICE)

    signal.signal(signal.SIGINT, hold)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)

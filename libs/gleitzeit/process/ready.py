"""How a service tells whoever started it that it is ready, or why not: one JSON line on an inherited pipe."""

import contextlib
import os

import msgspec
from msgspec import Struct

READY_FD = "GLEITZEIT_READY_FD"


class Ready(Struct, frozen=True):
    """The line. `url` is where the service listens."""

    url: str
    pid: int


class NotReady(Struct, frozen=True):
    """The line instead. `error` is one sentence."""

    error: str


def announce_ready(url: str) -> None:
    """Write the line if anybody asked for it, once; without GLEITZEIT_READY_FD nothing happens.

    The variable leaves the environment, so that children of the service do not answer for it.
    """
    _announce(Ready(url, os.getpid()))


def announce_failure(error: str) -> bool:
    """Before an end without having been ready. Whether somebody has asked: then there is no need to log it."""
    return _announce(NotReady(error))


def _announce(what: Ready | NotReady) -> bool:
    text = os.environ.pop(READY_FD, "")
    if not text.isdecimal():
        return False
    with contextlib.suppress(OSError):  # whoever asked is gone, or the number is not a pipe: no reason not to serve
        os.write(int(text), msgspec.json.encode(what) + b"\n")
        os.close(int(text))
        return True
    return False

"""When a service is to end: a signal came, or the process that started it is gone."""

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable

log = logging.getLogger("gz.process")

PARENT_FD = "GLEITZEIT_PARENT_FD"
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Lifetime:
    """Use it around the life of a service, in the main thread, with the loop running:

        with Lifetime() as lifetime:
            ...start...
            await lifetime.drain.wait()     # lifetime.reason says why
            ...finish what runs, stop...

    The first SIGTERM or SIGINT, or end-of-file on the pipe GLEITZEIT_PARENT_FD, sets `drain`. A second signal ends the
    process at once, with status 128 + the signal's number; `on_kill` is called before that, to take children along.
    """

    def __init__(self, on_kill: Callable[[], None] | None = None) -> None:
        self.drain = asyncio.Event()
        self.reason = ""
        self._on_kill = on_kill
        self._signalled = False
        self._parent_fd: int | None = None

    def __enter__(self) -> "Lifetime":
        self._loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            self._loop.add_signal_handler(number, self._on_signal, number)
        self._watch_parent()
        return self

    def __exit__(self, *exc: object) -> None:
        for number in _SIGNALS:
            self._loop.remove_signal_handler(number)
        self._forget_parent()

    def end(self, reason: str) -> None:
        """Begin to drain for a reason of the service's own."""
        if not self.drain.is_set():
            self.reason = reason
            self.drain.set()

    @staticmethod
    def leave_within(seconds: float, code: int) -> None:
        """Whatever hangs until then, the process ends, as if killed: what has to be done in order is done already."""
        timer = threading.Timer(seconds, _leave, (code,))
        timer.daemon = True
        timer.start()

    def _on_signal(self, number: signal.Signals) -> None:
        if self._signalled:
            if self._on_kill is not None:
                self._on_kill()
            os._exit(128 + number)
        self._signalled = True
        self.end(number.name)

    def _watch_parent(self) -> None:
        """The variable leaves the environment: the pipe is between this process and its parent alone."""
        text = os.environ.pop(PARENT_FD, "")
        if not text.isdecimal():
            return
        descriptor = int(text)
        with contextlib.suppress(OSError):  # a number from elsewhere that is no pipe of ours
            os.set_inheritable(descriptor, False)
            self._loop.add_reader(descriptor, self._on_parent)
            self._parent_fd = descriptor

    def _on_parent(self) -> None:
        """The parent never writes: readable means that its end is closed."""
        self._forget_parent()
        self.end("the parent process is gone")

    def _forget_parent(self) -> None:
        if self._parent_fd is not None:
            self._loop.remove_reader(self._parent_fd)
            os.close(self._parent_fd)
            self._parent_fd = None


def _leave(code: int) -> None:
    log.error("something does not end: leaving without it")
    os._exit(code)

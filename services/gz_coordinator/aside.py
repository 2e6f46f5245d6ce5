"""A process of its own beside the loop, for what would hold everybody else up."""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from gleitzeit.errors import ResourceExhausted

T = TypeVar("T")
NICE = 5


class Aside:
    """There from its first work on; a new one after its death."""

    def __init__(self, purpose: str) -> None:
        self._purpose = purpose
        self._other: _Other | None = None

    async def run(self, function: Callable[..., T], *work: object) -> T:
        """Raises ResourceExhausted if the process dies of it, and what `function` raises."""
        other = self._started()
        try:
            return await asyncio.get_running_loop().run_in_executor(other.thread, other.ask, function, *work)
        except _Died:
            if self._other is other:
                self._other = None
                other.thread.shutdown(wait=False)  # those that wait there learn of it, too
            message = f"the process that {self._purpose} has died; a new one is there for the next attempt"
            raise ResourceExhausted(message) from None

    def warm_up(self, function: Callable[[], object]) -> None:
        """Start it before the first work waits for it."""
        other = self._started()
        other.thread.submit(other.ask, _only, function)

    def _started(self) -> "_Other":
        if self._other is None:
            self._other = _Other()
        return self._other

    def close(self) -> None:
        """Waits for what it does: the end of this process would, too."""
        if self._other is not None:
            self._other.close()
            self._other = None


class _Died(Exception):
    """The other process is no more."""


class _Other:
    """The process, and the thread that asks it one thing after the other. No pool of processes: its semaphores, which
    somebody else has to clean up after a kill, are complained about on stderr."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.thread = ThreadPoolExecutor(1)

    def ask(self, function: Callable[..., T], *work: object) -> T:
        """In its thread."""
        try:
            self._pipe.send((function, work))
            went_well, answer = self._pipe.recv()
        except (EOFError, OSError):
            raise _Died from None
        if not went_well:
            raise answer
        result: T = answer
        return result

    def close(self) -> None:
        self.thread.shutdown(wait=True, cancel_futures=True)
        self._pipe.close()
        self._process.join()


def _serve(pipe: "Connection[Any, Any]") -> None:
    """In the other process: until nobody asks any more. It must not outlive a coordinator that was killed, either.
    Where both want the processor, the loop comes first: everybody waits for that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the coordinator, which lets go of us
    with contextlib.suppress(AttributeError, OSError):
        os.nice(NICE)
    gc.disable()  # what is made here is dropped whole, without cycles: no garbage to look for
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            function, work = pipe.recv()
            pipe.send_bytes(_done(function, work))


def _done(function: Callable[..., object], work: tuple[object, ...]) -> bytes:
    try:
        return pickle.dumps((True, function(*work)))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where it was asked for
        return pickle.dumps((False, error))


def _only(function: Callable[[], object]) -> None:
    """Its result is of no interest."""
    function()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

"""A process of its own beside the loop, for what would hold everybody else up."""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from gleitzeit.errors import ResourceExhausted

T = TypeVar("T")
NICE = 5


class Aside:
    """There from its first work on; a new one after its death."""

    def __init__(self, purpose: str) -> None:
        self._purpose = purpose
        self._pool: ProcessPoolExecutor | None = None

    async def run(self, function: Callable[..., T], *work: object) -> T:
        """Raises ResourceExhausted if the process dies of it, and what `function` raises."""
        pool = self._started()
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, function, *work)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = None
            message = f"the process that {self._purpose} has died; a new one is there for the next attempt"
            raise ResourceExhausted(message) from None

    def warm_up(self, function: Callable[[], object]) -> None:
        """Start it before the first work waits for it."""
        self._started().submit(function)

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:  # what it makes is dropped whole, without cycles: no garbage to look for
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin)
        return self._pool

    def close(self) -> None:
        """Waits for what it does: the end of this process would, too, and might trip over a pool that closes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def _begin() -> None:
    """In the other process, which must not outlive a coordinator that was killed. Where both want the processor, the
    loop comes first: everybody waits for that."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(NICE)
    gc.disable()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

"""One child that is to be there: started, watched, and started again after a growing delay when it dies."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal

from msgspec import Struct

from gleitzeit.process.children import Child, ChildExited, describe_exit
from gleitzeit.process.restart import Backoff

TRY_AGAIN = 75  # EX_TEMPFAIL: the exit code of a service that waits for something to be free, such as its journal


def is_usage_error(code: int) -> bool:
    """The exit code by which a service says that with these arguments it will never work."""
    return code == 2


class ChildEvent(Struct, frozen=True, omit_defaults=True):
    """What happened to a child.

    started    `pid`                      ready      `pid`, `url`
    died       `exit_code`, `detail`      restarting `delay_seconds`
    stopped    `exit_code`: it will not be started again, because it was asked to stop or because its exit code says so
    """

    kind: Literal["started", "ready", "died", "restarting", "stopped"]
    child: str
    pid: int = 0
    url: str = ""
    exit_code: int | None = None
    delay_seconds: float | None = None
    detail: str = ""


class Supervised:
    """`start` is called for each life. A life that ends with a code for which `is_end` is true is the last one."""

    def __init__(
        self,
        name: str,
        start: Callable[[], Awaitable[Child]],
        *,
        on_event: Callable[[ChildEvent], None],
        is_end: Callable[[int], bool] = is_usage_error,
        backoff: Backoff | None = None,
    ) -> None:
        self.name = name
        self.child: Child | None = None
        self.last_death = ""  # how and with what words its last life ended, if one did
        # The url of its first life that got ready; ChildExited if there will be none.
        self.first_ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.first_ready.add_done_callback(lambda f: None if f.cancelled() else f.exception())
        self.launched = asyncio.Event()  # its first life has been started, or could not be
        self._start = start
        self._on_event = on_event
        self._is_end = is_end
        self._backoff = backoff or Backoff()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[int] | None = None

    def begin(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"supervise {self.name}")

    async def wait(self) -> int:
        """The exit code of the last life."""
        assert self._task is not None, "begin() comes first"
        return await asyncio.shield(self._task)

    async def stop(self, grace_seconds: float) -> None:
        """No further life; the present one gets SIGTERM, and SIGKILL after the grace."""
        if self._task is None:
            return
        self._stopping.set()
        if self.child is not None:
            await self.child.stop(grace_seconds)
        await self.wait()

    def kill(self) -> None:
        """No further life; the present one ends now."""
        self._stopping.set()
        if self.child is not None:
            self.child.kill()

    async def _run(self) -> int:
        failures = 0
        while True:
            code, lived_seconds, last_words, reason = await self._live()
            if self._stopping.is_set() or self._is_end(code):
                break
            self.last_death = ": ".join(part for part in (describe_exit(code), last_words) if part)
            self._tell("died", exit_code=code, detail=last_words)
            failures, delay = self._backoff.after(failures, lived_seconds)
            self._tell("restarting", delay_seconds=delay)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()
            if self._stopping.is_set():
                break
        if not self.first_ready.done():
            self.first_ready.set_exception(ChildExited(self.name, code, last_words, reason))
        self._tell("stopped", exit_code=code, detail=": ".join(part for part in (describe_exit(code), reason) if part))
        return code

    async def _live(self) -> tuple[int, float, str, str]:
        """One life: (exit code, seconds it lasted, its last words, why it could not be ready)."""
        try:
            child = await self._start()
        except OSError as error:  # the program is not, or no longer, there
            return 127, 0.0, str(error), ""
        finally:
            self.launched.set()
        began = asyncio.get_running_loop().time()
        self.child = child
        self._tell("started", pid=child.pid)
        child.ready.add_done_callback(lambda ready: self._on_ready(child, ready))
        if self._stopping.is_set():  # asked while it was being started
            child.kill()
        code = await child.wait()
        self.child = None
        return code, asyncio.get_running_loop().time() - began, child.last_words(), child.reason

    def _on_ready(self, child: Child, ready: asyncio.Future[str]) -> None:
        if ready.cancelled() or ready.exception() is not None:
            return
        if not self.first_ready.done():
            self.first_ready.set_result(ready.result())
        self._tell("ready", pid=child.pid, url=ready.result())

    def _tell(
        self,
        kind: Literal["started", "ready", "died", "restarting", "stopped"],
        *,
        pid: int = 0,
        url: str = "",
        exit_code: int | None = None,
        delay_seconds: float | None = None,
        detail: str = "",
    ) -> None:
        # Who watches writes to a terminal or a pipe: that it has gone is no reason to leave the child alone.
        with contextlib.suppress(OSError):
            self._on_event(ChildEvent(kind, self.name, pid, url, exit_code, delay_seconds, detail))

"""An asyncio event loop without a clock, a selector or threads: time jumps to what is due next.

Everything that runs belongs to a `Process`, through a context variable that callbacks and tasks inherit. A killed
process runs nothing more, wherever it stood: that is the crash.
"""

import asyncio
import contextlib
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import Struct

from gleitzeit.errors import GleitzeitError

PROCESS: contextvars.ContextVar["Process"] = contextvars.ContextVar("process")


class Crashed(BaseException):
    """Unwinds the code that was running when its own process was killed. Nothing may catch it."""


class Process:
    """What dies together. `name` is for messages, `world` for those who only have the context to go by."""

    def __init__(self, loop: "SimLoop", name: str, world: Any) -> None:
        self.loop = loop
        self.name = name
        self.world = world
        self.alive = True
        self.paused_until = 0.0
        """Until then nothing of it runs, though it lives: SIGSTOP."""
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        return self.loop.create_task(work, context=self.context)

    def kill(self) -> None:
        """From now on nothing of it runs. What was suspended is unwound, in the order in which it was started."""
        self.alive = False
        for task in list(self.tasks):
            coroutine = task.get_coro()
            if not coroutine.cr_running:
                with contextlib.suppress(Crashed):  # it would begin something new while it is unwound
                    coroutine.close()
        self.tasks.clear()

    def ended(self, task: "asyncio.Task[Any]") -> None:
        self.tasks.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.loop.raised(error)


class Due(Struct, eq=False):
    """A callback that is to run: what asyncio calls a handle, without what that asks the loop for each time. There are
    thousands in a world."""

    callback: Any
    """None if it was cancelled."""
    args: tuple[Any, ...]
    context: contextvars.Context

    def cancel(self) -> None:
        """It stays where it is, and is passed over."""
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        return self.callback is None


class SimLoop(asyncio.AbstractEventLoop):
    """As much of a loop as asyncio's futures, tasks, events and sleeps need. `failure` is what ended the run early."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self.failure: BaseException | None = None
        self._ready: deque[Due] = deque()
        self._later: list[tuple[float, int, Due]] = []
        self._count = 0

    def run_until(self, end: float, over: Callable[[], bool] | None = None) -> None:
        """Run until `over()`, which is asked before time goes on, until nothing is left to do, or until the time is
        `end`. Raises what failed."""
        ready, later = self._ready, self._later
        asyncio.events._set_running_loop(self)
        try:
            while self.failure is None:
                if ready:
                    due = ready.popleft()
                elif not later or later[0][0] > end or (over is not None and over()):
                    break
                else:
                    self.now, _, due = heapq.heappop(later)
                if due.callback is None:
                    continue
                process = due.context.get(PROCESS)
                if process is None or (process.alive and process.paused_until <= self.now):
                    self.steps += 1
                    try:
                        due.context.run(due.callback, *due.args)
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as error:  # noqa: BLE001 - as asyncio has it
                        self.raised(error)
                elif process.alive:
                    self._count += 1
                    heapq.heappush(later, (process.paused_until, self._count, due))
        finally:
            asyncio.events._set_running_loop(None)
        if self.failure is not None:
            raise self.failure

    def fail(self, error: BaseException) -> None:
        """The run is over: a law is broken, or something raised what nobody expects."""
        if self.failure is None:
            self.failure = error

    # What asyncio calls

    def time(self) -> float:
        return self.now

    get_debug = bool  # which says False: this is asked for each future, and a function of our own would cost as much

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        due = Due(callback, args, contextvars.copy_context() if context is None else context)
        self._ready.append(due)
        return due

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        due = Due(callback, args, contextvars.copy_context() if context is None else context)
        self._count += 1
        heapq.heappush(self._later, (when, self._count, due))
        return due

    def after(self, delay: float) -> "asyncio.Future[None]":
        """Done then: to be awaited at once, as `asyncio.sleep`, of which there are hundreds in a world."""
        done: asyncio.Future[None] = asyncio.Future(loop=self)
        self.call_at(self.now + delay, _done, done)
        return done

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> "asyncio.Task[Any]":
        process = PROCESS.get() if context is None else context[PROCESS]
        if not process.alive:
            coro.close()
            raise Crashed
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        task._log_destroy_pending = False
        process.tasks[task] = None
        task.add_done_callback(process.ended, context=process.context)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None:
            self.raised(error)

    def raised(self, error: BaseException) -> None:
        if not isinstance(error, GleitzeitError | Crashed):
            self.fail(error)


def _done(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)

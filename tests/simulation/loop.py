"""An asyncio event loop without a clock, a selector or threads: time jumps to what is due next.

Everything that runs belongs to a `Process`, through a context variable that callbacks and tasks inherit. A killed
process runs nothing more, wherever it stood: that is the crash.
"""

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

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
                coroutine.close()
        self.tasks.clear()


class SimLoop(asyncio.AbstractEventLoop):
    """As much of a loop as asyncio's futures, tasks, events and sleeps need. `failure` is what ended the run early."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self.failure: BaseException | None = None
        self._ready: deque[asyncio.Handle] = deque()
        self._due: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0

    def run_until(self, end: float, done: Callable[[], bool]) -> None:
        """Run until `done()`, until nothing is left to do, or until the time is `end`. Raises what failed."""
        asyncio.events._set_running_loop(self)
        try:
            while self.failure is None and not done():
                if self._ready:
                    self._step(self._ready.popleft())
                elif self._due and self._due[0][0] <= end:
                    self.now, _, handle = heapq.heappop(self._due)
                    self._step(handle)
                else:
                    break
        finally:
            asyncio.events._set_running_loop(None)
        if self.failure is not None:
            raise self.failure

    def _step(self, handle: asyncio.Handle) -> None:
        if handle.cancelled():
            return
        process = handle._context.get(PROCESS, None)
        if process is not None and process.alive and process.paused_until > self.now:
            self._count += 1
            heapq.heappush(self._due, (process.paused_until, self._count, handle))  # type: ignore[arg-type]
        elif process is None or process.alive:
            self.steps += 1
            handle._run()

    def fail(self, error: BaseException) -> None:
        """The run is over: a law is broken, or something raised what nobody expects."""
        if self.failure is None:
            self.failure = error

    # What asyncio calls

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._due, (when, self._count, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It stays in the heap, and is passed over."""

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> "asyncio.Task[Any]":
        process = (context or contextvars.copy_context()).get(PROCESS)
        if not process.alive:
            coro.close()
            raise Crashed
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        task._log_destroy_pending = False
        process.tasks[task] = None
        task.add_done_callback(lambda done: self._ended(process, done))
        return task

    def _ended(self, process: Process, task: "asyncio.Task[Any]") -> None:
        process.tasks.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, GleitzeitError | Crashed):
            self.fail(error)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and not isinstance(error, GleitzeitError | Crashed):
            self.fail(error)

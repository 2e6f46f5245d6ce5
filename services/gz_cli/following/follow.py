"""To wait for a workflow with its story on stderr, until it ends, the time is up, or somebody presses Ctrl-C."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from typing import Literal

from msgspec.structs import replace

from gleitzeit.client import WatchEvent
from gleitzeit.client.coordinator import Coordinator
from gleitzeit.model.definition import Definition, TaskDefinition
from gleitzeit.model.events import WorkflowSubmitted
from gz_cli.exits import INTERRUPTED
from gz_cli.following.progress import WorkflowProgress
from gz_cli.following.stuck import tell_why
from gz_cli.following.views import View

TICK_SECONDS = 0.1

End = Literal["final", "timeout", "interrupt"]


async def follow(
    client: Coordinator,
    progress: WorkflowProgress,
    view: View,
    *,
    timeout_seconds: float | None = None,
    definition: Definition | None = None,
) -> End:
    """Feed `progress` and `view` from the first event on. Raises what `Coordinator.watch` raises. `definition` saves
    asking for it where it is too large for an event.

    After the first Ctrl-C (or SIGTERM) it returns "interrupt"; a second one ends the process at once.
    """
    with view, _interrupts() as interrupted:
        watching = asyncio.create_task(_watch(client, progress, view, definition))
        stopping = asyncio.create_task(interrupted.wait())
        ticking = asyncio.create_task(_tick(view))
        explaining = asyncio.create_task(tell_why(client, progress, view.remark))
        try:
            done, _ = await asyncio.wait(
                {watching, stopping}, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if watching in done:
                await watching
                return "final"
            return "interrupt" if stopping in done else "timeout"
        finally:
            for task in (watching, stopping, ticking, explaining):
                task.cancel()
            await asyncio.gather(watching, stopping, ticking, explaining, return_exceptions=True)


async def _watch(client: Coordinator, progress: WorkflowProgress, view: View, definition: Definition | None) -> None:
    async with aclosing(client.watch(progress.workflow_id)) as items:
        async for item in items:
            if isinstance(item, WatchEvent):
                event = item.event
                if isinstance(event, WorkflowSubmitted) and not event.definition.tasks:
                    event = replace(event, definition=definition or await tasks_of(client, progress.workflow_id))
                progress.apply(event)
            view.show(item)


async def tasks_of(client: Coordinator, workflow_id: str) -> Definition:
    """As much of a large one as it takes to draw it."""
    page = await client.get(workflow_id)
    tasks = [*page.tasks]
    while page.next is not None:
        page = await client.get(workflow_id, after=page.next)
        tasks += page.tasks
    drawn = (TaskDefinition(id=t.task_id, name=t.name, method=t.method, dependencies=t.dependencies) for t in tasks)
    return Definition(name=page.name, tasks=tuple(drawn))


async def _tick(view: View) -> None:
    while True:
        await asyncio.sleep(TICK_SECONDS)
        view.tick()


@contextmanager
def _interrupts() -> Iterator[asyncio.Event]:
    """Set by the first SIGINT or SIGTERM. The second one does not ask."""
    first = asyncio.Event()
    loop = asyncio.get_running_loop()

    def received() -> None:
        if first.is_set():
            os._exit(INTERRUPTED)
        first.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, received)
    try:
        yield first
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        if first.is_set():  # what is left to do is brief, and the next Ctrl-C ends even that
            signal.signal(signal.SIGINT, signal.SIG_DFL)

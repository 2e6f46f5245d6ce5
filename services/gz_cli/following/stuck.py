"""While nothing of a workflow runs: what it waits for, so that nobody looks at a silent terminal."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress

from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.views import Explanation
from gleitzeit.errors import GleitzeitError
from gz_cli.following.progress import WorkflowProgress

LOOK_SECONDS = 0.5
"""Two looks at which nothing has moved are silence."""
AGAIN_SECONDS = 5.0
"""After it was asked, and is as silent as before."""
OF_PEOPLE = ("approval", "signal")
"""Reasons that go away only if somebody does something."""
_SECONDS = re.compile(r"(?:[\d.,]+ (?:ms|s|min|h|d)\b ?)+")
"""A time that runs down makes no other reason of it."""
SOON = "queued"
"""The reason of what starts in a moment."""


async def tell_why(client: Coordinator, progress: WorkflowProgress, tell: Callable[[str], None]) -> None:
    """Every reason once. Goes on for ever: cancel it."""
    told: set[str] = set()
    before: object = None
    pause = LOOK_SECONDS
    while True:
        await asyncio.sleep(pause)
        now = (progress.status, sorted(progress.counts.items()))
        at_rest = all(task.status == "waiting" for task in progress.active())  # perhaps for a workflow that is stuck
        silent = bool(progress.tasks) and not progress.final and at_rest and now == before
        before, pause = now, LOOK_SECONDS
        if silent:
            pause = AGAIN_SECONDS
            with suppress(GleitzeitError):  # whoever watches learns of it, and says so
                explained = await client.explain(progress.workflow_id)
                for sentence in sentences(explained.tasks):
                    without_clock = _SECONDS.sub("", sentence)
                    if without_clock not in told:
                        told.add(without_clock)
                        tell(sentence)


def sentences(tasks: Sequence[Explanation]) -> list[str]:
    """Why those that could start have not, and what those that wait for another workflow wait for there; tasks with the
    same reason together."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for task in tasks:
        last = task.innermost
        if (last.status == "ready" and last.reason != SOON) or (last is not task and last.reason in OF_PEOPLE):
            names[last.message].append(task.task_id)
    return [f"{_which(waiting)}: {message.removeprefix('waits ')}" for message, waiting in names.items()]


def _which(names: Sequence[str]) -> str:
    return f"{names[0]} waits" if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more wait"
